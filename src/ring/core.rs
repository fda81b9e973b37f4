//! The state that all handles and readers of a ring share: the track, the wakeups and the readers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
#[cfg(feature = "tracing")]
use std::time::Instant;

use crate::error::SubscriptionError;
use crate::subscription::{Closed, FeedEnd};
use crate::sync::{AtomicUsize, Mutex, Ordering, mutant};
#[cfg(feature = "tracing")]
use crate::wait::Report;
use crate::wait::{EndedWait, Reap, may_reap, postpone};

use super::blocked_senders::Look;
use super::hold::HeldSend;
use super::member::Member;
use super::monitor::ReaderStats;
use super::overflow::Overflow;
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
    /// For those that wait for the end of the ring.
    end: FeedEnd,
}

/// Which reader has which seat. Used only under the lock.
struct Registry<T> {
    closed: bool,
    members: Vec<Weak<Member<T>>>,
    /// Seats that are free again, lowest first.
    free: BinaryHeap<Reverse<usize>>,
    lossy: usize,
    /// Whether senders claim positions, or may do so.
    has_senders: bool,
    /// Whether the slots have been freed.
    is_freed: bool,
}

/// How a reader joins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joining {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) overflow: Overflow,
    pub(crate) begin: Begin,
}

/// Where a reader begins, as near as possible.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// This many values before the next one.
    Back(u64),
    /// With this position.
    At(u64),
}

impl Default for Begin {
    fn default() -> Self {
        Self::Back(0)
    }
}

impl<T> Core<T> {
    pub(crate) fn new(shape: Shape, is_shared: bool, drop_when_read: bool) -> Arc<Self> {
        Self::of(Track::new(shape, is_shared, drop_when_read, 0))
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
            end: FeedEnd::default(),
        });
        // SAFETY: nothing moves the contents of an `Arc`, and no thread takes the core out of this
        // one.
        unsafe { core.wakeups.pin() };
        if core.track.retention.is_some() {
            // Makes senders check after each value whether any reader will read it, at no cost to
            // other rings.
            core.wakeups.grow_drowsy();
        }
        core
    }

    /// The core of a ring whose first position is `start`.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn starting_at(shape: Shape, is_shared: bool, start: u64) -> Arc<Self> {
        Self::of(Track::new(shape, is_shared, false, start))
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits for the end of the ring.
    pub(crate) fn closed(&self) -> Closed {
        self.end.closed(|| self.registry.lock().closed)
    }

    /// Counts the end of a subscription.
    pub(crate) fn count_end(&self) {
        self.count.fetch_sub(1, Ordering::Release);
    }

    /// Seats a new reader, and returns its subscription, its position, and its kind of seat. If the
    /// ring has ended, the subscription has ended too.
    pub(crate) fn join(self: &Arc<Self>, joining: Joining) -> (Arc<Member<T>>, u64, Progress) {
        let kind = kind(joining.overflow);
        let mut registry = self.registry.lock();
        if registry.closed {
            // No value was published from there on.
            let end = self.track.end();
            let member = Member::ended(Arc::clone(self), joining.name);
            return (member, end, Progress::strict(0));
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
        self.wakeups.senders.hold().forget(seat);
        let (position, has_moved_up) = self.sit_down(seat, kind, joining.begin);
        let place = self.track.seats.find(seat);
        let is_lossy = kind.is_lossy();
        let member = Arc::new(Member::new(Arc::clone(self), joining.name, place, is_lossy));
        registry.members[seat] = Arc::downgrade(&member);
        drop(registry);
        // A sender may already wait for the reader that had this seat before. Called outside the
        // lock, because wakers are user code.
        if has_moved_up && !mutant!("reader_moves_up_unnoticed") {
            self.wakeups.senders.moved(member.seat());
        }
        // Another thread may have taken this reader for one that is further back.
        self.drop_passed();
        (member, position, kind)
    }

    /// Registers a reader at the requested position, or as near to it as possible. Returns its
    /// position, and whether it had another position before.
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

    /// Inside a delivery or a callback, makes the outermost one drop the values that all readers
    /// have passed.
    pub(crate) fn postpone(self: &Arc<Self>)
    where
        T: Send + Sync + 'static,
    {
        if self.track.retention.is_some() && !may_reap() {
            postpone(Arc::clone(self) as Arc<dyn Reap>);
        }
    }

    /// Gives back a seat that its reader has left.
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

    /// Records that the ring is closed, and that no sender claims a position or has the gate, or
    /// ever will. Some senders may still write to positions that they claimed. These find that the
    /// count of drowsy readers is not 0, or have stamped the positions by now.
    pub(crate) fn nobody_claims(&self) {
        self.registry.lock().has_senders = false;
        self.free_if_over();
    }

    /// Called by a sender that has published values, and found that the count of drowsy readers is
    /// not 0. In a ring that drops values once they are read, that count is never 0. There, if no
    /// reader is before `position`, the sender drops the values that no reader will read.
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

    /// Frees the slots and their values once no thread will touch them any more: senders have
    /// written what they claimed before the ring was closed, and the last reader is gone. Other
    /// handles may remain.
    fn free_if_over(&self) {
        {
            let mut registry = self.registry.lock();
            let has_readers = registry.members.len() != registry.free.len();
            if registry.has_senders || has_readers || registry.is_freed {
                return;
            }
            // A sender that stamps later calls this later.
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
        // SAFETY: no reader is left, and none joins a closed ring. Senders have written what they
        // claimed, and claim no more. They have all been here, under the lock. The threads that
        // dropped values once they were read have stopped doing so.
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
            // Another reader may have the seat by now, so the seat's word decides.
            if let Some(member) = member
                && self.track.seats.seat(seat).progress().is_orphan()
            {
                member.fail(SubscriptionError::Overflowed);
            }
        }
        self.wakeups.wake_readers();
    }

    /// Ends the ring at `end`: all subscriptions end, and readers can still read what was published
    /// before.
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
        self.end.announce();
        #[cfg(feature = "tracing")]
        crate::events::event!(debug, position = end, "ring closed");
    }

    /// How many places the readers leave for sends that need `wanted` places each. `Places(1)`
    /// means the first of these sends.
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

    /// How far the slowest blocking reader is behind.
    pub(crate) fn depth(&self) -> Option<usize> {
        let slowest = self.track.seats.slowest();
        let behind = slowest.map_or(0, |slowest| {
            self.track.next().saturating_sub(slowest.position)
        });
        usize::try_from(behind).ok()
    }

    /// The positions of the readers whose subscriptions have not ended.
    pub(crate) fn readers(&self) -> Vec<ReaderStats> {
        let members = self.registry.lock().members.clone();
        members
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|member| !member.has_ended())
            .filter_map(|member| member.look_at_seat())
            .collect()
    }

    /// The blocking reader that is furthest behind.
    pub(crate) fn slowest_reader(&self) -> Option<ReaderStats> {
        let slowest = self.track.seats.slowest()?;
        // It may be in the way although its subscription has ended: in the middle of a read.
        self.member(slowest.seat)?.look_at_seat()
    }

    /// Called when a sender no longer waits for a reader.
    pub(crate) fn is_not_held(&self, send: &mut HeldSend) {
        #[cfg(feature = "tracing")]
        let seat = send.seat();
        let EndedWait {
            #[cfg(feature = "tracing")]
            report,
        } = self.wakeups.senders.hold().end(send);
        #[cfg(feature = "tracing")]
        if let Some(report) = report {
            self.report_held(seat, report, "was");
        }
    }

    /// Reports that a reader blocks a sender, if a report is due. Returns when to look again.
    #[cfg(feature = "tracing")]
    pub(crate) fn report(&self, send: &mut HeldSend) -> Option<Instant> {
        if let Some(report) = self.wakeups.senders.hold().look(send) {
            self.report_held(send.seat(), report, "is");
        }
        send.due()
    }

    /// Reports a send that `is` or `was` blocked by the reader in this seat.
    #[cfg(feature = "tracing")]
    fn report_held(&self, seat: Option<usize>, report: Report, is: &str) {
        let reader = seat.and_then(|seat| self.member(seat));
        crate::events::event!(
            warn,
            subscription = reader.as_ref().map(|reader| reader.id().get()),
            name = reader.as_ref().and_then(|reader| reader.name()).map(|name| &**name),
            blocked_for = ?report.blocked_for,
            suppressed = report.suppressed,
            "a send {is} blocked by a reader of a full ring"
        );
    }

    /// The reader in this seat.
    fn member(&self, seat: usize) -> Option<Arc<Member<T>>> {
        self.registry.lock().members.get(seat)?.upgrade()
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

/// The first word of the seat of a reader with this policy.
fn kind(overflow: Overflow) -> Progress {
    match overflow {
        Overflow::Block => Progress::strict(0),
        Overflow::DropOldest => Progress::lossy(0, false),
        Overflow::Disconnect => Progress::lossy(0, true),
    }
}
