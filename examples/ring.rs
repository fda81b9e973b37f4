//! One ring for many readers: readers that must receive every value, a reader that wants only the
//! latest value, and the readers of a ring that is subscribed to a feed.

use std::thread;

use fanfeed::{ExclusiveRingFeed, Feed, RingFeed, ring};

fn main() {
    one_sender();
    many_readers_of_a_feed();
}

/// One thread is the only sender of the ring, and publishes with plain stores.
fn one_sender() {
    let mut prices = ExclusiveRingFeed::new(64).expect("64 is a valid capacity");

    // The sender waits for these readers, so they miss no price. Each chooses how it waits.
    let sums = [ring::WaitStrategy::Park, ring::WaitStrategy::Batch].map(|waiting| {
        let mut reader = prices.subscriber().wait_strategy(waiting).subscribe();
        thread::spawn(move || {
            let mut sum = 0;
            while reader.wait().is_ok() {
                // Reads all available values, by reference.
                let _ = reader.drain(|price| sum += price);
            }
            sum
        })
    });
    // The sender does not wait for this reader, which reads nothing before the sender is done.
    let builder = prices.subscriber().name("display");
    let mut display = builder.overflow(ring::Overflow::DropOldest).subscribe();

    let sender = thread::spawn(move || {
        prices.send_batch(1..=999_u64);
        prices.send(1000);
    });
    sender.join().expect("the sender does not panic");

    for sum in sums {
        println!("sum {}", sum.join().expect("a reader does not panic"));
    }
    let last = display.iter().last();
    println!("last {last:?}");
    let stats = display.stats();
    println!(
        "every price accounted for: {}",
        stats.delivered + display.missed() == 1000
    );
}

/// A feed sends each value to its channels, and once to a ring, which has many readers.
fn many_readers_of_a_feed() {
    let news = Feed::new();
    let mut archive = news.channel(16).expect("16 is a valid capacity");
    let ring = RingFeed::new(16).expect("16 is a valid capacity");
    let mut audience: Vec<_> = (0..1000).map(|_| ring.subscribe()).collect();
    let subscription = news.subscribe(ring);

    let reached = news.send("harvest is in");
    println!("channels reached: {reached}");
    let readers = audience.iter_mut();
    let informed = readers.filter_map(|reader| reader.recv().ok()).count();
    println!("readers informed: {informed}");
    println!("archived: {:?}", archive.recv());

    // The feed holds the last handle of the ring, and drops it here.
    subscription.unsubscribe();
    println!("the ring has ended: {}", audience[0].recv().is_err());
}
