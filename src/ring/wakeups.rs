//! Readers and senders that sleep, and the threads that wake them.
//!
//! Both directions follow Dekker's pattern with a pair of unequal fences, so that it costs something only where somebody
//! is about to sleep.
//!
//! *Readers* that may park are *drowsy*. A sender publishes, makes a light fence, and looks whether anybody is drowsy; only
//! then does it fence in full and look whether anybody is parked. A reader grows drowsy by raising the count and making a
//! heavy fence; then it stands in the queue, fences, looks for values once more, and parks. It stays drowsy until it has
//! gone for a while without parking. So a running stream costs no fence, and a trickle costs one for each value and no
//! heavy one.
//!
//! For *senders* that wait for room, see [`BlockedSenders`].

use std::task::Waker;

use crate::sync::{
    Ordering, Word, deregister_word, free_fence, heavy_fence, mutant, register_word,
    store_load_fence,
};
use crate::wait::{ListPlace, WakeList};

use super::blocked_senders::BlockedSenders;

pub(crate) struct Wakeups {
    /// How many readers may park. Also not 0 if senders must always make full fences: see
    /// [`free_fence`].
    drowsy: Word,
    /// Readers that wait for values.
    readers: WakeList,
    /// Senders that wait for room.
    pub(crate) senders: BlockedSenders,
}

impl Wakeups {
    pub(crate) fn new() -> Self {
        Self {
            drowsy: Word::default(),
            readers: WakeList::new(),
            senders: BlockedSenders::new(),
        }
    }

    /// Makes senders use full fences where free ones are not enough.
    ///
    /// # Safety
    ///
    /// `self` is not moved any more until it is dropped.
    pub(crate) unsafe fn pin(&self) {
        // SAFETY: as our caller warrants; `drop` deregisters it.
        unsafe { register_word(&self.drowsy) };
    }

    /// A value was published: wakes the readers that wait for it. Returns whether the count of
    /// drowsy readers is not 0.
    #[inline(always)]
    pub(crate) fn published(&self) -> bool {
        // ORDERING: pairs with the heavy fence in `grow_drowsy`.
        if !mutant!("sender_publishes_without_light_fence") {
            free_fence();
        }
        let is_drowsy = self.drowsy.load(Ordering::Relaxed) != 0;
        if is_drowsy {
            self.rouse();
        }
        is_drowsy
    }

    #[cold]
    #[inline(never)]
    fn rouse(&self) {
        // ORDERING: pairs with the fence in `WakeList::join`.
        store_load_fence!("sender_rouses_without_fence");
        if self.readers.is_waited_on() {
            self.readers.wake_all();
        }
    }

    /// Wakes all readers, whatever they wait for: something has ended.
    pub(crate) fn wake_readers(&self) {
        // ORDERING: pairs with the fence in `WakeList::join`.
        store_load_fence!("end_looks_for_readers_without_fence");
        if self.readers.is_waited_on() {
            self.readers.wake_all();
        }
    }

    /// From now on senders look whether this reader is parked.
    #[cold]
    pub(crate) fn grow_drowsy(&self) {
        self.drowsy.fetch_add(1, Ordering::SeqCst);
        // ORDERING: pairs with the light fence in `published`.
        heavy_fence!("reader_grows_drowsy_without_heavy_fence");
    }

    /// This reader will not park without growing drowsy again.
    #[cold]
    pub(crate) fn grow_lively(&self) {
        self.drowsy.fetch_sub(1, Ordering::Relaxed);
    }

    /// A drowsy reader stands in the queue. It has to look once more before it parks.
    pub(crate) fn join_readers(&self, place: &mut ListPlace, waker: &Waker) {
        self.readers.join(place, waker);
    }

    /// A reader waits no longer.
    pub(crate) fn leave_readers(&self, place: &mut ListPlace) {
        self.readers.leave(place);
    }

    /// The ring has ended: wakes all sleepers.
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
