//! The log of a key. It keeps each published message once, for all plain subscriptions that keep
//! up.
//!
//! A lane with one member that handles one message at a time *follows* the log: it has a cursor,
//! and its job reads the messages in place. A publish adds one message and starts a job for each
//! idle follower, so its cost does not grow with the number of busy followers.
//!
//! The other lanes are *apart*: each gets its own delivery in its own queue. These are groups,
//! subscriptions that handle several messages at a time, and followers whose buffer was full. The
//! unhandled messages of the latter were copied into their queue. Such a lane follows again when
//! its queue is empty.
//!
//! # Invariants
//!
//! 1. A lane is in `followers` or in `apart` from `add` until `remove`, and moves between them
//!    under this lock. A message is added, and offered to the lanes apart, under the same lock:
//!    each lane gets it once.
//! 2. A follower is in `idle` if it has no cursor; a lane apart is never there. An idle follower
//!    has handled, or has in its queue, everything before `end`. A job of a follower that finds no
//!    delivery gives up its place, and its lane becomes idle, in one step under this lock. So when
//!    a message is added, the lane either has a job that will look again, or is idle and gets a
//!    job.
//! 3. No follower is full while `end` is below `clear_until`. Their cursors are only read when
//!    `end` reaches it. A message that is put in the queue of a follower does not move `end`, so it
//!    decrements `clear_until`.
//!
//! The lock of a lane may be taken under this one, never the reverse.

use std::sync::Arc;

use crate::dispatch::lane::NOWHERE;
use crate::dispatch::lane_state::Inner;
use crate::dispatch::segment::{Garbage, Segment, Writer};
use crate::dispatch::{Arrival, Job, Lane, Offer, quietly};
use crate::message::Message;
use crate::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
    mutant,
};

pub(crate) struct Log {
    state: Mutex<State>,
    /// The number of messages that were added. Written under the lock.
    end: AtomicU64,
}

#[derive(Default)]
pub(super) struct State {
    writer: Writer,
    clear_until: u64,
    followers: Vec<Arc<Lane>>,
    idle: Vec<Arc<Lane>>,
    apart: Vec<Arc<Lane>>,
}

/// The result of adding a message.
#[derive(Default)]
pub(crate) struct Given {
    /// How many lanes got the message or dropped it.
    pub(crate) reached: usize,
    pub(crate) jobs: Vec<Job>,
    /// Lanes that dropped the message, the dropped delivery (whose destructor is user code), and
    /// how many deliveries each has dropped.
    dropped: Vec<(Arc<Lane>, Arrival, u64)>,
    /// The segment that the log has filled, if the message began a new one. Dropping the segment
    /// may drop messages.
    passed: Option<Arc<Segment>>,
    rare: Option<Box<Rare>>,
}

/// The part of the result that is about full lanes.
pub(crate) struct Rare {
    pub(crate) message: Message,
    /// Lanes apart that are full.
    pub(crate) full: Vec<(Arc<Lane>, Arrival)>,
    /// Followers that were full, and hold the message beyond their capacity. The publisher has to
    /// wait until they have room.
    pub(crate) over: Vec<Arc<Lane>>,
    garbage: Vec<Garbage>,
}

impl Given {
    #[cold]
    fn rare(&mut self, message: &Message) -> &mut Rare {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                message: message.clone(),
                full: Vec::new(),
                over: Vec::new(),
                garbage: Vec::new(),
            })
        })
    }

    /// Does the work that must not run under a lock, and returns the full lanes, if there are any.
    #[inline]
    pub(crate) fn conclude(&mut self) -> Option<Box<Rare>> {
        if !self.dropped.is_empty() {
            for (lane, arrival, total) in std::mem::take(&mut self.dropped) {
                lane.report_dropped(1, total);
                quietly(|| drop(arrival));
            }
        }
        if let Some(passed) = self.passed.take() {
            quietly(|| drop(passed));
        }
        let mut rare = self.rare.take()?;
        quietly(|| rare.garbage.clear());
        let is_full = !rare.full.is_empty() || !rare.over.is_empty();
        is_full.then_some(rare)
    }
}

impl Log {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            end: AtomicU64::new(0),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// How many messages were added.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        // ORDERING: pairs with the Release in `give`. Exact under the log's lock; under a lane's
        // lock it may be old.
        self.end.load(Ordering::Acquire)
    }

    /// Gives a message to all lanes, and returns it if there are none. With `may_wait`, a follower
    /// that is full and makes publishers wait gets it beyond its capacity.
    #[inline]
    pub(crate) fn give(
        &self,
        message: Message,
        may_wait: impl FnOnce() -> bool,
        given: &mut Given,
    ) -> Option<Message> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let end = self.end();
        if end >= state.clear_until && !state.followers.is_empty() {
            state.look_for_full(&message, end, may_wait(), given);
        }
        let mut message = Some(message);
        let clones =
            state.apart.len() - usize::from(state.followers.is_empty()).min(state.apart.len());
        for (n, lane) in state.apart.iter().enumerate() {
            let own = if n < clones {
                message.clone()
            } else {
                message.take()
            };
            let Some(own) = own else { continue };
            match lane.offer_with(Arrival::first(own), &mut given.jobs) {
                Offer::Taken => given.reached += 1,
                Offer::Dropped(arrival, total) => {
                    given.reached += 1;
                    given.dropped.push((Arc::clone(lane), arrival, total));
                }
                Offer::Full(arrival) => {
                    let rare = given.rare(&arrival.message);
                    rare.full.push((Arc::clone(lane), arrival));
                }
                Offer::Gone(arrival) => message = Some(arrival.message),
            }
        }
        if state.followers.is_empty() {
            return message;
        }
        given.reached += state.followers.len();
        let mut message = message?;
        // A key with one subscription and few messages needs no segment, and so touches fewer cache
        // lines.
        if let ([_], [lane]) = (&state.followers[..], &state.idle[..]) {
            match lane.take_directly(message, &mut given.jobs) {
                Some(back) => message = back,
                None => {
                    state.fill_queue();
                    return None;
                }
            }
        }
        // ORDERING: stored before the message is visible, so that a follower's position is never
        // beyond the end.
        self.end.store(end + 1, Ordering::Release);
        let (segment, at) = state.writer.append(message, &mut given.passed);
        for lane in state.idle.drain(..) {
            lane.set_idle_place(NOWHERE);
            lane.wake_at(segment, at, end, &mut given.jobs);
        }
        None
    }

    /// Offers a delivery to a lane that may follow the log.
    pub(super) fn offer(&self, lane: &Arc<Lane>, arrival: Arrival, jobs: &mut Vec<Job>) -> Offer {
        let mut state = self.state.lock();
        let offer = lane.offer_with(arrival, jobs);
        if let Offer::Taken = offer {
            state.fill_queue();
        }
        offer
    }

    /// Adds a lane.
    pub(crate) fn add(&self, lane: &Arc<Lane>) {
        let mut state = self.state.lock();
        if lane.can_follow() {
            let mut inner = lane.lock();
            state.follow(lane, &mut inner, self.end());
        } else {
            lane.set_place(state.apart.len());
            state.apart.push(Arc::clone(lane));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.followers.is_empty() && state.apart.is_empty()
    }

    pub(crate) fn for_each(&self, f: impl FnMut(&Arc<Lane>)) {
        let state = self.state.lock();
        state.followers.iter().chain(&state.apart).for_each(f);
    }
}

/// Removes a lane from a list, and updates the place of the lane that takes its position.
fn swap_remove(list: &mut Vec<Arc<Lane>>, at: usize) -> Arc<Lane> {
    let lane = list.swap_remove(at);
    if let Some(moved) = list.get(at) {
        moved.set_place(at);
    }
    lane
}

/// Removes a lane from the idle lanes, if it is among them.
fn leave_idle(idle: &mut Vec<Arc<Lane>>, lane: &Lane) {
    let at = lane.idle_place();
    if at == NOWHERE {
        return;
    }
    idle.swap_remove(at);
    if let Some(moved) = idle.get(at) {
        moved.set_idle_place(at);
    }
    lane.set_idle_place(NOWHERE);
}

impl State {
    /// Checks all followers. The publisher waits for a full follower, or the follower goes apart.
    #[cold]
    fn look_for_full(&mut self, message: &Message, end: u64, may_wait: bool, given: &mut Given) {
        let mut clear_until = u64::MAX;
        let followers = self.followers.len();
        let mut at = 0;
        while let Some(lane) = self.followers.get(at) {
            let mut inner = lane.lock();
            let room = inner.room_before(end);
            if room == 0 && !(may_wait && lane.blocks()) {
                // A follower that `offer` filled may be idle.
                if !mutant!("broker::apart_and_idle") {
                    leave_idle(&mut self.idle, lane);
                }
                given
                    .rare(message)
                    .garbage
                    .push(lane.go_apart(&mut inner, end));
                drop(inner);
                let lane = swap_remove(&mut self.followers, at);
                lane.set_place(self.apart.len());
                self.apart.push(lane);
                continue;
            }
            if room == 0 {
                given.rare(message).over.push(Arc::clone(lane));
            }
            clear_until = clear_until.min(end + room);
            drop(inner);
            at += 1;
        }
        self.clear_until = clear_until;
        if self.followers.len() < followers {
            given.rare(message).garbage.push(self.clear_if_idle());
        }
    }

    /// Called when a message that is not in the log was put in the queue of a follower: invariant
    /// 3.
    fn fill_queue(&mut self) {
        if !mutant!("broker::clear_for_too_long") {
            self.clear_until = self.clear_until.saturating_sub(1);
        }
    }

    /// Makes a lane a follower that has seen everything before `end`.
    fn follow(&mut self, lane: &Arc<Lane>, inner: &mut Inner, end: u64) {
        lane.set_place(self.followers.len());
        self.followers.push(Arc::clone(lane));
        self.clear_until = self.clear_until.min(end + inner.room_before(end));
        self.set_idle(lane);
        let garbage = inner.follow();
        debug_assert!(garbage.is_none(), "a lane apart has no cursor");
    }

    fn set_idle(&mut self, lane: &Arc<Lane>) {
        if lane.idle_place() == NOWHERE {
            lane.set_idle_place(self.idle.len());
            self.idle.push(Arc::clone(lane));
        }
    }

    /// Makes a lane without deliveries follow the log from its end. Returns the memory to drop.
    pub(super) fn rest(&mut self, lane: &Arc<Lane>, inner: &mut Inner, end: u64) -> [Garbage; 2] {
        let mut garbage = Garbage::None;
        if inner.is_follower() {
            garbage = inner.follow();
            self.set_idle(lane);
        } else {
            swap_remove(&mut self.apart, lane.place());
            self.follow(lane, inner, end);
        }
        [garbage, self.clear_if_idle()]
    }

    /// Removes a lane. Returns the memory to drop.
    pub(super) fn remove(&mut self, lane: &Arc<Lane>, inner: &mut Inner) -> [Garbage; 2] {
        leave_idle(&mut self.idle, lane);
        let list = match inner.is_follower() {
            true => &mut self.followers,
            false => &mut self.apart,
        };
        swap_remove(list, lane.place());
        [inner.follow(), self.clear_if_idle()]
    }

    /// Drops the messages of the log if all followers are idle.
    fn clear_if_idle(&mut self) -> Garbage {
        match self.idle.len() == self.followers.len() {
            true => self.writer.clear(),
            false => Garbage::None,
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Log")
            .field("followers", &state.followers.len())
            .field("apart", &state.apart.len())
            .finish_non_exhaustive()
    }
}
