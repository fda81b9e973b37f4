//! A producer on its own thread is a subscription. It ends when it is unsubscribed, when it has no
//! more values, or when it fails.

use crossbeam_channel::{Receiver, bounded, select};
use fanfeed::Subscription;

/// Numbers from 0 up to `end`, and an error at `fail`.
fn numbers(end: u32, fail: Option<u32>) -> (Receiver<u32>, Subscription) {
    let (tx, rx) = bounded(0);
    let subscription = Subscription::spawn(move |token| {
        for number in 0..end {
            if fail == Some(number) {
                return Err(format!("there is no {number}"));
            }
            select! {
                send(tx, number) -> sent => if sent.is_err() { break },
                recv(token.channel()) -> _ => break,
            }
        }
        Ok(())
    });
    (rx, subscription)
}

fn main() {
    let (rx, subscription) = numbers(u32::MAX, None);
    println!(
        "from the endless one: {:?}",
        rx.iter().take(5).collect::<Vec<_>>()
    );
    subscription.unsubscribe();
    println!("unsubscribed, and nobody sends: {}", rx.recv().is_err());

    let (rx, subscription) = numbers(10, Some(3));
    println!("from the failing one: {:?}", rx.iter().collect::<Vec<_>>());
    // The channel yields the error; without an error it disconnects.
    match subscription.err().recv() {
        Ok(error) => println!("{error}"),
        Err(_) => println!("it has ended well"),
    }

    let (rx, subscription) = numbers(4, None);
    println!("from the short one: {:?}", rx.iter().collect::<Vec<_>>());
    match subscription.err().recv() {
        Ok(error) => println!("{error}"),
        Err(_) => println!("it has ended well"),
    }
}
