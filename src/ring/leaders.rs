//! The readers that another reader follows.
//!
//! A *follower* sees a value only when its *leaders* have passed it. It has a seat like any reader,
//! and the gate keeps its slots for it as for any reader. The only difference is how far it may
//! read: not to the tail, but to the lowest cursor of its leaders.
//!
//! **The invariant.** Every position before the one that [`passed`](Leaders::passed) returns was
//! published, and every leader that has not ended has read all of them. A strict reader's cursor
//! says the second. The first follows from it, because a reader reads only what was published,
//! except for the position where a leader began: in a shared ring that position may be claimed and
//! not published yet. So a cursor that is not beyond the position that the ring had when the
//! follower joined is not enough, and the follower also looks at the tail.
//!
//! A follower can name only readers that exist, so there are no cycles.
//!
//! # Waking
//!
//! Followers park in a separate list. A leader that has followers does what a sender does after it
//! has published: it stores its cursor, makes a light fence, and wakes that list if any reader is
//! drowsy ([`Wakeups::passed`](super::wakeups::Wakeups::passed)). Other readers do not check. A
//! leader is marked as such before a follower can park, and the follower's heavy fence comes
//! between the mark and its last look at the leader's cursor.
//!
//! A follower waits for a sender instead ([`waits_for`](Leaders::waits_for)) if its leaders are
//! ahead of the tail, and once no leader is left. Then it parks among the readers that senders
//! wake.
//!
//! # Leaders that end
//!
//! A leader ends when it is dropped or unsubscribed. Its followers go on behind the leaders that
//! are left, or behind the tail. The values that a drain under way is reading count as passed when
//! the drain returns. The leader's seat may be another reader's by then, so a follower checks
//! whether the leader is gone after it has loaded the cursor ([`Member::passed`]).

use std::sync::Arc;

use crate::sync::mutant;

use super::member::Member;
use super::track::Track;
use super::wakeups::WaitsFor;

/// The leaders of one follower. There is at least one.
pub(crate) struct Leaders<T> {
    members: Vec<Arc<Member<T>>>,
    /// A leader reached any cursor beyond this position by reading, so every position before such a
    /// cursor was published.
    sure_beyond: u64,
    /// What the follower waits for if the last look found nothing to read.
    waits_for: WaitsFor,
}

impl<T> Leaders<T> {
    /// Returns `None` if `members` is empty.
    pub(crate) fn new(members: Vec<Arc<Member<T>>>, track: &Track<T>) -> Option<Box<Self>> {
        if members.is_empty() {
            return None;
        }
        for member in &members {
            member.gain_follower();
        }
        Some(Box::new(Self {
            members,
            sure_beyond: track.next(),
            waits_for: WaitsFor::Sender,
        }))
    }

    pub(crate) fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    /// The position up to which all leaders have passed the published values. The follower knows
    /// that every position before `known` was published. Returns `None` if no leader is left.
    pub(crate) fn passed(&mut self, track: &Track<T>, known: u64) -> Option<u64> {
        let mut limit = u64::MAX;
        self.members.retain(|member| {
            let passed = member.passed();
            match passed {
                Some(position) => limit = limit.min(position),
                None => member.lose_follower(),
            }
            passed.is_some()
        });
        if self.members.is_empty() {
            return None;
        }
        self.waits_for = WaitsFor::Leaders;
        if limit <= self.sure_beyond && !mutant!("leader_is_trusted_where_it_began") {
            let published = track.published(known);
            if published < limit {
                limit = published;
                if !mutant!("follower_waits_for_leaders_alone") {
                    self.waits_for = WaitsFor::Sender;
                }
            }
        }
        Some(limit)
    }
}

impl<T> Drop for Leaders<T> {
    fn drop(&mut self) {
        for member in &self.members {
            member.lose_follower();
        }
    }
}
