//! Producers with their own threads: alone, joined, in scopes, and retried when they fail; and
//! sources that do not belong to the crate, which have no threads.
//!
//! In the table, "sent" counts producers that began, and "delivered" counts ends that were checked.

mod again;
mod alone;
mod ending;
mod joined;
mod producer;
mod scoped;
mod source;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::world::World;

/// Many episodes at a time, until then. After each generation all that they made is gone.
pub(crate) fn run(world: &'static World, until: Instant) {
    let mut random = Random::new(world.seed);
    while Instant::now() < until {
        generation(world, &mut random, until);
    }
}

fn generation(world: &'static World, random: &mut Random, until: Instant) {
    let actors = random.between(1, 3);
    let left = until.saturating_duration_since(Instant::now());
    let life = Duration::from_millis(random.between(100, 1500)).min(left);
    world.begin(format!("{actors} actors, for {life:?}"));
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..actors {
            let mut random = random.fork();
            let enough = &enough;
            scope.spawn(move || {
                world.enter();
                while !enough.load(Ordering::SeqCst) {
                    match random.below(5) {
                        0 => alone::episode(world, &mut random),
                        1 => joined::episode(world, &mut random),
                        2 => scoped::episode(world, &mut random),
                        3 => source::episode(world, &mut random),
                        _ => again::episode(world, &mut random),
                    }
                    rest(&mut random);
                }
            });
        }
        thread::sleep(life);
        enough.store(true, Ordering::SeqCst);
    });
    world.end();
}

/// Nothing for a while, or for no time at all.
fn rest(random: &mut Random) {
    let micros = random.pick(&[0, 0, 50, 500, 3000]);
    if micros > 0 {
        thread::sleep(Duration::from_micros(random.below(micros)));
    }
}
