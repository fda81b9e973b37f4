//! The mutant of the code that a model runs, and whether its timers fire. Compiled only for models.

use std::cell::Cell;

// All threads of a model run on the one thread that calls it. So a model sets plain thread-locals,
// and models that run in parallel in a test binary do not affect each other.
std::thread_local! {
    static ACTIVE: Cell<Option<&'static str>> = const { Cell::new(None) };
    static TIMERS: Cell<bool> = const { Cell::new(false) };
    static PLAIN_FENCES: Cell<bool> = const { Cell::new(false) };
    static SHARED_FEEDS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with the named mutant in place of the original code. Several names are separated by
/// spaces.
pub fn with<R>(name: &'static str, f: impl FnOnce() -> R) -> R {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            ACTIVE.set(None);
        }
    }
    ACTIVE.set(Some(name));
    let _reset = Reset;
    f()
}

/// Runs `f` in a world where every timed wait ends once the other threads have run.
pub fn with_timers<R>(f: impl FnOnce() -> R) -> R {
    with_set(&TIMERS, f)
}

/// Runs `f` in a world where light fences are not free, so that a feed has no sole sender.
pub fn with_plain_fences<R>(f: impl FnOnce() -> R) -> R {
    with_set(&PLAIN_FENCES, f)
}

/// Runs `f` in a world where each feed begins as one on which several threads have sent.
pub fn with_shared_feeds<R>(f: impl FnOnce() -> R) -> R {
    with_set(&SHARED_FEEDS, f)
}

fn with_set<R>(world: &'static std::thread::LocalKey<Cell<bool>>, f: impl FnOnce() -> R) -> R {
    struct Reset(&'static std::thread::LocalKey<Cell<bool>>);
    impl Drop for Reset {
        fn drop(&mut self) {
            self.0.set(false);
        }
    }
    world.set(true);
    let _reset = Reset(world);
    f()
}

/// Whether the named mutant runs. The layers on the core have their own mutants.
pub fn is(name: &str) -> bool {
    ACTIVE
        .get()
        .is_some_and(|active| active.split(' ').any(|one| one == name))
}

/// Whether timed waits end once other threads have run.
pub fn timers_fire() -> bool {
    TIMERS.get()
}

/// Whether light fences cost less than full ones.
pub(crate) fn light_fences_are_free() -> bool {
    !PLAIN_FENCES.get()
}

/// Whether a feed begins as one on which several threads have sent.
pub(crate) fn feeds_are_shared() -> bool {
    SHARED_FEEDS.get()
}
