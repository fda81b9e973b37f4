//! A lane that follows the log of its key.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::dispatch::lane::KEPT;
use crate::dispatch::lane_state::Inner;
use crate::dispatch::segment::{Cursor, Garbage, Segment};
use crate::dispatch::{Arrival, Job, Lane, Member, quietly};
use crate::message::Message;
use crate::options::Overflow;
use crate::sync::{atomic::Ordering, mutant};

impl Lane {
    // ORDERING: written and read under the lock of the log.
    pub(super) fn set_idle_place(&self, place: usize) {
        self.idle_place.store(place, Ordering::Relaxed);
    }

    pub(super) fn idle_place(&self) -> usize {
        self.idle_place.load(Ordering::Relaxed)
    }

    /// Whether the lane may follow a log.
    pub(super) fn can_follow(&self) -> bool {
        self.follows
    }

    /// Whether publishers wait when the lane is full.
    pub(super) fn blocks(&self) -> bool {
        self.overflow == Overflow::Block
    }

    /// Called when a message was added to the log, at this place and with this number, while the
    /// lane is idle.
    #[inline]
    pub(super) fn wake_at(
        self: &Arc<Self>,
        segment: &Arc<Segment>,
        at: usize,
        position: u64,
        jobs: &mut Vec<Job>,
    ) {
        let mut inner = self.inner.lock();
        inner.read_from(Cursor::new(segment, at, position));
        if let Some(member) = inner.next_free() {
            drop(inner);
            jobs.push(Job::new(Arc::clone(self), member));
        }
    }

    /// Puts a message in the queue of an idle follower, or returns the message if the follower has
    /// a job.
    #[inline]
    pub(super) fn take_directly(
        self: &Arc<Self>,
        message: Message,
        jobs: &mut Vec<Job>,
    ) -> Option<Message> {
        let mut inner = self.inner.lock();
        let Some(member) = inner.next_free() else {
            return Some(message);
        };
        inner.queue.push_back(Arrival::first(message));
        self.queued.store(true, Ordering::Relaxed);
        drop(inner);
        jobs.push(Job::new(Arc::clone(self), member));
        None
    }

    /// Copies the messages that it has not taken from the log into its own queue. Returns the
    /// memory to drop.
    pub(super) fn go_apart(&self, inner: &mut Inner, end: u64) -> Garbage {
        let garbage = inner.go_apart(end);
        let queued = !inner.queue.is_empty();
        self.queued.store(queued, Ordering::Relaxed);
        garbage
    }

    /// Waits until a follower that was given a message beyond its capacity has room.
    pub(crate) fn wait_for_room(&self) {
        let mut inner = self.inner.lock();
        while !inner.closed && inner.pending(self.end()) > inner.capacity {
            inner.waiting += 1;
            self.room.wait(&mut inner);
            inner.waiting -= 1;
        }
    }

    /// Gives up the place of a job and returns true, unless there is a delivery to take.
    pub(super) fn rest(self: &Arc<Self>, member: &Arc<Member>) -> bool {
        let log = self.log.as_ref().filter(|_| self.follows);
        let early = mutant!("broker::end_read_early").then(|| self.end());
        let mut state = log.map(|log| log.lock());
        let mut inner = self.inner.lock();
        let end = early.unwrap_or_else(|| self.end());
        let goes = member.is_cancelled();
        if !goes && inner.has_waiting(end) {
            return false;
        }
        if mutant!("broker::place_given_up_late") {
            drop(inner);
            inner = self.inner.lock();
        }
        inner.give_up_place(member);
        if inner.queue.is_empty() && inner.queue.capacity() > KEPT {
            inner.queue = VecDeque::new();
        }
        let mut garbage = Default::default();
        if !goes
            && !inner.closed
            && let Some(state) = &mut state
        {
            garbage = state.rest(self, &mut inner, end);
        }
        let told = inner.tell(|| end);
        drop(inner);
        drop(state);
        self.tell(told);
        quietly(|| drop(garbage));
        true
    }
}
