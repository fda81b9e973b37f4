//! Readers and senders that sleep, and the threads that wake them.
//!
//! Both directions follow Dekker's pattern with asymmetric fences, so that they cost something only
//! if a thread is about to sleep.
//!
//! *Readers* that may park are *drowsy*. A sender publishes, makes a light fence, and checks
//! whether any reader is drowsy. Only then does it make a full fence and check whether any reader
//! is parked. A reader becomes drowsy by raising the count and making a heavy fence. Then it joins
//! a wake list, fences, looks for values once more, and parks. It stays drowsy until it has waited
//! a number of times without parking. So a running stream costs no fence, and a trickle costs one
//! full fence for each value and no heavy fence.
//!
//! A reader waits either for a sender or, if it [follows](super::leaders) others, for its leaders.
//! There is a list for each, so that neither a sender nor a leader wakes readers that wait for the
//! other. What a reader waits for may change with each look. So after its last look, a reader
//! compares what it waits for with the list that it is in. If they differ, it changes to the other
//! list and looks again.
//!
//! For *senders* that wait for room, see [`BlockedSenders`].

use std::task::Waker;

use crate::sync::{
    Ordering, Word, deregister_word, free_fence, heavy_fence, mutant, register_word,
    store_load_fence,
};
use crate::wait::{ListPlace, WakeList};

use super::blocked_senders::BlockedSenders;

/// What a reader waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A value that has yet to be published.
    #[default]
    Sender,
    /// A value that has been published, and that a leader has not passed.
    Leaders,
}

/// A reader's place in one of the two lists.
#[derive(Debug, Default)]
pub(crate) struct ReaderPlace {
    list: WaitsFor,
    place: ListPlace,
}

pub(crate) struct Wakeups {
    /// How many readers may park. Also not 0 while senders must always make full fences: see
    /// [`free_fence`].
    drowsy: Word,
    /// Readers that wait for a sender.
    readers: WakeList,
    /// Readers that wait for their leaders.
    followers: WakeList,
    /// Senders that wait for room.
    pub(crate) senders: BlockedSenders,
}

impl Wakeups {
    pub(crate) fn new() -> Self {
        Self {
            drowsy: Word::default(),
            readers: WakeList::new(),
            followers: WakeList::new(),
            senders: BlockedSenders::new(),
        }
    }

    /// Makes senders use full fences if free ones are not enough.
    ///
    /// # Safety
    ///
    /// `self` is not moved from now on until it is dropped.
    pub(crate) unsafe fn pin(&self) {
        // SAFETY: the caller guarantees this; `drop` deregisters the word.
        unsafe { register_word(&self.drowsy) };
    }

    /// Called when a value was published: wakes the readers that wait for it. Returns whether the
    /// count of drowsy readers is not 0.
    #[inline(always)]
    pub(crate) fn published(&self) -> bool {
        self.wake(&self.readers)
    }

    /// Called when a value was published: whether any reader is drowsy. If so, the caller then
    /// calls [`rouse_readers`](Self::rouse_readers).
    #[inline(always)]
    pub(crate) fn is_any_drowsy(&self) -> bool {
        // ORDERING: pairs with the heavy fence in `grow_drowsy`.
        if !mutant!("sender_publishes_without_light_fence") {
            free_fence();
        }
        self.drowsy.load(Ordering::Relaxed) != 0
    }

    /// Wakes the readers that wait for a sender, if there are any.
    pub(crate) fn rouse_readers(&self) {
        Self::rouse(&self.readers);
    }

    /// Called when a leader has passed values: wakes the readers that wait for leaders.
    pub(crate) fn passed(&self) {
        self.wake(&self.followers);
    }

    /// Wakes the readers in this list, if any reader is drowsy. Returns whether one is.
    #[inline(always)]
    fn wake(&self, list: &WakeList) -> bool {
        let is_drowsy = self.is_any_drowsy();
        if is_drowsy {
            Self::rouse(list);
        }
        is_drowsy
    }

    #[cold]
    #[inline(never)]
    fn rouse(list: &WakeList) {
        // ORDERING: pairs with the fence in `WakeList::join`.
        store_load_fence!("sender_rouses_without_fence");
        if list.is_waited_on() {
            list.wake_all();
        }
    }

    /// Wakes all readers, whatever they wait for, because a subscription or the ring has ended.
    pub(crate) fn wake_readers(&self) {
        // ORDERING: pairs with the fence in `WakeList::join`.
        store_load_fence!("end_looks_for_readers_without_fence");
        for list in [&self.readers, &self.followers] {
            if list.is_waited_on() {
                list.wake_all();
            }
        }
    }

    /// From now on senders check whether this reader is parked.
    #[cold]
    pub(crate) fn grow_drowsy(&self) {
        self.drowsy.fetch_add(1, Ordering::SeqCst);
        // ORDERING: pairs with the light fence in `published`.
        heavy_fence!("reader_grows_drowsy_without_heavy_fence");
    }

    /// Undoes [`grow_drowsy`](Self::grow_drowsy): this reader does not park before it calls that
    /// again.
    #[cold]
    pub(crate) fn grow_lively(&self) {
        self.drowsy.fetch_sub(1, Ordering::Relaxed);
    }

    fn list(&self, list: WaitsFor) -> &WakeList {
        match list {
            WaitsFor::Sender => &self.readers,
            WaitsFor::Leaders => &self.followers,
        }
    }

    /// Puts a drowsy reader into this list. The reader must look once more before it parks, and
    /// join again if it then waits for something else.
    pub(crate) fn join_readers(&self, place: &mut ReaderPlace, list: WaitsFor, waker: &Waker) {
        if place.list != list {
            self.leave_readers(place);
            place.list = list;
        }
        self.list(list).join(&mut place.place, waker);
    }

    /// Removes a reader that no longer waits.
    pub(crate) fn leave_readers(&self, place: &mut ReaderPlace) {
        self.list(place.list).leave(&mut place.place);
    }

    /// Wakes all readers and senders, because the ring has ended.
    pub(crate) fn wake_all(&self) {
        self.wake_readers();
        self.senders.wake_all();
    }
}

impl Drop for Wakeups {
    fn drop(&mut self) {
        deregister_word(&self.drowsy);
    }
}
