//! `TypeMux`: posters of several types of events, subscriptions to some of the types that stay, or
//! come and go.

// The soak must use the deprecated mux.
#![allow(deprecated)]

mod events;
mod member;
mod posters;
mod subscribers;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Subscription, TryRecvError, TypeMux};

use crate::marks::Marks;
use crate::random::Random;
use crate::world::World;

use events::KINDS;

/// What the threads of one generation share.
struct Generation {
    world: &'static World,
    mux: Weak<TypeMux>,
    /// Of each stream: see [`events::stream`].
    marks: Marks,
    /// Posters are to stop.
    enough: AtomicBool,
    /// `stop` has returned.
    stopped: AtomicBool,
    /// The number of subscribers that stay, for each type. Known before anything is posted.
    stayers: [AtomicU64; KINDS],
    /// How many deliveries the posts have reported.
    reached: AtomicU64,
    /// Subscriptions that have ended, for the sum of their figures.
    gone: Mutex<Vec<Subscription>>,
}

/// Muxes, one after the other, until then.
pub(crate) fn run(world: &'static World, until: Instant) {
    let mut random = Random::new(world.seed);
    while Instant::now() < until {
        generation(world, &mut random, until);
    }
}

fn generation(world: &'static World, random: &mut Random, until: Instant) {
    let posters = random.between(1, 3) as usize;
    let mux = Arc::new(TypeMux::new());
    let generation = Generation {
        world,
        mux: Arc::downgrade(&mux),
        marks: Marks::new(posters * KINDS),
        enough: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        stayers: Default::default(),
        reached: AtomicU64::new(0),
        gone: Mutex::new(Vec::new()),
    };
    // Otherwise the posters end first, and then the mux is dropped.
    let stoppers = random.pick(&[0, 1, 2]);
    let left = until.saturating_duration_since(Instant::now());
    let life = Duration::from_millis(random.between(50, 1500)).min(left);
    world.begin(format!(
        "{posters} posters, stopped by {stoppers} threads, for {life:?}"
    ));
    thread::scope(|scope| {
        let generation = &generation;
        for _ in 0..random.between(1, 2) {
            let mut random = random.fork();
            let stayers = subscribers::begin(generation, &mux, &mut random);
            scope.spawn(move || subscribers::stay(generation, stayers, &mut random));
        }
        for _ in 0..random.between(1, 2) {
            let mut random = random.fork();
            scope.spawn(move || subscribers::come_and_go(generation, &mut random));
        }
        let threads: Vec<_> = (0..posters)
            .map(|poster| {
                let (mux, mut random) = (Arc::clone(&mux), random.fork());
                scope.spawn(move || posters::post(generation, &mux, poster, &mut random))
            })
            .collect();
        thread::sleep(life);
        if stoppers > 0 {
            generation.stop(&mux, stoppers);
        }
        generation.enough.store(true, Ordering::SeqCst);
        for thread in threads {
            let _ = thread.join();
        }
        if stoppers == 0 {
            generation.marks.close(|| drop(mux));
        }
    });
    generation.sum_up();
    drop(generation);
    world.end();
}

impl Generation {
    /// Stops the mux from so many threads at once.
    fn stop(&self, mux: &TypeMux, stoppers: usize) {
        self.marks.close(|| {
            thread::scope(|scope| {
                for _ in 1..stoppers {
                    scope.spawn(|| {
                        self.world.enter();
                        mux.stop();
                        self.stopped.store(true, Ordering::SeqCst);
                    });
                }
                mux.stop();
                self.stopped.store(true, Ordering::SeqCst);
            });
        });
        self.try_stopped(mux);
    }

    /// A mux that was stopped takes nothing and nobody.
    fn try_stopped(&self, mux: &TypeMux) {
        let (world, nowhere) = (self.world, u64::MAX);
        if !mux.is_stopped() {
            world.violated("a mux that was stopped", "one that says it was not");
        }
        if let Ok(reached) = events::post(mux, world, (0, 0), nowhere, nowhere) {
            world.violated(
                "a post after `stop` gives the event back",
                format!("it was taken and has reached {reached}"),
            );
        }
        let mut late = events::subscriber(mux, &[true; KINDS])
            .channel()
            .expect("the default capacity is valid");
        let came = late.try_recv();
        if !late.is_closed() || !matches!(came, Err(TryRecvError::Closed)) {
            world.violated("a subscription after `stop` has ended", format!("{came:?}"));
        }
    }

    fn add_gone(&self, subscription: Subscription) {
        self.world.went.add(1);
        let mut gone = self.gone.lock().expect("nobody panics with it");
        gone.push(subscription);
    }

    /// What the posts have reported is what the subscribers have counted.
    fn sum_up(&self) {
        let gone = self.gone.lock().expect("nobody panics with it");
        let counted: u64 = gone.iter().map(|gone| gone.stats().delivered).sum();
        let reached = self.reached.load(Ordering::SeqCst);
        if counted != reached {
            self.world.violated(
                format!("{reached} deliveries, as the posts reported"),
                format!("{counted}, by the figures of {} subscribers", gone.len()),
            );
        }
    }
}
