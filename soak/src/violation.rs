//! The first violation ends the process, because later ones may be its consequence.

use std::io::Write;
use std::process;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::world::World;

/// The seed of the run, to be told with what it found.
pub(crate) static SEED: AtomicU64 = AtomicU64::new(0);
static FIRST: Mutex<()> = Mutex::new(());

pub(crate) fn report(world: &World, expected: &str, seen: &str) -> ! {
    let about = world.about.lock().map(|about| about.clone());
    end(&format!(
        "world `{}`, generation {}: {}\n  expected: {expected}\n  seen:     {seen}",
        world.name,
        world.generations.load(Ordering::Relaxed) + 1,
        about.unwrap_or_default()
    ))
}

/// Says what is wrong, once, and ends the process.
pub(crate) fn end(what: &str) -> ! {
    // Others that come to the same end wait here until the process is gone.
    let first = FIRST.lock();
    let seed = SEED.load(Ordering::Relaxed);
    let _ = writeln!(
        std::io::stderr().lock(),
        "\nVIOLATION (seed {seed})\n{what}\nFAIL"
    );
    if first.is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
    process::exit(1);
}

/// A panic that nobody provoked is a violation. Provoked ones do not come by here: see
/// [`World::provoke`].
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name").to_owned();
        end(&format!("thread `{name}`: {panic}"));
    }));
}
