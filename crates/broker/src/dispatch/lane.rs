//! A bounded queue of deliveries, with the members that share it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::dispatch::batch::Batch;
use crate::dispatch::lane_state::{Inner, Seat, Told};
use crate::dispatch::log::Log;
use crate::dispatch::segment::Run;
use crate::dispatch::{Arrival, Hub, Job, Member, quietly};
use crate::driver::Verdict;
use crate::event::Event;
use crate::key::Key;
use crate::options::Overflow;
use crate::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mutant,
};

/// The owner of a lane: the memory broker, or the engine of a driver.
pub(crate) trait Owner: Send + Sync {
    /// Called when a handler is done with a delivery that has a tag.
    fn settle(&self, lane: &Arc<Lane>, tag: u64, verdict: Verdict) {
        let _ = (lane, tag, verdict);
    }

    /// Called when a member has left. `last` says whether it was the last one. In that case the
    /// lane takes no more deliveries or members.
    fn left(&self, lane: &Arc<Lane>, last: bool);

    /// Called when there is room again in a lane that was full.
    fn has_room(&self, lane: &Arc<Lane>) {
        let _ = lane;
    }
}

/// The options of a lane.
pub(crate) struct LaneOptions {
    pub(crate) key: Key,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    /// Whether a server waits for the outcome of each delivery.
    pub(crate) settles: bool,
    /// The log of its key, if messages come from a log, and whether the lane may follow it.
    pub(crate) log: Option<Arc<Log>>,
    pub(crate) follows: bool,
}

pub(crate) struct Lane {
    key: Key,
    group: Option<Arc<str>>,
    pub(super) overflow: Overflow,
    settles: bool,
    hub: Arc<Hub>,
    owner: Arc<dyn Owner>,
    pub(super) inner: Mutex<Inner>,
    /// Whether there may be deliveries in the queue. Written under the lock. Jobs that look for new
    /// deliveries read it without the lock, so that they do not delay a sender that holds the lock.
    pub(super) queued: AtomicBool,
    /// Publishers wait here for room.
    pub(super) room: Condvar,
    pub(super) log: Option<Arc<Log>>,
    pub(super) follows: bool,
    /// The places where the log, or the owner, keeps the lane; and the place among the idle
    /// followers.
    place: AtomicUsize,
    pub(super) idle_place: AtomicUsize,
}

/// The place of a lane that is in no list.
pub(super) const NOWHERE: usize = usize::MAX;

/// The result of offering a delivery to a lane.
pub(crate) enum Offer {
    Taken,
    /// The lane was full, and the delivery was dropped and counted. This many have been dropped in
    /// total.
    Dropped(Arrival, u64),
    /// The lane is full, and publishers wait for room.
    Full(Arrival),
    /// There is no member.
    Gone(Arrival),
}

/// The most deliveries that a job takes at once.
const BATCH: usize = 64;
/// An idle lane keeps memory for this many deliveries.
pub(super) const KEPT: usize = 16;

impl Lane {
    pub(crate) fn new(options: LaneOptions, hub: Arc<Hub>, owner: Arc<dyn Owner>) -> Arc<Self> {
        Arc::new(Self {
            key: options.key,
            group: options.group,
            overflow: options.overflow,
            settles: options.settles,
            hub,
            owner,
            inner: Mutex::new(Inner::new(options.capacity)),
            queued: AtomicBool::new(false),
            room: Condvar::new(),
            log: options.log,
            follows: options.follows,
            place: AtomicUsize::new(NOWHERE),
            idle_place: AtomicUsize::new(NOWHERE),
        })
    }

    // ORDERING: written and read under the lock of the log, or a lock of the owner.
    pub(crate) fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }

    pub(crate) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The end of its log.
    pub(super) fn end(&self) -> u64 {
        self.log.as_ref().map_or(0, |log| log.end())
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn group(&self) -> Option<&Arc<str>> {
        self.group.as_ref()
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }

    pub(crate) fn queued(&self) -> usize {
        self.inner.lock().pending(self.end())
    }

    pub(crate) fn has_queued(&self) -> bool {
        // ORDERING: a hint. A job that reads an old value looks again under the lock before it
        // gives up its place.
        self.queued.load(Ordering::Relaxed)
    }

    /// Whether no delivery waits, and no handler runs or is about to run.
    pub(crate) fn is_idle(&self) -> bool {
        let members = {
            let inner = self.inner.lock();
            if inner.pending(self.end()) > 0 || inner.seats.iter().any(|seat| seat.jobs > 0) {
                return false;
            }
            inner.members()
        };
        // A job gives up its place before its thread has left the member.
        members.iter().all(|member| member.running() == 0)
    }

    /// How many deliveries fit now.
    pub(crate) fn free(&self) -> usize {
        let mut inner = self.inner.lock();
        if inner.closed || self.hub.is_closing() {
            return 0;
        }
        let free = inner.capacity.saturating_sub(inner.pending(self.end()));
        inner.was_full |= free == 0;
        free
    }

    /// Puts a delivery in the queue if there is room.
    pub(crate) fn offer(self: &Arc<Self>, arrival: Arrival) -> Offer {
        let mut jobs = Vec::new();
        let offer = match self.log.as_ref().filter(|_| self.follows) {
            Some(log) => log.offer(self, arrival, &mut jobs),
            None => self.offer_with(arrival, &mut jobs),
        };
        if let Offer::Dropped(_, total) = &offer {
            self.report_dropped(1, *total);
        }
        self.hub.pool.submit_all(jobs);
        offer
    }

    /// As [`offer`](Self::offer), for a delivery from a server. While the broker closes, handlers
    /// finish the deliveries that they have, and there is no room for more.
    pub(crate) fn offer_arrived(self: &Arc<Self>, arrival: Arrival) -> Offer {
        let mut jobs = Vec::new();
        let inner = self.inner.lock();
        // Under the lock: `close` looks at the queue after it has announced itself. So it finds
        // this delivery there, or is seen here.
        if self.hub.is_closing() {
            return Offer::Full(arrival);
        }
        let offer = self.put(inner, arrival, &mut jobs);
        if let Offer::Dropped(_, total) = &offer {
            self.report_dropped(1, *total);
        }
        self.hub.pool.submit_all(jobs);
        offer
    }

    /// Puts a delivery in the queue if there is room. The caller has to submit the job that this
    /// may make, and to report a drop.
    #[inline]
    pub(crate) fn offer_with(self: &Arc<Self>, arrival: Arrival, jobs: &mut Vec<Job>) -> Offer {
        self.put(self.inner.lock(), arrival, jobs)
    }

    #[inline]
    fn put(
        self: &Arc<Self>,
        mut inner: MutexGuard<'_, Inner>,
        arrival: Arrival,
        jobs: &mut Vec<Job>,
    ) -> Offer {
        if inner.closed || inner.seats.is_empty() {
            return Offer::Gone(arrival);
        }
        if inner.is_full(self.end()) {
            if self.overflow == Overflow::Drop && !self.settles {
                inner.dropped += 1;
                return Offer::Dropped(arrival, inner.dropped);
            }
            inner.was_full = true;
            return Offer::Full(arrival);
        }
        if inner.queue.is_empty() {
            self.queued.store(true, Ordering::Relaxed);
        }
        inner.queue.push_back(arrival);
        inner.room = inner.room.saturating_sub(1);
        if let Some(member) = inner.next_free() {
            drop(inner);
            jobs.push(Job::new(Arc::clone(self), member));
        }
        Offer::Taken
    }

    /// Puts deliveries in the queue even if there is no room. The sender has checked for room
    /// before.
    pub(crate) fn offer_all(self: &Arc<Self>, arrivals: &mut VecDeque<Arrival>) {
        let mut inner = self.inner.lock();
        // While the broker closes, handlers finish the deliveries that they have and get no more.
        if inner.closed || inner.seats.is_empty() || self.hub.is_closing() {
            drop(inner);
            let count = arrivals.len();
            self.abandon(arrivals.drain(..), count);
            return;
        }
        inner.room = inner.room.saturating_sub(arrivals.len());
        if inner.queue.is_empty() {
            self.queued.store(true, Ordering::Relaxed);
            std::mem::swap(&mut inner.queue, arrivals);
        } else {
            inner.queue.append(arrivals);
        }
        self.recruit(inner);
    }

    /// Puts a delivery in the queue, and waits for room until the deadline.
    pub(crate) fn offer_until(
        self: &Arc<Self>,
        mut arrival: Arrival,
        deadline: Option<Instant>,
    ) -> Offer {
        loop {
            arrival = match self.offer(arrival) {
                Offer::Full(arrival) => arrival,
                other => return other,
            };
            let mut inner = self.inner.lock();
            if inner.closed || !inner.is_full(self.end()) {
                continue;
            }
            inner.waiting += 1;
            let timed_out = match deadline {
                Some(deadline) => self.room.wait_until(&mut inner, deadline).timed_out(),
                None => {
                    self.room.wait(&mut inner);
                    false
                }
            };
            inner.waiting -= 1;
            if timed_out && inner.is_full(self.end()) && !inner.closed {
                return Offer::Full(arrival);
            }
        }
    }

    /// Puts a delivery in the queue, or registers the task to be woken when there is room.
    pub(crate) fn poll_offer(self: &Arc<Self>, arrival: Arrival, waker: &Waker) -> Offer {
        let mut arrival = arrival;
        loop {
            arrival = match self.offer(arrival) {
                Offer::Full(arrival) => arrival,
                other => return other,
            };
            let mut inner = self.inner.lock();
            if !inner.closed && inner.is_full(self.end()) {
                if !inner.wakers.iter().any(|other| other.will_wake(waker)) {
                    inner.wakers.push(waker.clone());
                }
                return Offer::Full(arrival);
            }
        }
    }

    /// Takes deliveries into the empty batch of a job. If there are none, or the member has left,
    /// gives up the job's place and returns false.
    pub(crate) fn take(self: &Arc<Self>, member: &Arc<Member>, batch: &mut Batch) -> bool {
        loop {
            let mut garbage = Default::default();
            let mut inner = self.inner.lock();
            let taken = !member.is_cancelled() && {
                // These jobs take one delivery at a time. So no job keeps a delivery that another
                // job could begin, or that another member of the group could get when this member
                // leaves.
                let shared = self.group.is_some() || member.concurrency() > 1;
                let most = match shared {
                    true => 1,
                    false => (inner.capacity / 4).clamp(1, BATCH),
                };
                let taken;
                (taken, garbage) = inner.take(most, batch);
                taken
            };
            if taken {
                if inner.queue.is_empty() && self.has_queued() {
                    self.queued.store(false, Ordering::Relaxed);
                }
                // The job begins the first one at once.
                member.set_begun(batch.len() - 1);
                let told = inner.tell(|| self.end());
                drop(inner);
                self.tell(told);
            } else {
                drop(inner);
                quietly(|| batch.run = Run::default());
            }
            if garbage.iter().any(|garbage| !garbage.is_none()) {
                quietly(|| drop(garbage));
            }
            if taken {
                return true;
            }
            if self.rest(member) {
                self.hub.finished_something();
                return false;
            }
        }
    }

    /// Notifies publishers and the owner that there is room.
    pub(super) fn tell(self: &Arc<Self>, told: Told) {
        if told.waiting {
            self.room.notify_all();
        }
        wake(told.wakers);
        if told.was_full {
            self.owner.has_room(self);
        }
    }

    /// Puts the deliveries that a job has not begun back at the front. If `gone`, the job gives up
    /// its place. Otherwise it holds another delivery until it tries that again.
    pub(crate) fn hand_back(
        self: &Arc<Self>,
        member: &Arc<Member>,
        begun: Option<Arrival>,
        batch: &mut Batch,
        gone: bool,
    ) {
        let mut inner = self.inner.lock();
        member.set_begun(0);
        if gone {
            inner.give_up_place(member);
        } else {
            inner.parked += 1;
        }
        if inner.closed {
            drop(inner);
            let count = usize::from(begun.is_some()) + batch.len();
            let batch = std::mem::take(batch);
            let left = begun.into_iter().chain(batch.queue);
            self.abandon(left, count);
            self.hub.finished_something();
            return;
        }
        while let Some(arrival) = batch.pop_back() {
            inner.queue.push_front(arrival);
        }
        if let Some(arrival) = begun {
            inner.queue.push_front(arrival);
        }
        inner.room = 0;
        self.queued
            .store(!inner.queue.is_empty(), Ordering::Relaxed);
        self.recruit(inner);
        self.hub.finished_something();
    }

    /// Called when a job continues with the delivery that it held.
    pub(crate) fn resume(&self) {
        self.inner.lock().parked -= 1;
    }

    /// Counts a delivery that waits for its timer.
    pub(crate) fn delay(&self) {
        let mut inner = self.inner.lock();
        inner.delayed += 1;
        // It counted as begun when the room was computed.
        inner.room = 0;
    }

    /// Puts a delivery whose timer is due at the end of the queue.
    pub(crate) fn requeue(self: &Arc<Self>, arrival: Arrival) {
        let mut inner = self.inner.lock();
        inner.delayed = inner.delayed.saturating_sub(1);
        if inner.closed {
            drop(inner);
            self.abandon(std::iter::once(arrival), 1);
            return;
        }
        inner.queue.push_back(arrival);
        inner.room = 0;
        self.queued.store(true, Ordering::Relaxed);
        self.recruit(inner);
    }

    /// Creates the missing jobs: invariant 1.
    fn recruit(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>) {
        if mutant!("broker::no_recruits") {
            return;
        }
        let mut recruits = Vec::new();
        while recruits.len() < inner.queue.len() {
            match inner.next_free() {
                Some(member) => recruits.push(member),
                None => break,
            }
        }
        drop(inner);
        let jobs = recruits.into_iter();
        let jobs = jobs.map(|member| Job::new(Arc::clone(self), member));
        self.hub.pool.submit_all(jobs.collect());
    }

    /// Adds a member. False if the lane was closed, when its last member had left.
    pub(crate) fn join(self: &Arc<Self>, member: &Arc<Member>, capacity: usize) -> bool {
        let mut inner = self.inner.lock();
        if inner.closed {
            return false;
        }
        inner.seats.push(Seat {
            member: Arc::clone(member),
            jobs: 0,
        });
        inner.free += member.concurrency();
        inner.capacity = inner.capacity.max(capacity);
        self.recruit(inner);
        true
    }

    /// Removes a member. If it was the last one, closes the lane, abandons its queue, and returns
    /// true.
    pub(crate) fn leave(self: &Arc<Self>, member: &Arc<Member>) -> bool {
        let mut state = self.log.as_ref().map(|log| log.lock());
        let mut inner = self.inner.lock();
        let mut gone = 0;
        inner.seats.retain(|seat| {
            let stays = !Arc::ptr_eq(&seat.member, member);
            if !stays {
                gone += seat.member.concurrency() - seat.jobs;
            }
            stays
        });
        inner.free -= gone;
        let last = inner.seats.is_empty();
        let wakers = std::mem::take(&mut inner.wakers);
        let mut left = VecDeque::new();
        let mut begun_elsewhere = 0;
        let mut garbage = Default::default();
        if last {
            inner.closed = true;
            // The member was cancelled before, so its jobs begin no more deliveries.
            begun_elsewhere = member.not_begun() + inner.parked + inner.delayed;
            begun_elsewhere += inner.left_in_log(self.end());
            left = std::mem::take(&mut inner.queue);
            if let Some(state) = &mut state {
                garbage = state.remove(self, &mut inner);
            }
        }
        drop(inner);
        drop(state);
        self.room.notify_all();
        wake(wakers);
        // `close` does not count deliveries that were dropped because a user ended the
        // subscription.
        if self.hub.is_closing() {
            self.hub.left_over(begun_elsewhere + left.len());
        }
        let count = left.len();
        self.abandon(left.into_iter(), count);
        self.owner.left(self, last);
        self.hub.finished_something();
        // Last, so that no thread waits for it: a destructor may itself wait for other threads.
        quietly(|| drop(garbage));
        last
    }

    /// Gives up deliveries that no handler will get here. Notifies the server. Without a server,
    /// the deliveries of a group are dropped and counted.
    fn abandon(self: &Arc<Self>, arrivals: impl Iterator<Item = Arrival>, count: usize) {
        if count == 0 {
            return;
        }
        for arrival in arrivals {
            if self.settles {
                self.owner.settle(self, arrival.tag, Verdict::Abandoned);
            }
            quietly(|| drop(arrival));
        }
        if !self.settles && self.group.is_some() {
            let mut inner = self.inner.lock();
            inner.dropped += count as u64;
            let total = inner.dropped;
            drop(inner);
            self.report_dropped(count as u64, total);
        }
    }

    pub(super) fn report_dropped(&self, count: u64, total: u64) {
        self.hub.counters.dropped(count);
        self.hub.emit_dropped(count, total, |total| Event::Dropped {
            key: self.key.clone(),
            group: self.group.clone(),
            total,
        });
    }

    /// Reports the outcome of a delivery to the owner.
    #[inline]
    pub(crate) fn settle(self: &Arc<Self>, tag: u64, verdict: Verdict) {
        if self.settles {
            self.owner.settle(self, tag, verdict);
        }
    }

    pub(crate) fn settles(&self) -> bool {
        self.settles
    }

    /// Counts a delivery that a driver's `Sink` drops.
    pub(crate) fn count_drop(&self) {
        let total = {
            let mut inner = self.inner.lock();
            inner.dropped += 1;
            inner.dropped
        };
        self.report_dropped(1, total);
    }

    pub(crate) fn members(&self) -> Vec<Arc<Member>> {
        self.inner.lock().members()
    }
}

/// Wakes tasks. Wakers are user code and may panic.
pub(crate) fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        quietly(|| waker.wake());
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("key", &self.key)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
