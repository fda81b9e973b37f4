//! Who sleeps, and who wakes whom.
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
//! *Senders* that found the ring full stand in the queue, name the reader that is in the way, make a heavy fence, and look
//! for room once more. A reader moves on, makes a light fence, and looks whether it was named.

use std::sync::Arc;
use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::sync::{
    AtomicUsize, Ordering, Word, free_fence, heavy_fence, light_fence, mutant, register_word,
    store_load_fence,
};
use crate::wait::{Ticket, WakerSet};

use super::seat::Seat;

pub(crate) struct Wakeups {
    /// How many readers may park. Not 0 either where senders are to make full fences always: see [`free_fence`].
    drowsy: Arc<Word>,
    /// The address of the seat of the reader that senders wait for, or 0.
    awaited: CachePadded<AtomicUsize>,
    /// Readers that wait for values.
    readers: WakerSet,
    /// Senders that wait for room.
    senders: WakerSet,
}

impl Wakeups {
    pub(crate) fn new() -> Self {
        let drowsy = Arc::new(Word::default());
        register_word(&drowsy);
        Self {
            drowsy,
            awaited: CachePadded::new(AtomicUsize::new(0)),
            readers: WakerSet::new(),
            senders: WakerSet::new(),
        }
    }

    // ---- Senders wake readers ----

    /// Something was published: wakes who waits for it.
    #[inline(always)]
    pub(crate) fn published(&self) {
        // ORDERING: pairs with the heavy fence in `grow_drowsy`.
        if !mutant!("sender_publishes_without_light_fence") {
            free_fence();
        }
        if self.drowsy.load(Ordering::Relaxed) != 0 {
            self.rouse();
        }
    }

    #[inline(never)]
    fn rouse(&self) {
        // ORDERING: pairs with the fence in `WakerSet::join`.
        store_load_fence!("sender_rouses_without_fence");
        if self.readers.is_waited_on() {
            self.readers.wake_all();
        }
    }

    /// Wakes all readers, whatever they wait for.
    pub(crate) fn wake_readers(&self) {
        self.readers.wake_all();
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
    pub(crate) fn join_readers(&self, ticket: &mut Ticket, waker: &Waker) {
        self.readers.join(ticket, waker);
    }

    /// A reader waits no longer.
    pub(crate) fn leave_readers(&self, ticket: &mut Ticket) {
        // Everybody is woken for each value: nobody has to be woken in its stead.
        self.readers.leave(ticket, || false);
    }

    // ---- Readers wake senders ----

    /// The reader in that seat has moved on, or has left.
    #[inline(always)]
    pub(crate) fn moved(&self, seat: &Seat) {
        // ORDERING: pairs with the heavy fence in `await_reader`.
        light_fence!("reader_moves_without_light_fence");
        if self.awaited.load(Ordering::Relaxed) == address(seat) {
            self.wake_senders_for(address(seat));
        }
    }

    #[cold]
    fn wake_senders_for(&self, seat: usize) {
        let named = self
            .awaited
            .compare_exchange(seat, 0, Ordering::AcqRel, Ordering::Relaxed);
        if named.is_ok() {
            self.senders.wake_all();
        }
    }

    /// A sender waits for the reader in that seat. It has to look for room once more before it parks.
    pub(crate) fn await_reader(&self, seat: &Seat, ticket: &mut Ticket, waker: &Waker) {
        let stand_in_the_queue = |ticket: &mut Ticket| self.senders.join(ticket, waker);
        if mutant!("sender_names_a_reader_before_it_queues") {
            self.awaited.swap(address(seat), Ordering::SeqCst);
            stand_in_the_queue(ticket);
        } else {
            // In this order: the reader takes its name away and wakes those who stand in the queue then.
            stand_in_the_queue(ticket);
            // A swap: a store would come after the reader's own change all the same, but a model does not see that.
            self.awaited.swap(address(seat), Ordering::SeqCst);
        }
        // ORDERING: pairs with the light fence in `moved`.
        heavy_fence!("sender_parks_without_heavy_fence");
    }

    /// A sender waits no longer.
    pub(crate) fn leave_senders(&self, ticket: &mut Ticket) {
        self.senders.leave(ticket, || false);
    }

    /// The ring has ended: wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.readers.wake_all();
        self.senders.wake_all();
    }

    /// There is room: who waits for it is to look.
    pub(crate) fn wake_senders(&self) {
        if self.senders.is_waited_on() && !mutant!("room_is_kept_to_oneself") {
            self.senders.wake_all();
        }
    }
}

fn address(seat: &Seat) -> usize {
    std::ptr::from_ref(seat).addr()
}
