//! Checks the worlds once a second while they run: their progress, and their memory.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::memory;
use crate::process;
use crate::violation;
use crate::world::World;

/// A figure that has to move, that stands still for so many looks is a violation. (Looks, so that a
/// machine that is paused does not count.) A generation takes two seconds at most where it has the
/// machine to itself; this is for one that has other things to do as well.
const PATIENCE: u32 = 120;
const LOOK: Duration = Duration::from_secs(1);

/// What was sampled, once a second.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) resident: Vec<u64>,
    pub(crate) live_bytes: Vec<u64>,
}

impl Samples {
    /// With room for all of them, so that they do not count as growth.
    pub(crate) fn with_room_for(run: Duration) -> Self {
        let count = run.as_secs() as usize + 120;
        Self {
            resident: Vec::with_capacity(count),
            live_bytes: Vec::with_capacity(count),
        }
    }

    fn take(&mut self) {
        if self.live_bytes.len() == self.live_bytes.capacity() {
            return;
        }
        self.live_bytes.push(memory::live().bytes.max(0) as u64);
        if let Some(resident) = process::resident() {
            self.resident.push(resident);
        }
    }
}

/// What has to move in a world, and since when it has not.
struct Progress {
    world: &'static World,
    figures: [(&'static str, i64, u32); 3],
}

impl Progress {
    fn new(world: &'static World) -> Self {
        Self {
            world,
            figures: ["sent", "delivered", "generations"].map(|name| (name, -1, 0)),
        }
    }

    /// The name of a figure that has stood still for too long.
    fn look(&mut self) -> Option<&'static str> {
        let now = [
            self.world.sent.get(),
            self.world.delivered.get(),
            self.world.generations.load(Ordering::Relaxed) as i64,
        ];
        for ((_, known, stood), now) in self.figures.iter_mut().zip(now) {
            *stood = if *known == now { *stood + 1 } else { 0 };
            *known = now;
        }
        let slow = self.figures.iter().find(|(_, _, stood)| *stood >= PATIENCE);
        slow.map(|(name, ..)| *name)
    }
}

/// Waits until all worlds have ended, which they do a while after `run` is over.
pub(crate) fn watch(
    worlds: &[(&'static World, JoinHandle<()>)],
    run: Duration,
    samples: &mut Samples,
) {
    let began = Instant::now();
    let every = if run > Duration::from_secs(600) {
        60
    } else {
        10
    };
    let mut progress: Vec<_> = worlds
        .iter()
        .map(|(world, _)| Progress::new(world))
        .collect();
    let mut looks = 0_u64;
    while worlds.iter().any(|(_, thread)| !thread.is_finished()) {
        thread::sleep(LOOK.min(run / 8));
        if began.elapsed() < run {
            samples.take();
        }
        for (progress, (world, thread)) in progress.iter_mut().zip(worlds) {
            if thread.is_finished() {
                continue;
            }
            if let Some(figure) = progress.look() {
                let runnable =
                    process::runnable().map(|count| format!(" ({count} threads can run)"));
                violation::end(&format!(
                    "world `{}`: `{figure}` has not moved in {PATIENCE} looks{}\n{}",
                    world.name,
                    runnable.unwrap_or_default(),
                    dump(worlds)
                ));
            }
        }
        looks += 1;
        if looks.is_multiple_of(every) {
            println!("{}", line(worlds, began.elapsed()));
        }
    }
}

fn line(worlds: &[(&'static World, JoinHandle<()>)], elapsed: Duration) -> String {
    let sum =
        |figure: fn(&World) -> i64| -> i64 { worlds.iter().map(|(world, _)| figure(world)).sum() };
    let mut line = format!(
        "{:>6} s  {} sent, {} delivered, {} missed, {} generations, {} subscribers came, {} values live, {} KiB live",
        elapsed.as_secs(),
        sum(|world| world.sent.get()),
        sum(|world| world.delivered.get()),
        sum(|world| world.missed.get()),
        sum(|world| world.generations.load(Ordering::Relaxed) as i64),
        sum(|world| world.came.get()),
        sum(World::live_values),
        memory::live().bytes >> 10,
    );
    if let Some(resident) = process::resident() {
        let _ = write!(line, ", RSS {} MiB", resident >> 20);
    }
    if let Some(threads) = process::threads() {
        let _ = write!(line, ", {threads} threads");
    }
    line
}

fn dump(worlds: &[(&'static World, JoinHandle<()>)]) -> String {
    let mut text = String::new();
    for (world, thread) in worlds {
        let about = world.about.lock().map(|about| about.clone());
        let _ = writeln!(
            text,
            "  {}: generation {} ({}), {} sent, {} delivered, {} missed, {} came, {} went, {} values live{}",
            world.name,
            world.generations.load(Ordering::Relaxed) + 1,
            about.unwrap_or_default(),
            world.sent.get(),
            world.delivered.get(),
            world.missed.get(),
            world.came.get(),
            world.went.get(),
            world.live_values(),
            if thread.is_finished() { ", ended" } else { "" }
        );
    }
    text
}
