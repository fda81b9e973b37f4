//! Runs real threads on fanfeed for as long as you like: `cargo xtask soak --minutes 10`.
//!
//! Worlds run in parallel, each one generation after the other: a feed, a ring or a mux with its
//! senders and its subscribers, many of which come and go; and producers with their own threads.
//! What each subscriber receives is compared with what was sent ([`account`]), values count
//! themselves ([`value`]), and memory, threads and progress are watched. The first violation ends
//! the process with status 1.
//!
//! The seed decides what each thread chooses. The machine decides how the threads interleave.

mod account;
mod ending;
mod feed_world;
mod flatness;
mod inbox;
mod marks;
mod member;
mod memory;
mod mux_world;
mod options;
mod pace;
mod process;
mod producer_world;
mod random;
mod report;
mod ring_world;
mod shard;
mod shelf;
mod value;
mod violation;
mod watch;
mod world;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use clap::Parser;

use ending::Held;
use options::Options;
use random::Random;
use watch::Samples;
use world::World;

type Run = fn(&'static World, Instant);

/// The worlds: what they are called, and what runs them.
const WORLDS: [(&str, Run); 11] = [
    ("feed 1", feed_world::run),
    ("feed 2", feed_world::run),
    ("feed 3", feed_world::run),
    ("ring 1", |world, until| {
        ring_world::run(world, false, until)
    }),
    ("ring 2", |world, until| {
        ring_world::run(world, false, until)
    }),
    ("ring 3", |world, until| {
        ring_world::run(world, false, until)
    }),
    ("exclusive 1", |world, until| {
        ring_world::run(world, true, until)
    }),
    ("exclusive 2", |world, until| {
        ring_world::run(world, true, until)
    }),
    ("mux 1", mux_world::run),
    ("mux 2", mux_world::run),
    ("producers", producer_world::run),
];

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options
        .seed
        .unwrap_or_else(|| RandomState::new().hash_one(()));
    violation::SEED.store(seed, Ordering::Relaxed);
    violation::watch_panics();
    println!("soak for {:?}, seed {seed}", options.minutes);

    let mut random = Random::new(seed);
    let worlds = WORLDS.map(|(name, run)| (World::new(name.to_owned(), random.next()), run));
    let mut samples = Samples::with_room_for(options.minutes);
    let before = Held::now();

    let until = Instant::now() + options.minutes;
    let running: Vec<_> = worlds
        .iter()
        .map(|&(world, run)| {
            let thread = thread::Builder::new().name(world.name.clone());
            let thread = thread.spawn(move || {
                world.enter();
                run(world, until);
            });
            (world, thread.expect("a thread starts"))
        })
        .collect();
    watch::watch(&running, options.minutes, &mut samples);
    for (_, thread) in running {
        thread.join().expect("a panic has ended the process");
    }
    let after = ending::settle(&before);

    let is_flat = report::print(&worlds.map(|(world, _)| world), &samples, &before, &after);
    println!("\n{} (seed {seed})", if is_flat { "PASS" } else { "FAIL" });
    if is_flat {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
