//! A channel that the caller brings along, written with the primitives of the model. Real
//! primitives would block a model where its checker cannot see it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use fanfeed::{Carrier, Room, TrySendError};

use crate::primitives::{Mutex, UnsafeCell};

/// A bounded channel.
pub fn post<T>(capacity: usize) -> (Post<T>, PostBox<T>) {
    let shared = Arc::new(Shared {
        capacity,
        inside: Mutex::new(Inside {
            values: VecDeque::new(),
            wakers: Vec::new(),
        }),
        dropped: AtomicBool::new(false),
        sealed: AtomicBool::new(false),
    });
    let post = Post {
        shared: Arc::clone(&shared),
        used: UnsafeCell::new(()),
    };
    (post, PostBox { shared })
}

struct Shared<T> {
    capacity: usize,
    inside: Mutex<Inside<T>>,
    /// What the model asserts about the channel is no part of what is modelled, so these two are
    /// `std`'s.
    dropped: AtomicBool,
    sealed: AtomicBool,
}

struct Inside<T> {
    values: VecDeque<T>,
    wakers: Vec<Waker>,
}

/// The sending half, which can be subscribed. Using it while it is dropped, or after, fails the
/// model.
pub struct Post<T> {
    shared: Arc<Shared<T>>,
    used: UnsafeCell<()>,
}

// SAFETY: `used` is accessed for the checker to see, and holds nothing.
unsafe impl<T: Send> Sync for Post<T> {}

impl<T> std::fmt::Debug for Post<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Carrier<T> for Post<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.used.with(|_| ());
        assert!(
            !self.shared.sealed.load(Ordering::Relaxed),
            "a value came after the channel was unsubscribed"
        );
        let mut inside = self.shared.inside.lock().unwrap();
        if inside.values.len() == self.shared.capacity {
            return Err(TrySendError::Full(value));
        }
        inside.values.push_back(value);
        drop(inside);
        self.used.with(|_| ());
        Ok(())
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        self.used.with(|_| ());
        let mut inside = self.shared.inside.lock().unwrap();
        if !inside.wakers.iter().any(|held| held.will_wake(waker)) {
            inside.wakers.push(waker.clone());
        }
        drop(inside);
        self.used.with(|_| ());
        Room::Waking
    }

    fn depth(&self) -> Option<usize> {
        self.used.with(|_| ());
        let depth = self.shared.inside.lock().unwrap().values.len();
        self.used.with(|_| ());
        Some(depth)
    }
}

impl<T> Drop for Post<T> {
    fn drop(&mut self) {
        self.used.with_mut(|_| ());
        let before = self.shared.dropped.swap(true, Ordering::Relaxed);
        assert!(!before, "the sending half was dropped twice");
    }
}

/// The receiving half.
pub struct PostBox<T> {
    shared: Arc<Shared<T>>,
}

impl<T> std::fmt::Debug for PostBox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostBox").finish_non_exhaustive()
    }
}

impl<T> PostBox<T> {
    /// Takes a value, if there is one, and wakes the sends that wait for room.
    pub fn take(&self) -> Option<T> {
        let mut inside = self.shared.inside.lock().unwrap();
        let value = inside.values.pop_front()?;
        let wakers = std::mem::take(&mut inside.wakers);
        drop(inside);
        wakers.into_iter().for_each(Waker::wake);
        Some(value)
    }

    /// How many sends wait for room.
    pub fn waiting(&self) -> usize {
        self.shared.inside.lock().unwrap().wakers.len()
    }

    /// Whether the sending half is gone.
    pub fn is_disconnected(&self) -> bool {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// A value that comes from now on fails the model.
    pub fn seal(&self) {
        self.shared.sealed.store(true, Ordering::Relaxed);
    }

    /// Asserts that the sending half is gone, and that nothing comes from now on.
    #[track_caller]
    pub fn assert_ended(&self) {
        assert!(self.is_disconnected(), "the carrier was not dropped");
        self.seal();
    }
}
