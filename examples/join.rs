//! Joins many subscriptions into one. The first that fails ends all of them, and the joined
//! subscription returns its error.

use crossbeam_channel::{Receiver, bounded, select, unbounded};
use fanfeed::Subscription;

/// A sensor that measures until it is unsubscribed, or until it has lost its battery.
fn sensor(name: &'static str, battery: u32) -> (Receiver<u32>, Subscription) {
    let (tx, rx) = bounded(0);
    let subscription = Subscription::spawn(move |token| {
        for measured in 0..battery {
            select! {
                send(tx, measured) -> _ => {}
                recv(token.channel()) -> _ => return Ok(()),
            }
        }
        Err(format!("the {name} sensor has lost its battery"))
    });
    (rx, subscription)
}

fn main() {
    let (indoors, inner) = sensor("inner", u32::MAX);
    let (outdoors, outer) = sensor("outer", 2);
    let both = Subscription::join([inner, outer]);

    println!("indoors {:?}", indoors.iter().take(3).collect::<Vec<_>>());
    println!("outdoors {:?}", outdoors.iter().collect::<Vec<_>>());
    println!("{}", both.err().recv().expect("one has failed"));
    println!("indoors has ended too: {}", indoors.recv().is_err());

    // Unsubscribing the whole ends them all.
    let (ended, ends) = unbounded();
    let all = Subscription::join((1..=3).map(|number| {
        let ended = ended.clone();
        Subscription::spawn(move |token| {
            let _ = token.channel().recv();
            ended.send(number)
        })
    }));
    all.unsubscribe();
    println!("{} of 3 have ended", ends.len());
}
