//! The primitives as loom sees them.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::hint::spin_loop;
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
};
pub(crate) use loom::sync::atomic::{Ordering, fence};
pub(crate) use loom::thread::yield_now;
// No protocol leans on what it orders: what is in it is loom's.
pub(crate) use std::sync::OnceLock;

/// Time does not pass in a model, and a kernel is not asked: both halves of the pair are full fences.
pub(crate) fn light_fence_between() {
    fence(Ordering::SeqCst);
}

/// See [`light_fence_between`].
pub(crate) fn free_fence() {
    fence(Ordering::SeqCst);
}

pub(crate) fn has_free_fences() -> bool {
    true
}

/// See [`light_fence_between`].
pub(crate) fn heavy_fence_between() {
    fence(Ordering::SeqCst);
}

pub(crate) fn prepare_heavy_fence() {}

/// Runs `f` on a new thread of that name, which nobody joins.
pub(crate) fn spawn_named(name: &str, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    loom::thread::Builder::new()
        .name(name.to_owned())
        .spawn(f)
        .map(drop)
}

/// A thread's handle, to wake it by.
///
/// loom's own `unpark` is not told from the end of a wait for a lock: it would let a thread go on that has not got the
/// lock, and a token left for one that waits for a lock would be lost. So the token is kept here. It orders nothing that
/// loom's park does not: the threads of a model take turns, and a turn never ends inside these.
#[derive(Debug, Clone)]
pub(crate) struct Thread(Arc<Parking>);

#[derive(Debug)]
struct Parking {
    thread: loom::thread::Thread,
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
            self.0.thread.unpark();
        }
    }
}

loom::thread_local! {
    static CURRENT: Thread = Thread(Arc::new(Parking {
        thread: loom::thread::current(),
        state: Cell::new(ParkState::Running),
    }));
}

pub(crate) fn current() -> Thread {
    CURRENT.with(Clone::clone)
}

pub(crate) fn park() {
    let state = &current().0.state;
    if state.get() != ParkState::Token {
        state.set(ParkState::Parked);
        loom::thread::park();
    }
    state.set(ParkState::Running);
}

/// Time does not pass in a model: a sleep lets others run.
pub(crate) fn sleep(_: Duration) {
    yield_now();
}

/// In a model a timer either never fires, which is the harder case for a lost wake-up, or, where a model asks for it,
/// as soon as the others have run.
pub(crate) fn park_timeout(_: Duration) {
    if super::mutants::timers_fire() {
        yield_now()
    } else {
        park()
    }
}

/// Stands in memory that is freed by hand. A use that does not happen before the end, or after it, is a race.
#[derive(Debug)]
pub(crate) struct Alive(UnsafeCell<()>);

impl Alive {
    pub(crate) fn new() -> Self {
        Self(UnsafeCell::new(()))
    }

    /// The memory is being used.
    pub(crate) fn used(&self) {
        self.0.with(|_| ());
    }

    /// The memory is about to be freed.
    pub(crate) fn end(self) {
        self.0.with_mut(|_| ());
    }
}

/// loom's mutex with the calls of `parking_lot`'s. It orders what real locking orders, and nothing more.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> Mutex<T> {
    pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// loom's lock for readers and a writer, with the calls of `parking_lot`'s.
#[derive(Debug)]
pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> loom::sync::RwLockReadGuard<'_, T> {
        self.0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn write(&self) -> loom::sync::RwLockWriteGuard<'_, T> {
        self.0
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Thread-locals of the model's threads. loom's macro knows no `const` initializers.
macro_rules! model_thread_local {
    ($($(#[$doc:meta])* static $name:ident: $type:ty = const { $value:expr };)*) => {
        loom::thread_local! { $($(#[$doc])* static $name: $type = $value;)* }
    };
    ($($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;)*) => {
        loom::thread_local! { $($(#[$doc])* static $name: $type = $value;)* }
    };
}
pub(crate) use model_thread_local as thread_local;

/// A `static` that is new in each execution of the model.
macro_rules! global {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        loom::lazy_static! {
            $(#[$doc])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use global;

/// Nothing that a model could see.
pub(crate) fn prefetch<T>(_: *const T) {}
