//! What is shuttle's. It takes every ordering for `SeqCst`: what weaker ones allow, and what fences
//! forbid, is loom's matter.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use shuttle::future::block_on;

pub(crate) use shuttle::hint::spin_loop;
pub(super) use shuttle::sync as locks;
pub(crate) use shuttle::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
};
pub(super) use shuttle::thread as threads;
pub(crate) use shuttle::thread::yield_now;
pub(crate) use shuttle::thread_local;

/// Nothing: all operations are in one order anyway, and each of them lets others run before it.
pub(crate) fn fence(_: Ordering) {}

/// What a thread sleeps by until it is woken, and for no other reason: as a future.
#[derive(Debug)]
pub(super) struct Sleeper(RefCell<Option<Waker>>);

impl Sleeper {
    pub(super) fn current() -> Self {
        Self(RefCell::new(None))
    }

    pub(super) fn sleep(&self) {
        let mut sleeps = false;
        block_on(poll_fn(|context| {
            if std::mem::replace(&mut sleeps, true) {
                return Poll::Ready(());
            }
            self.0.replace(Some(context.waker().clone()));
            Poll::Pending
        }));
    }

    pub(super) fn wake(&self) {
        // It let others run when it went to sleep, and whoever wakes it did something before this
        // that does.
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

/// A sleep gives way to others. Shuttle's own would only offer it, and whoever sleeps in a loop
/// could be all that runs.
pub(crate) fn sleep(_: Duration) {
    yield_now();
}

/// A cell that fails the model when a write overlaps with another access.
///
/// Shuttle checks no accesses, and a change of threads comes only in its own operations, of which
/// an access has none. So there is one in the midst of each write here: where another thread could
/// access the cell without waiting for this one, some schedule has it do so. Reads need none, for
/// what they could overlap with is a write. That finds overlaps of which no order of the threads'
/// operations is to blame alone; a missing `Release` or `Acquire` is loom's to find.
#[derive(Debug)]
pub struct UnsafeCell<T> {
    value: std::cell::UnsafeCell<T>,
    /// How many read it now; -1 while one writes.
    users: Cell<isize>,
}

/// An access, which may end in a panic of what it calls.
struct Access<'a> {
    users: &'a Cell<isize>,
    after: isize,
}

impl<'a> Access<'a> {
    fn read(users: &'a Cell<isize>) -> Self {
        let before = users.get();
        assert!(before >= 0, "a cell is read while it is written");
        users.set(before + 1);
        Self { users, after: -1 }
    }

    fn write(users: &'a Cell<isize>) -> Self {
        let before = users.get();
        assert_eq!(before, 0, "a cell is written while it is accessed");
        users.set(-1);
        threads::sleep(Duration::ZERO);
        Self { users, after: 1 }
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        self.users.set(self.users.get() + self.after);
    }
}

impl<T> UnsafeCell<T> {
    /// A cell that nobody accesses.
    pub const fn new(value: T) -> Self {
        Self {
            value: std::cell::UnsafeCell::new(value),
            users: Cell::new(0),
        }
    }

    /// Reads through a shared pointer. Dereferencing it is the caller's to justify.
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        let _access = Access::read(&self.users);
        f(self.value.get())
    }

    /// Writes through an exclusive pointer. Dereferencing it is the caller's to justify.
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        let _access = Access::write(&self.users);
        f(self.value.get())
    }
}

/// Stands in memory that is freed by hand, for loom to watch its uses. Here it is nothing: a mark
/// in memory that is gone could not be read, and shuttle keeps no books of what happened before
/// what.
#[derive(Debug)]
pub(crate) struct Alive;

impl Alive {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn used(&self) {}

    pub(crate) fn end(self) {}
}

/// A `static` that is new in each execution of the model.
macro_rules! global {
    ($(#[$doc:meta])* static $name:ident: $type:ty = $value:expr;) => {
        shuttle::lazy_static! {
            $(#[$doc])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use global;
