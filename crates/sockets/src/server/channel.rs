//! A channel: a feed of frames, and its members.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfeed::Feed;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::awaits::Awaits;
use super::mailbox::{Frame, Subscriber};
use super::member::Member;
use crate::observe::{Gauge, Held};
use crate::wire::Timestamp;

/// A channel that has members, or has had some.
pub(super) struct Channel {
    pub(super) id: Arc<str>,
    pub(super) feed: Feed<Frame>,
    pub(super) expiry: Option<Expiry>,
    pub(super) awaits: Awaits,
    state: Mutex<State>,
    /// Set with the lock of `state` held, read without it.
    has_ended: AtomicBool,
}

#[derive(Default)]
struct State {
    members: HashMap<Arc<str>, Arc<Member>>,
    timer: Option<AbortHandle>,
    /// Counts the channel, from its first join until it has ended.
    counted: Option<Held>,
}

/// When a channel expires.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    pub(super) at: Instant,
    pub(super) time: Timestamp,
}

impl Expiry {
    /// After this time from now. `None` if that is beyond what the clocks can count.
    pub(super) fn after(lifetime: Duration) -> Option<Self> {
        let at = Instant::now().checked_add(lifetime)?;
        let time = std::time::SystemTime::now().checked_add(lifetime)?;
        Some(Self {
            at,
            time: Timestamp::from(time).whole_seconds(),
        })
    }
}

impl Channel {
    pub(super) fn new(id: Arc<str>, expiry: Option<Expiry>) -> Self {
        Self {
            id,
            feed: Feed::new(),
            expiry,
            awaits: Awaits::default(),
            state: Mutex::default(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Adds a member, whose mailbox already has its `join.success`.
    pub(super) fn add(&self, member: &Arc<Member>) {
        let subscription = self.feed.subscribe(Subscriber(Arc::clone(member)));
        *member.subscription.lock() = Some(subscription);
        let id = Arc::clone(member.connection.shared_id());
        self.state.lock().members.insert(id, Arc::clone(member));
    }

    /// Removes a member. Returns whether it was one, and whether it was the last.
    pub(super) fn remove(&self, id: &str) -> Option<Removed> {
        let mut state = self.state.lock();
        state.members.remove(id)?;
        Some(match state.members.is_empty() {
            true => Removed::Last,
            false => Removed::OneOfMany,
        })
    }

    /// Ends the channel, and returns its last members. The caller then
    /// [fails its questions](Awaits::clear) without any lock: that wakes the askers, by wakers of
    /// the application's.
    pub(super) fn end(&self) -> Vec<Arc<Member>> {
        let mut state = self.state.lock();
        self.has_ended.store(true, Ordering::Relaxed);
        let members = state.members.drain().map(|(_, member)| member).collect();
        let timer = state.timer.take();
        drop(state);
        if let Some(timer) = timer {
            timer.abort();
        }
        members
    }

    /// Counts the channel, unless it is counted or has ended.
    pub(super) fn count(&self, gauge: &Gauge) {
        // Made and dropped without the lock: a recorder of metrics is the application's code.
        let is_counted = self.state.lock().counted.is_some();
        if is_counted {
            return;
        }
        let mut held = Some(gauge.hold());
        let mut state = self.state.lock();
        if state.counted.is_none() && !self.has_ended.load(Ordering::Relaxed) {
            state.counted = held.take();
        }
        drop(state);
    }

    /// Counts the channel no longer.
    pub(super) fn uncount(&self) {
        // Dropped after the lock.
        let _held = self.state.lock().counted.take();
    }

    pub(super) fn set_timer(&self, timer: AbortHandle) {
        let mut state = self.state.lock();
        if self.has_ended.load(Ordering::Relaxed) {
            timer.abort();
        } else {
            state.timer = Some(timer);
        }
    }

    /// Calls `ask` unless the channel has ended. It does not end meanwhile.
    pub(super) fn unless_ended<R>(&self, ask: impl FnOnce(&Awaits) -> R) -> Option<R> {
        let _state = self.state.lock();
        (!self.has_ended.load(Ordering::Relaxed)).then(|| ask(&self.awaits))
    }

    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.state.lock().members.values().cloned().collect()
    }
}

/// Which member was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// The channel has no members now.
    Last,
    /// The channel has other members.
    OneOfMany,
}
