//! Threads of a model: made, parked and woken.

use std::cell::Cell;
use std::sync::Arc;

use super::checker::{Sleeper, thread_local, threads};

/// Runs `f` on a new thread of that name, which nobody joins.
pub(crate) fn spawn_named(name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    threads::Builder::new()
        .name(name.to_owned())
        .spawn(f)
        .map(drop)
}

/// A thread's handle, to wake it by.
///
/// loom's own `unpark` is not told from the end of a wait for a lock: it would let a thread go on
/// that has not got the lock, and a token left for one that waits for a lock would be lost.
/// Shuttle's own `park` returns without a reason now and then, which makes up for a wake-up that
/// was lost. So the token is kept here. It orders nothing that the checker's park does not: the
/// threads of a model take turns, and a turn never ends inside these.
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
    /// It is to return from its next park at once.
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
