//! What all handles and readers of a ring share: the track, the sleepers and the readers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};

use crate::error::SubscriptionError;
use crate::sync::{AtomicUsize, Mutex, Ordering, mutant};
use crate::wait::{Reap, may_reap, postpone};

use super::blocked_senders::Look;
use super::member::Member;
use super::monitor::RingReaderStats;
use super::overflow::RingOverflow;
use super::reader::Reader;
use super::seat::{Progress, Seat};
use super::seats::Which;
use super::shape::Shape;
use super::track::Track;
use super::wakeups::Wakeups;

pub(crate) struct Core<T> {
    pub(crate) track: Track<T>,
    pub(crate) wakeups: Wakeups,
    registry: Mutex<Registry<T>>,
    /// Subscriptions that have not ended.
    count: AtomicUsize,
}

/// Who sits where. Only under the lock.
struct Registry<T> {
    closed: bool,
    members: Vec<Weak<Member<T>>>,
    /// Seats that are free again, the first of them first.
    free: BinaryHeap<Reverse<usize>>,
    lossy: usize,
    /// Whether senders claim positions, or may do so.
    has_senders: bool,
    /// The slots are gone.
    is_freed: bool,
}

/// How a reader joins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joining {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) overflow: RingOverflow,
    pub(crate) begin: Begin,
}

/// Where a reader begins, as near as possible.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// So many values before the next one.
    Back(u64),
    /// With that position.
    At(u64),
}

impl Default for Begin {
    fn default() -> Self {
        Self::Back(0)
    }
}

impl<T> Core<T> {
    pub(crate) fn new(shape: Shape, is_shared: bool, drop_when_read: bool) -> Arc<Self> {
        Self::of(Track::new(shape, is_shared, drop_when_read))
    }

    fn of(track: Track<T>) -> Arc<Self> {
        let core = Arc::new(Self {
            track,
            wakeups: Wakeups::new(),
            registry: Mutex::new(Registry {
                closed: false,
                members: Vec::new(),
                free: BinaryHeap::new(),
                lossy: 0,
                has_senders: true,
                is_freed: false,
            }),
            count: AtomicUsize::new(0),
        });
        // SAFETY: nothing moves what is in an `Arc`, and nobody takes it out of this one.
        unsafe { core.wakeups.pin() };
        if core.track.retention.is_some() {
            // Makes senders check after each value whether any reader is to read it, at no cost to
            // other rings.
            core.wakeups.grow_drowsy();
        }
        core
    }

    /// What a ring is whose first position is that one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn starting_at(shape: Shape, is_shared: bool, start: u64) -> Arc<Self> {
        Self::of(Track::starting_at(shape, is_shared, start))
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// One subscription less.
    pub(crate) fn count_end(&self) {
        self.count.fetch_sub(1, Ordering::Release);
    }

    /// Seats a new reader. In a ring that has ended its subscription has too.
    pub(crate) fn join(self: &Arc<Self>, joining: Joining) -> Reader<T> {
        let kind = kind(joining.overflow);
        let mut registry = self.registry.lock();
        if registry.closed {
            // Nothing was published from there on.
            let end = self.track.end();
            let member = Member::ended(Arc::clone(self), joining.name);
            return Reader::new(member, end, Progress::strict(0));
        }
        let seat = match registry.free.pop() {
            Some(Reverse(seat)) => seat,
            None => {
                registry.members.push(Weak::new());
                registry.members.len() - 1
            }
        };
        if kind.is_lossy() {
            registry.lossy += 1;
            self.track.storage.provide(registry.lossy);
        }
        self.count.fetch_add(1, Ordering::Release);
        let (position, has_moved_up) = self.sit_down(seat, kind, joining.begin);
        let member = Arc::new(Member::new(
            Arc::clone(self),
            joining.name,
            seat,
            kind.is_lossy(),
        ));
        registry.members[seat] = Arc::downgrade(&member);
        drop(registry);
        // A sender may already wait for the reader that had this seat. Called outside the lock,
        // because wakers are user code.
        if has_moved_up && !mutant!("reader_moves_up_unnoticed") {
            self.wakeups.senders.moved(member.seat());
        }
        // It may have been taken for a reader further back.
        self.drop_passed();
        Reader::new(member, position, kind)
    }

    /// Registers a reader where requested, or as near to that as possible. Returns its position,
    /// and whether it had another position before.
    fn sit_down(&self, number: usize, kind: Progress, begin: Begin) -> (u64, bool) {
        let track = &self.track;
        let is_lossy = kind.is_lossy();
        let next = track.next();
        let mut position = match begin {
            Begin::Back(values) => next.saturating_sub(values),
            Begin::At(position) => position,
        };
        position = position.max(track.floor(is_lossy)).min(next);
        let seat = track.seats.seat(number);
        seat.begin(position);
        track.seats.occupy(number, kind.at(position));
        let mut has_moved_up = false;
        loop {
            let floor = track.floor(is_lossy);
            if floor <= position {
                break;
            }
            position = floor;
            seat.place(kind.at(position));
            track.seats.announce(number);
            has_moved_up = true;
        }
        seat.begin(position);
        (position, has_moved_up)
    }

    /// In a ring with `drop_when_read`, drops the values that all readers have passed.
    #[inline]
    pub(crate) fn drop_passed(&self) {
        if let Some(retention) = &self.track.retention {
            retention.drop_passed(&self.track);
        }
    }

    /// In a delivery or a callback, makes the outermost one drop the values that all readers have
    /// passed.
    pub(crate) fn postpone(self: &Arc<Self>)
    where
        T: Send + Sync + 'static,
    {
        if self.track.retention.is_some() && !may_reap() {
            postpone(Arc::clone(self) as Arc<dyn Reap>);
        }
    }

    /// Gives a seat back, whose reader has stood up.
    pub(crate) fn give_back(&self, number: usize, was_lossy: bool) {
        let mut registry = self.registry.lock();
        registry.members[number] = Weak::new();
        registry.free.push(Reverse(number));
        if was_lossy {
            registry.lossy -= 1;
            self.track.storage.withdraw(registry.lossy);
        }
        drop(registry);
        self.drop_passed();
        self.free_if_over();
    }

    /// The ring is closed, no sender claims a position or has the gate, and none will. Some senders
    /// may still write what they claimed: these find that the count of drowsy readers is not 0, or
    /// have stamped it by now.
    pub(crate) fn nobody_claims(&self) {
        self.registry.lock().has_senders = false;
        self.free_if_over();
    }

    /// A sender has published values, and found that the count of drowsy readers is not 0. In a
    /// ring that drops values once they are read, that count is never 0. There the sender drops the
    /// values here that no reader is to read, if no reader is before `position`.
    #[cold]
    #[inline(never)]
    pub(crate) fn look_after_publishing(&self, position: u64) {
        if let Some(retention) = &self.track.retention {
            retention.moved(&self.track, position);
        }
        if self.track.end() != u64::MAX {
            self.free_if_over();
        }
    }

    /// Frees the slots and their values once no thread will touch them any more: what senders
    /// claimed before the ring was closed is written, and the last reader is gone. Other handles
    /// may remain.
    fn free_if_over(&self) {
        {
            let mut registry = self.registry.lock();
            let has_readers = registry.members.len() != registry.free.len();
            if registry.has_senders || has_readers || registry.is_freed {
                return;
            }
            // A sender that stamps later comes here later.
            if self.track.published(u64::MAX) < self.track.end() {
                return;
            }
            registry.is_freed = true;
        }
        if let Some(retention) = &self.track.retention
            && !mutant!("ring_is_freed_beside_retention")
        {
            retention.end();
        }
        // SAFETY: no reader is left and none joins a closed ring; whatever senders claimed is
        // written, and they claim no more. They have all been here, under the lock. The threads
        // that dropped values once they were read have ended doing so.
        unsafe { self.track.storage.free() };
    }

    /// Tells readers that they were overtaken for good.
    #[inline]
    pub(crate) fn overrun(&self, seats: Vec<usize>) {
        if !seats.is_empty() {
            self.tell_overrun(seats);
        }
    }

    #[cold]
    fn tell_overrun(&self, seats: Vec<usize>) {
        for seat in seats {
            let member = self.registry.lock().members[seat].upgrade();
            // Somebody else may sit there by now: what tells is the seat's word.
            if let Some(member) = member
                && self.track.seats.seat(seat).progress().is_orphan()
            {
                member.fail(SubscriptionError::Overflowed);
            }
        }
        self.wakeups.wake_readers();
    }

    /// Ends the ring there: no subscription lasts, what was published before can still be read.
    pub(crate) fn close(&self, end: u64) {
        let members = {
            let mut registry = self.registry.lock();
            if registry.closed {
                return;
            }
            registry.closed = true;
            self.track.set_end(end);
            registry.members.clone()
        };
        for member in members.iter().filter_map(Weak::upgrade) {
            member.end();
        }
        self.wakeups.wake_all();
        #[cfg(feature = "tracing")]
        crate::events::event!(debug, position = end, "ring closed");
    }

    /// How many places the readers leave for sends that need `wanted` at a time: 1 means the first
    /// of them.
    pub(crate) fn look_for_places(&self, wanted: u64) -> Look<'_> {
        let (track, next) = (&self.track, self.track.next());
        let Some(slowest) = track.seats.slowest() else {
            return Look::Places(u64::MAX);
        };
        let first = next + wanted - 1;
        match (slowest.position + track.shape().capacity()).saturating_sub(first) {
            0 => Look::Held(track.seats.seat(slowest.seat), slowest.seat),
            places => Look::Places(places),
        }
    }

    /// Where the readers are whose subscriptions have not ended.
    pub(crate) fn readers(&self) -> Vec<RingReaderStats> {
        let members = self.registry.lock().members.clone();
        members
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|member| member.look())
            .collect()
    }

    /// Whether this runs inside a handler of one of the ring's readers.
    pub(crate) fn is_read_on_this_thread(&self) -> bool {
        let is_elsewhere = |_, seat: &Seat| !seat.is_read_on_this_thread();
        let is_any_here = |which| self.track.seats.walk(which, 0, is_elsewhere).is_some();
        is_any_here(Which::Strict) || is_any_here(Which::Lossy)
    }

    /// Whether the ring has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.track.is_closed()
    }
}

impl<T: Send + Sync + 'static> Reap for Core<T> {
    fn reap_now(&self) {
        self.drop_passed();
    }
}

/// What the seat of such a reader says at first.
fn kind(overflow: RingOverflow) -> Progress {
    match overflow {
        RingOverflow::Block => Progress::strict(0),
        RingOverflow::DropOldest => Progress::lossy(0, false),
        RingOverflow::Disconnect => Progress::lossy(0, true),
    }
}
