//! The senders on a feed, of every kind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use fanfeed::{Feed, Undelivered};

use crate::inbox::poll_for;
use crate::pace::Pace;
use crate::random::Random;
use crate::value::Value;

use super::Generation;

/// Longer than any run: what hangs is the watchdog's affair.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// Sends until told to stop.
pub(super) fn send(
    generation: &Generation,
    feed: &Feed<Value>,
    sender: usize,
    random: &mut Random,
) {
    let world = generation.world;
    world.enter();
    let mut pace = Pace::default();
    let mut number = 0;
    while !generation.stop.load(Ordering::SeqCst) {
        pace.keep(random);
        let form = random.below(7);
        let count = if form == 0 { random.between(1, 80) } else { 1 };
        let value = |number| Value::new(world, sender, number, generation.touchy);
        generation.marks.begin(sender, count);
        let reached = catch_unwind(AssertUnwindSafe(|| match form {
            0 => feed.send_batch((number..number + count).map(value)),
            1 | 2 => feed.send(value(number)),
            3 | 4 => follow_up(generation, feed.try_send(value(number)), random),
            5 => {
                let limit = Duration::from_micros(random.below(1500));
                follow_up(generation, feed.send_timeout(value(number), limit), random)
            }
            _ => poll_for(FOR_EVER, feed.send_async(value(number)))
                .expect("no run lasts for that long"),
        }));
        // Otherwise a clone panicked, and nobody knows how many were reached.
        if let Ok(reached) = reached {
            generation
                .reached
                .fetch_add(reached as u64, Ordering::SeqCst);
        }
        number += count;
        generation.marks.end(sender);
        world.sent.add(count as i64);
    }
}

/// Offers what was not delivered again, or gives it up. Returns how many it reached.
fn follow_up(
    generation: &Generation,
    mut sent: Result<usize, Undelivered<Value>>,
    random: &mut Random,
) -> usize {
    loop {
        let undelivered = match sent {
            Ok(reached) => return reached,
            Err(undelivered) => undelivered,
        };
        if undelivered.missed().is_empty() {
            generation
                .world
                .violated("a subscriber that missed it", "none");
        }
        match random.below(8) {
            0 => {
                generation.given_up.add(&undelivered);
                let reached = undelivered.delivered();
                drop(undelivered.into_inner());
                return reached;
            }
            1 | 2 => {
                thread::sleep(Duration::from_micros(random.below(200)));
                sent = undelivered.retry();
            }
            _ => sent = undelivered.retry_timeout(Duration::from_micros(random.below(3000))),
        }
    }
}
