//! The feeds of the types, and whether the mux was stopped.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::Event;
use super::since::Since;
use super::types::TypeSet;
use crate::carrier::Carrier;
use crate::feed::Feed;
use crate::subscription::{OneChannel, Subscription};
use crate::sync::{RwLock, mutant};

/// The feeds by type. The lock is held to look a feed up, and never while an event is delivered or
/// user code runs.
pub(super) struct Registry {
    feeds: RwLock<Feeds>,
}

#[derive(Default)]
struct Feeds {
    stopped: bool,
    /// A sorted map, because a mux has few types, and comparing a few numbers beats hashing one.
    by_type: BTreeMap<TypeId, Arc<Feed<Event>>>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            feeds: RwLock::new(Feeds::default()),
        }
    }

    /// The feed of a type, if the type has been subscribed to. `Err` once stopped.
    #[inline]
    pub(super) fn feed(&self, event_type: TypeId) -> Result<Option<Arc<Feed<Event>>>, Stopped> {
        let feeds = self.feeds.read();
        if feeds.stopped {
            return Err(Stopped);
        }
        Ok(feeds.by_type.get(&event_type).cloned())
    }

    /// The feeds of these types. Makes those that do not exist. `Err` once stopped.
    fn feeds_of(&self, types: &TypeSet) -> Result<Vec<Arc<Feed<Event>>>, Stopped> {
        // Dropped after the lock is released, because they may still hold carriers that have ended.
        let mut unused = Vec::new();
        let mut feeds = self.feeds.write();
        if feeds.stopped {
            return Err(Stopped);
        }
        // Feeds without subscribers are removed when new feeds are added. A feed that is held
        // elsewhere is about to be posted on, or subscribed to.
        if types.ids().any(|id| !feeds.by_type.contains_key(&id)) {
            feeds.by_type.retain(|_, feed| {
                let is_used = feed.subscriber_count() > 0 || Arc::strong_count(feed) > 1;
                if !is_used {
                    unused.push(Arc::clone(feed));
                }
                is_used
            });
        }
        Ok(types
            .ids()
            .map(|id| Arc::clone(feeds.by_type.entry(id).or_default()))
            .collect())
    }

    /// Subscribes a channel to these types. Once the mux is stopped, the subscription has ended
    /// already, and the carrier is dropped.
    pub(super) fn subscribe<C>(
        &self,
        types: &TypeSet,
        name: Option<Arc<str>>,
        carrier: C,
    ) -> Subscription
    where
        C: Carrier<Event> + Clone + 'static,
    {
        let Ok(feeds) = self.feeds_of(types) else {
            return Subscription::join_channel(name, [], Arc::default());
        };
        let channel = Arc::<OneChannel>::default();
        // If the mux is stopped meanwhile, a closed feed returns a subscription that has ended.
        let parts = feeds.iter().map(|feed| {
            let carrier = Since::new(carrier.clone(), Arc::clone(&channel));
            feed.subscribe(carrier)
        });
        Subscription::join_channel(name, parts, Arc::clone(&channel))
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.feeds.read().stopped
    }

    /// Admits no more subscriptions and posts, ends all subscriptions, and waits for deliveries
    /// under way.
    pub(super) fn stop(&self) {
        let feeds: Vec<_> = {
            let mut feeds = self.feeds.write();
            if mutant!("feeds_are_taken_before_the_mux_is_stopped") {
                let taken = feeds.by_type.values().cloned().collect();
                drop(feeds);
                self.feeds.write().stopped = true;
                taken
            } else {
                feeds.stopped = true;
                // They stay, so that a thread that stops the mux at the same time waits as well.
                feeds.by_type.values().cloned().collect()
            }
        };
        // All feeds are told to close before this waits for the first.
        for feed in &feeds {
            feed.close_soon();
        }
        for feed in &feeds {
            feed.close();
        }
    }

    /// The number of types that have feeds, and the number of their subscriptions.
    pub(super) fn counts(&self) -> (usize, usize) {
        let feeds = self.feeds.read();
        let subscriptions = feeds.by_type.values().map(|feed| feed.subscriber_count());
        (feeds.by_type.len(), subscriptions.sum())
    }
}

/// The mux was stopped.
#[derive(Debug)]
pub(super) struct Stopped;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_that_is_about_to_be_used_stays() {
        let registry = Registry::new();
        let feeds_of = |types| registry.feeds_of(&types).unwrap();
        let held = feeds_of(TypeSet::of::<(u8,)>());
        // A new type is added, and the other has no subscriber yet.
        let other = feeds_of(TypeSet::of::<(u16,)>());
        assert!(Arc::ptr_eq(&held[0], &feeds_of(TypeSet::of::<(u8,)>())[0]));
        assert_eq!(registry.counts(), (2, 0));
        drop((held, other));
        feeds_of(TypeSet::of::<(u32,)>());
        assert_eq!(registry.counts(), (1, 0));
    }
}
