//! The readers that another reader follows.
//!
//! A *follower* sees a value only when its *leaders* have passed it. It has a seat like any reader,
//! and the gate keeps its slots for it as for any reader. All that differs is how far it may read:
//! not to the tail, but to the lowest cursor of its leaders.
//!
//! **The invariant.** What [`passed`](Leaders::passed) returns was published, and every leader that
//! has not ended has read all before it. The second is what a strict reader's cursor says. The
//! first follows from it, because a reader reads only what was published, but for the position
//! where a leader began: in a shared ring that may be claimed and not published yet. So a cursor
//! that is not beyond the position that the ring had when the follower joined is not enough, and
//! the tail counts too.
//!
//! Only readers that exist can be named, so no reader follows itself, by whatever way round.
//!
//! # Waking
//!
//! A follower parks in a list of its own. A leader that has followers does what a sender does after
//! it has published: it stores its cursor, makes a light fence, and wakes that list if any reader
//! is drowsy ([`Wakeups::passed`](super::wakeups::Wakeups::passed)). Other readers do not look: a
//! leader is marked as such before a follower can park, and the follower's heavy fence lies between
//! the mark and its last look at the leader's cursor.
//!
//! A follower waits for a sender instead ([`waits_for`](Leaders::waits_for)) where its leaders are
//! ahead of the tail, and once no leader is left. Then it parks among the readers that senders
//! wake.
//!
//! # Leaders that end
//!
//! A leader ends when it is dropped or unsubscribed. Its followers go on behind those that are
//! left, or behind the tail. The values that a drain under way has in hand count as passed when the
//! drain returns. The leader's seat may be another reader's by then, so a follower looks whether
//! the leader is gone after it has loaded the cursor ([`Member::passed`]).

use std::sync::Arc;

use crate::sync::mutant;

use super::member::Member;
use super::track::Track;
use super::wakeups::WaitsFor;

/// The leaders of one follower. There is at least one.
pub(crate) struct Leaders<T> {
    members: Vec<Arc<Member<T>>>,
    /// A cursor beyond this position was reached by reading, so all before it was published.
    sure_beyond: u64,
    /// What the follower waits for if the last look showed it nothing to read.
    waits_for: WaitsFor,
}

impl<T> Leaders<T> {
    /// `None` if there are none.
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

    /// Up to where all leaders have passed what was published. The follower knows that all before
    /// `known` was published. `None` if no leader is left.
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
