//! Threads of a model: starting, parking and waking them.

use std::cell::Cell;
use std::sync::Arc;

use super::checker::{Sleeper, thread_local, threads};

/// Runs `f` on a new thread with this name. No thread joins it.
pub(crate) fn spawn_named(name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    threads::Builder::new()
        .name(name.to_owned())
        .spawn(f)
        .map(drop)
}

/// A thread's handle, which wakes it.
///
/// loom cannot tell its own `unpark` from the end of a wait for a lock. It would let a thread go on
/// that has not got the lock, and it would lose a token left for a thread that waits for a lock.
/// Shuttle's own `park` sometimes returns without a reason, which hides a lost wake-up. So the
/// token is kept here. It orders nothing that the checker's park does not: the threads of a model
/// take turns, and a turn never ends inside these methods.
#[derive(Debug, Clone)]
pub(crate) struct Thread(Arc<Parking>);

#[derive(Debug)]
struct Parking {
    sleeper: Sleeper,
    state: Cell<ParkState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ParkState {
    Running,
    Parked,
    /// The thread's next park returns at once.
    Token,
}

// SAFETY: the threads of a model all run on one thread of the system, one at a time.
unsafe impl Sync for Parking {}
// SAFETY: as above.
unsafe impl Send for Parking {}

impl Thread {
    pub(crate) fn unpark(&self) {
        if self.0.state.replace(ParkState::Token) == ParkState::Parked {
            self.0.sleeper.wake();
        }
    }
}

thread_local! {
    static CURRENT: Thread = Thread(Arc::new(Parking {
        sleeper: Sleeper::current(),
        state: Cell::new(ParkState::Running),
    }));
}

pub(crate) fn current() -> Thread {
    CURRENT.with(Clone::clone)
}

pub(crate) fn park() {
    let Parking { sleeper, state } = &*current().0;
    if state.get() != ParkState::Token {
        state.set(ParkState::Parked);
        sleeper.sleep();
    }
    state.set(ParkState::Running);
}
