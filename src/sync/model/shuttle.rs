//! The primitives for shuttle. Shuttle treats every ordering as `SeqCst`. loom checks what weaker
//! orderings allow and what fences forbid.

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

/// Does nothing: all operations are in one order anyway, and each of them lets other threads run
/// before it.
pub(crate) fn fence(_: Ordering) {}

/// A thread's sleep until it is woken, and for no other reason, as a future.
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
        // The sleeper let others run when it went to sleep. The thread that wakes it did something
        // before this that lets others run.
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

/// A sleep yields to other threads. Shuttle's own sleep would only offer to, and a thread that
/// sleeps in a loop could be the only one that runs.
pub(crate) fn sleep(_: Duration) {
    yield_now();
}

/// A cell that fails the model when a write overlaps with another access.
///
/// Shuttle checks no accesses, and switches threads only in its own operations, which an access
/// does not contain. So each write here contains such an operation: if another thread can access
/// the cell without waiting for this one, some schedule lets it do so. Reads need none, because
/// they can overlap only with a write. This finds overlaps that the order of the threads'
/// operations alone causes. loom finds a missing `Release` or `Acquire`.
#[derive(Debug)]
pub struct UnsafeCell<T> {
    value: std::cell::UnsafeCell<T>,
    /// How many threads read the cell now; -1 while a thread writes.
    users: Cell<isize>,
}

/// An access, which may end in a panic of the code that it calls.
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
    /// A cell that no thread accesses.
    pub const fn new(value: T) -> Self {
        Self {
            value: std::cell::UnsafeCell::new(value),
            users: Cell::new(0),
        }
    }

    /// Reads through a shared pointer. The caller must justify dereferencing it.
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        let _access = Access::read(&self.users);
        f(self.value.get())
    }

    /// Writes through an exclusive pointer. The caller must justify dereferencing it.
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        let _access = Access::write(&self.users);
        f(self.value.get())
    }
}

/// Marks memory that is freed by hand, so that loom can check its uses. Here it is nothing: a mark
/// in freed memory could not be read, and shuttle does not track happens-before.
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
