//! Listeners that run in one process of a group, through the broker only.

use std::sync::{Arc, Weak};

use fanfeed_broker::{BrokerSubscription, Subscribe, SubscribeOptions};

use crate::core::{Entry, Place, Source};
use crate::error::BusError;
use crate::remote::outlet::{Outlet, end_soon, not_subscribed};

/// A listener that is a member of a group.
pub(crate) struct Group {
    source: Arc<Source>,
    /// `None` while the broker subscribes, and once the bus is being closed.
    subscription: Option<BrokerSubscription>,
}

impl Group {
    pub(crate) fn is_of(&self, name: &str) -> bool {
        matches!(&self.source.place, Place::Name(own) if **own == *name)
    }
}

impl Outlet {
    /// Makes a listener a member of a group.
    pub(crate) fn listen_group(&self, group: Arc<str>, entry: Arc<Entry>) -> Result<(), BusError> {
        let source = Arc::clone(&entry.source);
        let Place::Name(name) = source.place.clone() else {
            let reason = "a group listens to the events of one name";
            return Err(BusError::NotSubscribed(reason.into()));
        };
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        let key = self.key(&name);
        let (weak, of) = (Weak::clone(&self.shared), Arc::clone(&group));
        let handler = move |message: &fanfeed_broker::Message, _: &fanfeed_broker::Context| {
            let Some(shared) = weak.upgrade() else {
                return Err(fanfeed_broker::HandlerError::failed(BusError::Closed));
            };
            match shared.outlet() {
                Some(outlet) => outlet.arrive_at(&shared, &name, &of, &entry, message),
                None => Ok(()),
            }
        };
        let options = SubscribeOptions::new().buffer(self.buffer).name("bus");
        let request = Subscribe::new(key, handler).group(group).options(options);
        // Before the broker subscribes: the listener may be called, and end, before that returns.
        self.groups.lock().push(Group {
            source: Arc::clone(&source),
            subscription: None,
        });
        let subscribed = self.broker.subscribe_with(request).map_err(not_subscribed);
        let subscribed = subscribed.map(|subscription| {
            let mut groups = self.groups.lock();
            let mut each = groups.iter_mut();
            match each.find(|group| Arc::ptr_eq(&group.source, &source)) {
                Some(group) => {
                    group.subscription = Some(subscription);
                    None
                }
                // It has ended meanwhile.
                None => Some(subscription),
            }
        });
        // After it was noted: the closing thread has set this, and looks for groups afterwards.
        let is_closed = self.is_closed();
        if (is_closed || subscribed.is_err()) && source.begin_end() {
            source.complete_end();
        }
        self.reap();
        end_soon(subscribed?);
        match is_closed {
            true => Err(BusError::Closed),
            false => Ok(()),
        }
    }

    /// Ends the subscriptions of members whose listeners have ended.
    pub(crate) fn reap(&self) {
        let ended = {
            let mut groups = self.groups.lock();
            let each = std::mem::take(&mut *groups).into_iter();
            let (ended, rest) = each.partition::<Vec<_>, _>(|group| group.source.is_ended());
            *groups = rest;
            ended
        };
        let each = ended.into_iter();
        end_soon(each.filter_map(|group| group.subscription));
    }

    /// Ends the subscriptions of all members. Their listeners last until they have returned.
    pub(crate) fn close_groups(&self) {
        let ended: Vec<_> = {
            let mut groups = self.groups.lock();
            let each = groups.iter_mut();
            each.filter_map(|group| group.subscription.take()).collect()
        };
        end_soon(ended);
    }

    /// The members of groups of this name.
    pub(crate) fn group_sources(&self, name: &str) -> Vec<Arc<Source>> {
        let groups = self.groups.lock();
        let each = groups.iter().filter(|group| group.is_of(name));
        each.map(|group| Arc::clone(&group.source)).collect()
    }

    /// Ends the listeners of all groups, without waiting for those that run.
    pub(crate) fn end_groups(&self) {
        let groups = std::mem::take(&mut *self.groups.lock());
        for group in &groups {
            if group.source.begin_end() {
                group.source.complete_end();
            }
            group.source.end_unfinished();
        }
        end_soon(groups.into_iter().filter_map(|group| group.subscription));
    }
}
