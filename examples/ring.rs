//! One ring for many readers: some that must not miss anything, one that wants the latest only, and a feed's audience.

use std::thread;

use fanfeed::{ExclusiveRingFeed, Feed, RingFeed, RingOverflow, Waiting};

fn main() {
    one_sender();
    many_readers_of_a_feed();
}

/// One thread has the ring to itself, and publishes by plain stores.
fn one_sender() {
    let mut prices = ExclusiveRingFeed::new(64).expect("64 values can be had");

    // These hold the sender up rather than miss a price. How they wait is their own choice.
    let sums = [Waiting::Park, Waiting::Batch].map(|waiting| {
        let mut reader = prices.subscriber().waiting(waiting).subscribe();
        thread::spawn(move || {
            let mut sum = 0;
            while reader.wait().is_ok() {
                // By reference, as many as there are.
                let _ = reader.drain(|price| sum += price);
            }
            sum
        })
    });
    // This one is not waited for: it has not read anything when all is over.
    let builder = prices.subscriber().name("display");
    let mut display = builder.overflow(RingOverflow::DropOldest).subscribe();

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

/// A feed sends each value once to a ring, whoever reads that, and to its channels.
fn many_readers_of_a_feed() {
    let news = Feed::new();
    let mut archive = news.channel(16).expect("16 values can be had");
    let ring = RingFeed::new(16).expect("16 values can be had");
    let mut audience: Vec<_> = (0..1000).map(|_| ring.subscribe()).collect();
    let subscription = news.subscribe(ring);

    let reached = news.send("harvest is in");
    println!("channels reached: {reached}");
    let readers = audience.iter_mut();
    let informed = readers.filter_map(|reader| reader.recv().ok()).count();
    println!("readers informed: {informed}");
    println!("archived: {:?}", archive.recv());

    // The feed holds the last handle of the ring, and lets go of it.
    subscription.unsubscribe();
    println!("the ring has ended: {}", audience[0].recv().is_err());
}
