//! The table at the end.

use std::sync::atomic::Ordering;

use crate::ending::Held;
use crate::flatness::{self, Flatness};
use crate::watch::Samples;
use crate::world::World;

/// Prints it, and says whether memory was flat.
pub(crate) fn print(
    worlds: &[&'static World],
    samples: &Samples,
    before: &Held,
    after: &Held,
) -> bool {
    println!(
        "\n{:<16} {:>13} {:>13} {:>13} {:>9} {:>11} {:>9} {:>9}",
        "world", "sent", "delivered", "missed", "panics", "generations", "came", "went"
    );
    for world in worlds {
        println!(
            "{:<16} {:>13} {:>13} {:>13} {:>9} {:>11} {:>9} {:>9}",
            world.name,
            world.sent.get(),
            world.delivered.get(),
            world.missed.get(),
            world.provoked.get(),
            world.generations.load(Ordering::Relaxed),
            world.came.get(),
            world.went.get()
        );
    }
    let values: i64 = worlds.iter().map(|world| world.live_values()).sum();
    let made: i64 = worlds.iter().map(|world| world.created.get()).sum();
    println!("\nvalues: {made} made, {values} not dropped");
    println!(
        "live:   {} bytes in {} blocks at first, {} in {} at the end",
        before.live.bytes, before.live.blocks, after.live.bytes, after.live.blocks
    );
    match (before.threads, after.threads, after.descriptors) {
        (Some(first), Some(last), Some(descriptors)) => {
            println!("left:   {last} threads of {first} at first, {descriptors} descriptors");
        }
        _ => println!("left:   threads and descriptors were not looked at: there is no /proc here"),
    }
    println!("rule:   {}", flatness::RULE);
    let live = judge("live bytes", &samples.live_bytes);
    if samples.resident.is_empty() {
        println!("        RSS was not looked at: there is no /proc here");
        return live;
    }
    judge("RSS", &samples.resident) && live
}

fn judge(what: &str, samples: &[u64]) -> bool {
    match flatness::judge(samples) {
        Flatness::TooShort => {
            let (first, last) = (samples.first(), samples.last());
            println!(
                "        {what}: too short a run to judge; {} KiB at first, {} at last",
                first.unwrap_or(&0) >> 10,
                last.unwrap_or(&0) >> 10
            );
            true
        }
        Flatness::Flat { first, last } => {
            println!(
                "        {what}: {} KiB, then {}: flat",
                first >> 10,
                last >> 10
            );
            true
        }
        Flatness::Grown { first, last } => {
            println!(
                "        {what}: {} KiB, then {}: GROWN",
                first >> 10,
                last >> 10
            );
            false
        }
    }
}
