//! The queue of a feed's own channel: bounded, lock-free, many senders, one receiver.
//!
//! A ring of slots, each with a stamp that says which value is in it. The receiver reads only the
//! stamp of the next slot, and not how far the senders are. It frees slots by its head, and never
//! writes to a slot. A sender knows of room by a *limit*, which it renews from the head when it has
//! reached it. So in a running stream, a cache line moves from the senders' core to the receiver's
//! only with values in it, and moves back once a lap.
//!
//! While [only one thread](super::sole) sends on the feed, it claims a place by a plain store of
//! the tail. Several senders claim by a read-modify-write of the tail.
//!
//! Under `DropOldest` senders take values out as well. There a slot is free when its stamp says so,
//! as in Dmitry Vyukov's bounded queue, with the stamps of crossbeam's `ArrayQueue`, which are
//! exact for any capacity from 1.
//!
//! # Positions
//!
//! A position is `lap | closed | index`. The low bits are the index of a slot. The bit above them
//! says that the queue is closed; only the tail uses it. The bits above that count the laps of the
//! ring. A slot's stamp:
//!
//! | stamp | state |
//! |---|---|
//! | `p + 1` | holds the value at position `p`, until the head is beyond `p` |
//! | anything else | does not hold the value that the receiver looks for |
//! | `p`, where senders evict | free, for the value at position `p`; the thread that moves the head from `p` stores `p + one lap` |
//!
//! There are at least 2^62 positions, whatever the capacity: 146 years at a billion values a
//! second. What happens after the last position is not defined; nothing checks for it.
//!
//! A sender that is preempted between moving the tail and stamping the slot delays the values
//! behind its own until it runs again. Other senders go on.
//!
//! # No value, or a value that is being written
//!
//! The receiver must not report an empty queue while the value of a completed send is behind a
//! value that is being written. The tail would tell, but it is in the cache line that senders
//! write. So a sender that shares its feed checks, before it stamps its slot, whether the slot
//! before it is filled. If not, it notes its own position as *overtaken*. The position of a missed
//! value is noted in any case. The receiver looks at the tail only while its head is before the
//! noted position.
//!
//! Consider a value whose stamp is visible. Either the slot before it was filled, or the note is
//! visible too, because the note was made before the stamp. By induction the same holds for all
//! places before it. The checks of the slot before are Acquire loads, and stamps are stored with
//! Release. So if a receiver has seen a stamp with Acquire, and sees no note behind its head after
//! that, it may read the values of all places before that stamp too: they were written before.
//!
//! # Closing
//!
//! A thread that closes the queue first tells the senders, then closes the tail, and then tells the
//! receiver. A sole sender stores the tail without checking whether it has changed. So after the
//! store it checks whether the queue is being closed, and if so takes its claim back. A light fence
//! stands between its store and its check. The thread that closes observes the deliveries, with a
//! heavy fence, between telling the senders and closing the tail. So either the sender sees that
//! the queue is being closed, or the closing thread sees its claim in the tail. When the receiver
//! is told, the tail covers every claim that will be filled.
//!
//! # Waking
//!
//! [`WakerCell`]'s protocol wakes the receiver. A sender claims a place, and then checks whether
//! the receiver waits. The receiver announces that it waits, and then looks at the tail once more.
//! If the tail has moved and the value is not there yet, its sender is between the two steps, and
//! the receiver does not park. The fence between the two accesses of a sender is its
//! read-modify-write. A sole sender makes a light fence, for which the receiver makes a heavy one.
//!
//! Senders that wait for room are in a [`WakerSet`]. After each value that the receiver takes, it
//! looks at the set's count and wakes one sender. It fences before that look only when it finds the
//! queue empty, or ends a drain, and has taken a whole queue of values since its last fence. A
//! fence for each value would cost as much as all the rest of taking it. So if a sender joins an
//! empty line in the few nanoseconds before the receiver's last store is visible, that take may
//! overlook the sender. The next take makes up for it, or the receiver's look when it finds the
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

/// The largest capacity, well within what the layout of positions and a vector of slots can hold.
pub(crate) const MAX_CAPACITY: usize = 1 << 30;

/// All of an own channel except its slots, which its [`Share`](super::slots::Share)s keep.
///
/// It is four cache lines long. The fields that senders and receivers use for each value are in the
/// first and the third line, so the two are never in the same pair of lines, which processors fetch
/// together. The fields between them and at the end are used for missed values, for waiting and for
/// ends.
#[repr(C, align(64))]
pub(crate) struct Queue<T> {
    pub(super) senders: SenderSide<T>,
    /// The feed's sole-sender state.
    pub(super) sole: Arc<CachePadded<Sole>>,
    /// Under `DropOldest`: how many values were pushed out.
    pub(super) evicted: AtomicU64,
    /// Before this position, a place may be claimed and not filled while a value or a gap behind it
    /// is complete. Not used where senders evict.
    pub(super) overtaken: AtomicU64,
    /// The number of [`Share`](super::slots::Share)s.
    pub(super) shares: AtomicUsize,
    _line: LineStart,
    pub(super) receiver: ReceiverSide<T>,
    /// The values that the receiver misses, except those that were pushed out.
    pub(super) gaps: Gaps,
}

/// Begins a cache line, without padding the line before it.
#[repr(align(64))]
struct LineStart;

/// The fields that senders read for each value, first: one cache line. A receiver that finds values
/// does not touch it.
#[repr(C)]
pub(super) struct SenderSide<T> {
    pub(super) tail: AtomicU64,
    /// Positions before this are free, unless senders evict. When it was stored, it was at most the
    /// last position of the lap that the tail was in. So if a tail is before it, and is not closed,
    /// its next position is one more.
    pub(super) limit: AtomicU64,
    pub(super) shape: Shape<T>,
    /// Set before the tail is closed.
    pub(super) is_closing: AtomicBool,
    pub(super) bell: WakerCell,
}

/// The fields that the receiver uses for each value, first: one cache line, which it writes.
/// Senders touch it only when they have reached their limit.
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

/// The receiver's own state: its position.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// The position to take next, unless senders evict: then the queue's `head` is.
    pub(super) head: u64,
    /// Under `DropOldest`: the number, counted from 0, of the next value that the receiver expects.
    pub(super) expected: u64,
    /// How many values the receiver has taken. This and `fenced_at` wrap.
    pub(super) taken: usize,
    /// The value of `taken` when the receiver last looked for senders behind a fence.
    pub(super) fenced_at: usize,
    pace: Pace,
}

impl Cursor {
    /// For a receiver that polls a queue of this capacity and has found nothing. Returns true if it
    /// has [paused](Pace).
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
    /// Makes a queue over these slots.
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

    /// The waker of the receiver.
    pub(crate) fn bell(&self) -> &WakerCell {
        &self.senders.bell
    }

    /// The line of senders that wait for room.
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

    /// Closes the queue: it takes no more values. The receiver can still take the values in the
    /// queue. This wakes no thread: see [`wake_all`](Self::wake_all). The caller has called
    /// [`begin_to_close`](Self::begin_to_close), and then
    /// [observed](super::record::Records::observe) the deliveries.
    pub(crate) fn close(&self, end: End) {
        let closed_bit = self.senders.shape.closed_bit();
        if mutant!("end_is_told_before_the_tail_is_closed") {
            self.receiver.end.store(end as u8, Ordering::SeqCst);
        }
        self.senders.tail.fetch_or(closed_bit, Ordering::SeqCst);
        // ORDERING: Release pairs with the Acquire loads of `end`: all claims are in the tail.
        // SeqCst for the waking, with `is_armed` in `wake_all`, the store in `arm` and the load in
        // `pop_nothing`.
        self.receiver.end.store(end as u8, Ordering::SeqCst);
    }

    /// Wakes the receiver, and the senders that wait for room. Called after [`close`](Self::close).
    pub(crate) fn wake_all(&self) {
        // `close` names the four accesses.
        seq_cst_order!("end_looks_without_order");
        if self.senders.bell.is_armed() {
            self.ring();
        }
        if !mutant!("end_wakes_no_sender") {
            self.receiver.room.wake_all();
        }
    }

    // ---- Queries for any thread ----

    /// How many values are in the queue, including those whose senders are about to fill their
    /// slots.
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

    /// The number of values put into the queue plus the number taken out of it. Wraps.
    pub(crate) fn progress(&self) -> u64 {
        let shape = self.senders.shape;
        let number = |position: u64| shape.number(position & !shape.closed_bit());
        number(self.senders.tail.load(Ordering::Relaxed))
            .wrapping_add(number(self.receiver.head.load(Ordering::Relaxed)))
    }

    /// Whether there are gaps that the receiver has not been told about.
    #[cfg(feature = "async")]
    pub(crate) fn has_gap(&self) -> bool {
        self.receiver.first_gap.is_at(u64::MAX - 1)
    }

    /// Whether the queue takes no more values.
    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `close`. SeqCst for the waking, as `close`
        // says.
        self.receiver.end.load(Ordering::SeqCst) != 0
    }

    /// How many values were put into the queue and not pushed out.
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
