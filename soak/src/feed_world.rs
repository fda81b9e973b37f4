//! Feeds: senders of every kind, and subscribers of every carrier that stay, or come and go.

mod closures;
mod given_up;
mod senders;
mod subscribers;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Feed, Subscription, WeakFeed};

use crate::marks::Marks;
use crate::random::Random;
use crate::value::Value;
use crate::world::World;

use given_up::GivenUp;

/// What the threads of one generation share.
struct Generation {
    world: &'static World,
    feed: WeakFeed<Value>,
    marks: Marks,
    given_up: GivenUp,
    /// Senders are to stop.
    stop: AtomicBool,
    /// Whether clones of some values panic.
    touchy: bool,
    /// Whether it is closed while its senders run.
    abrupt: bool,
    /// How many deliveries the sends have reported.
    reached: AtomicU64,
    /// Subscriptions that have ended, for the sum of their figures.
    gone: Mutex<Vec<Gone>>,
}

/// A subscription that has ended, or will with the generation.
struct Gone {
    subscription: Subscription,
    /// Whether senders push values out again, which they had counted as delivered.
    pushes_out: bool,
}

/// Feeds, one after the other, until then.
pub(crate) fn run(world: &'static World, until: Instant) {
    let mut random = Random::new(world.seed);
    while Instant::now() < until {
        generation(world, &mut random, until);
    }
}

fn generation(world: &'static World, random: &mut Random, until: Instant) {
    let senders = random.between(1, 4) as usize;
    let feed = Feed::new();
    let generation = Generation {
        world,
        feed: feed.downgrade(),
        marks: Marks::new(senders),
        given_up: GivenUp::default(),
        stop: AtomicBool::new(false),
        touchy: random.once_in(3),
        abrupt: random.once_in(3),
        reached: AtomicU64::new(0),
        gone: Mutex::new(Vec::new()),
    };
    let left = until.saturating_duration_since(Instant::now());
    let life = Duration::from_millis(random.between(100, 2000)).min(left);
    world.begin(format!(
        "{senders} senders, touchy {}, abrupt {}, for {life:?}",
        generation.touchy, generation.abrupt
    ));
    thread::scope(|scope| {
        let generation = &generation;
        for _ in 0..random.between(1, 2) {
            let mut random = random.fork();
            // Before the senders begin, so that they see everything.
            let stayers = subscribers::begin(generation, &feed, &mut random);
            scope.spawn(move || subscribers::stay(generation, stayers, &mut random));
        }
        for _ in 0..random.between(1, 3) {
            let mut random = random.fork();
            scope.spawn(move || subscribers::come_and_go(generation, &mut random));
        }
        let threads: Vec<_> = (0..senders)
            .map(|sender| {
                let (feed, mut random) = (feed.clone(), random.fork());
                scope.spawn(move || senders::send(generation, &feed, sender, &mut random))
            })
            .collect();
        thread::sleep(life);
        if generation.abrupt {
            generation.marks.close(|| feed.close());
        }
        generation.stop.store(true, Ordering::SeqCst);
        for thread in threads {
            let _ = thread.join();
        }
        if !generation.abrupt {
            // The last handle ends it.
            generation.marks.close(|| drop(feed));
        }
    });
    generation.sum_up();
    drop(generation);
    world.end();
}

impl Generation {
    fn add_gone(&self, subscription: Subscription, pushes_out: bool) {
        self.world.went.add(1);
        let mut gone = self.gone.lock().expect("nobody panics with it");
        gone.push(Gone {
            subscription,
            pushes_out,
        });
    }

    /// What the sends have reported is what the subscribers have counted. (A send that panics
    /// reports nothing.)
    fn sum_up(&self) {
        let gone = self.gone.lock().expect("nobody panics with it");
        let counted: u64 = gone
            .iter()
            .map(|gone| {
                let stats = gone.subscription.stats();
                stats.delivered + if gone.pushes_out { stats.dropped } else { 0 }
            })
            .sum();
        let reached = self.reached.load(Ordering::SeqCst);
        if !self.touchy && counted != reached {
            self.world.violated(
                format!("{reached} deliveries, as the sends reported"),
                format!("{counted}, by the figures of {} subscribers", gone.len()),
            );
        }
    }
}
