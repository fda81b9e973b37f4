//! The queue of a feed's own channel: bounded, lock-free, many senders, one receiver.
//!
//! A ring of slots, each with a stamp that says which value is in it. The receiver looks at the
//! stamp of the next slot alone, and not at how far senders are. It frees slots by its head, and
//! never writes to a slot. A sender knows of room by a *limit* that it renews from the head when it
//! has reached it. So in a running stream a cache line goes from the senders' core to the
//! receiver's only with values in it, and comes back once a lap.
//!
//! While [one thread alone](super::sole) sends on the feed, it claims a place by a plain store.
//! Several senders claim by a read-modify-write of the tail.
//!
//! Under `DropOldest` senders take values out as well, so there a slot is free when its stamp says
//! so, after Dmitry Vyukov's bounded queue with the stamps of crossbeam's `ArrayQueue`, which is
//! exact for any capacity from 1.
//!
//! # Positions
//!
//! A position is `lap | closed | index`: the index of a slot in the low bits, above it one bit that
//! the tail alone uses to say that the queue is closed, above that how often the ring has been gone
//! round. A slot's stamp:
//!
//! | stamp | state |
//! |---|---|
//! | `p + 1` | holds the value at position `p`, until the head is beyond `p` |
//! | anything else | does not hold the value that the receiver looks for |
//! | `p`, where senders evict | free, for the value at position `p`; the thread that moves the head from `p` stores `p + one lap` |
//!
//! There are at least 2^62 positions, whatever the capacity: 146 years at a billion values a
//! second. What comes after the last is not defined; nothing looks for it.
//!
//! A sender that was preempted between moving the tail and stamping the slot holds up the values
//! behind its own until it runs again; other senders go on.
//!
//! # Nothing there, or being written
//!
//! The receiver must not say that the queue is empty while the value of a send that has returned is
//! behind one that is being written. The tail would tell, but it is the line that senders write to.
//! So a sender that shares its feed looks, before it stamps its slot, whether the slot before that
//! is filled, and if not notes its own position as *overtaken*. A value that is missed has its
//! position noted in any case. The receiver looks at the tail only while its head is before that
//! position.
//!
//! For a value whose stamp can be seen: the slot before it was filled, or the note can be seen too,
//! because it was made before the stamp. By induction the same holds for all places before it.
//! These looks are acquiring, and stamps are stored with Release. So a receiver that has seen a
//! stamp with Acquire, and no note behind its head after that, may read the values of all places
//! before that stamp too: they were written before.
//!
//! # Closing
//!
//! A thread that closes the queue tells the senders, then closes the tail, and then tells the
//! receiver. A sole sender stores the tail without looking whether it has changed. So it looks
//! after that whether the queue is being closed, and if so takes its claim back; between its store
//! and its look stands a light fence. The thread that closes observes the deliveries between
//! telling the sender and closing the tail, with a heavy fence: either the sender sees that the
//! queue is being closed, or its claim is seen in the tail. When the receiver is told, the tail
//! covers every claim that will be filled.
//!
//! # Waking
//!
//! The receiver is woken by [`WakerCell`]'s protocol. A sender claims a place, and looks whether
//! the receiver waits. The receiver says that it waits, and looks at the tail once more; if that
//! has moved and the value is not there yet, its sender is between the two, and the receiver does
//! not park. The fence between the two accesses of a sender is its read-modify-write; a sole
//! sender's is a light one, for which the receiver makes a heavy one.
//!
//! Senders that wait for room are in a [`WakerSet`]. The receiver looks at its count after each
//! value it takes and wakes one sender. It fences before that look only when it finds the queue
//! empty, or ends a drain, and has taken a whole queue of values since it last did: a fence
//! for each value would cost as much as all the rest of taking it. So a sender that
//! joins an empty line in the few nanoseconds in which the receiver's last store is not visible yet
//! may be overlooked by that take. The next take makes up for it, or the receiver when it finds the
//! queue empty. The receiver may do neither for a long time, so the senders that may have been
//! overlooked look again by themselves ([`Again`](crate::wait::Again)).

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::gaps::{FirstGap, Gaps};
use super::refusal::End;
use super::shape::Shape;
use super::slots::Slot;
use super::sole::Sole;
use crate::overflow::Overflow;
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, mutant, seq_cst_order};
use crate::wait::{Pace, WakerCell, WakerSet};

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
#[path = "../../tests/wrap/queue.rs"]
mod wrap;

/// The largest capacity: what the layout of positions and a vector of slots can hold with ease.
pub(crate) const MAX_CAPACITY: usize = 1 << 30;

/// All of an own channel except its slots, which its [`Share`](super::slots::Share)s keep.
///
/// It is four cache lines long. What senders and receivers use for each value is in the first and
/// the third, so the two are never in the same pair of lines, which processors fetch together. What
/// lies between them and at the end is used for values that are missed, for waiting and for ends.
#[repr(C, align(64))]
pub(crate) struct Queue<T> {
    pub(super) senders: SenderSide<T>,
    /// The feed's.
    pub(super) sole: Arc<CachePadded<Sole>>,
    /// Under `DropOldest`: how many values were pushed out.
    pub(super) evicted: AtomicU64,
    /// Before this position, a place may be claimed and not filled while something behind it is
    /// complete. Not used where senders evict.
    pub(super) overtaken: AtomicU64,
    /// How many [`Share`](super::slots::Share)s there are.
    pub(super) shares: AtomicUsize,
    _line: LineStart,
    pub(super) receiver: ReceiverSide<T>,
    /// The values that the receiver misses, except those that were pushed out.
    pub(super) gaps: Gaps,
}

/// Begins a cache line, without filling up the one that it ends.
#[repr(align(64))]
struct LineStart;

/// What senders read for each value, first: one cache line. A receiver that finds values does not
/// touch it.
#[repr(C)]
pub(super) struct SenderSide<T> {
    pub(super) tail: AtomicU64,
    /// Positions before this are free, unless senders evict. It is not beyond the last position of
    /// the lap in which the tail was when it was stored. So a tail that is before it, and not
    /// closed, has the next number as its next position.
    pub(super) limit: AtomicU64,
    pub(super) shape: Shape<T>,
    /// Set before the tail is closed.
    pub(super) is_closing: AtomicBool,
    pub(super) bell: WakerCell,
}

/// What the receiver uses for each value, first: one cache line, which it writes. Senders touch it
/// only when they have come to their limit.
#[repr(C)]
pub(super) struct ReceiverSide<T> {
    pub(super) head: AtomicU64,
    pub(super) shape: Shape<T>,
    pub(super) first_gap: FirstGap,
    /// An [`End`], or 0. Set after the tail is closed.
    pub(super) end: AtomicU8,
    pub(super) room: WakerSet,
}

// SAFETY: the slots are `Sync` when `T: Send`, and live while they are used (see `Share`);
// everything else is `Sync` by itself.
unsafe impl<T: Send> Sync for Queue<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Queue<T> {}

/// The receiver's own part: where it is.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The position to take next, unless senders evict: then the queue's `head` is.
    pub(super) head: u64,
    /// Under `DropOldest`: the number, counted from 0, of the next value that the receiver expects.
    pub(super) expected: u64,
    /// How many values it has taken. This and the one below wrap.
    pub(super) taken: usize,
    /// What `taken` was when it last looked for senders behind a fence.
    pub(super) fenced_at: usize,
    pace: Pace,
}

impl Cursor {
    /// For a receiver that looks again and again in a queue of that capacity, and has found
    /// nothing. True if it has [paused](Pace).
    #[inline]
    pub(crate) fn pauses(&mut self, capacity: usize) -> bool {
        self.pace.pauses(self.taken as u32, capacity)
    }

    /// For a receiver that has taken as many values as it wanted.
    #[inline]
    pub(crate) fn goes_on(&mut self) {
        self.pace.goes_on(self.taken as u32);
    }
}

impl<T> Queue<T> {
    /// A queue over these slots.
    pub(super) fn new(slots: &[Slot<T>], overflow: Overflow, sole: Arc<CachePadded<Sole>>) -> Self {
        debug_assert!((1..=MAX_CAPACITY).contains(&slots.len()));
        let shape = Shape::new(slots, overflow);
        Self {
            senders: SenderSide {
                tail: AtomicU64::new(0),
                limit: AtomicU64::new(shape.last_of_lap(0)),
                shape,
                is_closing: AtomicBool::new(false),
                bell: WakerCell::new(),
            },
            sole,
            evicted: AtomicU64::new(0),
            overtaken: AtomicU64::new(0),
            shares: AtomicUsize::new(1),
            _line: LineStart,
            receiver: ReceiverSide {
                head: AtomicU64::new(0),
                shape,
                first_gap: FirstGap::new(),
                end: AtomicU8::new(0),
                room: WakerSet::unfenced(),
            },
            gaps: Gaps::new(slots.len()),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.senders.shape.capacity()
    }

    /// Where the receiver waits.
    pub(crate) fn bell(&self) -> &WakerCell {
        &self.senders.bell
    }

    /// Where senders wait for room.
    pub(crate) fn room(&self) -> &WakerSet {
        &self.receiver.room
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.senders.shape.overflow()
    }

    // ---- Closing ----

    /// Tells senders that the queue is being closed.
    pub(crate) fn begin_to_close(&self) {
        // ORDERING: pairs with the load in `claim_alone`, by the heavy fence in `Records::observe`.
        self.senders.is_closing.store(true, Ordering::SeqCst);
    }

    /// Closes the queue: it takes no more values. Values in the queue can still be received. Wakes
    /// no thread: see [`wake_all`](Self::wake_all). The caller has called
    /// [`begin_to_close`](Self::begin_to_close), and then
    /// [observed](super::record::Records::observe) the deliveries.
    pub(crate) fn close(&self, end: End) {
        let closed_bit = self.senders.shape.closed_bit();
        if mutant!("end_is_told_before_the_tail_is_closed") {
            self.receiver.end.store(end as u8, Ordering::SeqCst);
        }
        self.senders.tail.fetch_or(closed_bit, Ordering::SeqCst);
        // ORDERING: Release pairs with the Acquire loads of it: all claims are in the tail. SeqCst
        // for the waking, with `is_armed` in `wake_all`, the store in `arm` and the load in
        // `pop_nothing`.
        self.receiver.end.store(end as u8, Ordering::SeqCst);
    }

    /// Wakes the receiver, and the senders that wait for room. Called once the queue has been
    /// closed.
    pub(crate) fn wake_all(&self) {
        // The four are named in `close`.
        seq_cst_order!("end_looks_without_order");
        if self.senders.bell.is_armed() {
            self.ring();
        }
        if !mutant!("end_wakes_no_sender") {
            self.receiver.room.wake_all();
        }
    }

    // ---- What anybody may ask ----

    /// How many values are in it, including those whose senders are about to fill their slots.
    pub(crate) fn len(&self) -> usize {
        loop {
            let tail = self.senders.tail.load(Ordering::Acquire);
            let head = self.receiver.head.load(Ordering::Acquire);
            if self.senders.tail.load(Ordering::Acquire) == tail {
                let used = self
                    .senders
                    .shape
                    .number(tail & !self.senders.shape.closed_bit())
                    .saturating_sub(self.senders.shape.number(head));
                return (used as usize).min(self.senders.shape.capacity());
            }
        }
    }

    /// Whether there are misses not yet reported to the receiver.
    #[cfg(feature = "async")]
    pub(crate) fn has_gap(&self) -> bool {
        self.receiver.first_gap.is_at(u64::MAX - 1)
    }

    /// Whether it takes no more values.
    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `close`. SeqCst for the waking, as is said
        // there.
        self.receiver.end.load(Ordering::SeqCst) != 0
    }

    /// How many values were put into it and not pushed out.
    pub(crate) fn delivered(&self) -> u64 {
        let tail = self.senders.tail.load(Ordering::Acquire) & !self.senders.shape.closed_bit();
        self.senders
            .shape
            .number(tail)
            .saturating_sub(self.evicted.load(Ordering::Relaxed))
    }

    /// How many values the receiver has missed.
    pub(crate) fn dropped(&self) -> u64 {
        self.gaps.missed() + self.evicted.load(Ordering::Relaxed)
    }
}
