//! The timers of the pool.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::dispatch::{Arrival, Job, Lane, Member};

/// The action of a timer.
pub(crate) enum Timed {
    /// A job continues.
    Job(Job),
    /// A delivery goes back to its lane.
    Requeue(Arc<Lane>, Arrival),
    /// The pool checks whether a member's handlers have overrun their timeout.
    Overrun(Arc<Member>),
}

impl Timed {
    pub(super) fn abandon(self) {
        match self {
            Self::Job(job) => job.abandon(),
            Self::Requeue(lane, arrival) => lane.requeue(arrival),
            Self::Overrun(_) => {}
        }
    }
}

/// Timers, by the time at which they are due. Timers of jobs are also found by their member. When a
/// subscription ends, all timers of its member are removed, at a cost that does not depend on the
/// number of other timers.
#[derive(Default)]
pub(super) struct Timers {
    /// The number of the last one.
    made: u64,
    /// May contain numbers of timers that were removed.
    order: BinaryHeap<Reverse<(Instant, u64)>>,
    set: HashMap<u64, Timed>,
    /// The address of a member, and the numbers of its jobs' timers.
    of_members: HashMap<usize, Vec<u64>>,
}

impl Timers {
    pub(super) fn set(&mut self, due: Instant, what: Timed) {
        self.made += 1;
        if let Timed::Job(job) = &what {
            let member = self.of_members.entry(job.member_address()).or_default();
            member.push(self.made);
        }
        self.order.push(Reverse((due, self.made)));
        self.set.insert(self.made, what);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Returns the time at which the next timer is due.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((due, number))) = self.order.peek() {
            if self.set.contains_key(number) {
                return Some(*due);
            }
            self.order.pop();
        }
        None
    }

    /// Removes a timer that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timed> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse((_, number)) = self.order.pop()?;
        let what = self.set.remove(&number)?;
        if let Timed::Job(job) = &what {
            let member = job.member_address();
            if let Some(numbers) = self.of_members.get_mut(&member) {
                numbers.retain(|other| *other != number);
                if numbers.is_empty() {
                    self.of_members.remove(&member);
                }
            }
        }
        Some(what)
    }

    /// Removes the jobs of a member.
    pub(super) fn take_jobs_of(&mut self, member: &Arc<Member>) -> Vec<Timed> {
        let numbers = self.of_members.remove(&(Arc::as_ptr(member).addr()));
        let numbers = numbers.unwrap_or_default();
        let taken = numbers.iter().filter_map(|number| self.set.remove(number));
        let taken = taken.collect();
        // Otherwise the numbers of removed timers that are due much later would accumulate.
        if self.order.len() > 2 * self.set.len() + 64 {
            self.order
                .retain(|Reverse((_, number))| self.set.contains_key(number));
        }
        taken
    }

    /// Removes all timers.
    pub(super) fn into_all(self) -> impl Iterator<Item = Timed> {
        self.set.into_values()
    }
}
