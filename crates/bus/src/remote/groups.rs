//! Listeners that run in one process of a group, through the broker only.

use std::any::TypeId;
use std::sync::{Arc, Weak};
use std::time::Duration;

use fanfeed_broker::{BrokerSubscription, Start, Subscribe, SubscribeOptions};

use crate::core::{Entry, Place, Source};
use crate::error::BusError;
use crate::remote::outlet::{Outlet, end_soon};
use crate::sync::mutant;

/// How a listener is a member of a group: see
/// [`EventBus::listen_group`](crate::EventBus::listen_group).
///
/// ```
/// use std::sync::Arc;
/// use fanfeed_broker::MemoryBroker;
/// use fanfeed_bus::{Context, Event, EventBus, GroupOptions, Register};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced {
///     order: u64,
/// }
/// impl Event for OrderPlaced {
///     const NAME: &'static str = "order.placed";
/// }
///
/// let bus = EventBus::over(Arc::new(MemoryBroker::new()));
/// bus.register_type::<OrderPlaced>()?;
/// let billing = Register::event(|_: &OrderPlaced, _: &Context| Ok(()));
/// let options = GroupOptions::new().concurrency(4).attempts(3);
/// bus.register_with(billing.group_with("billing", options))?.detach();
/// # bus.close()?;
/// # Ok::<(), fanfeed_bus::BusError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "`Register::group_with` takes it"]
pub struct GroupOptions {
    concurrency: usize,
    attempts: u32,
    backoff: Duration,
    start: Start,
}

impl GroupOptions {
    /// One event at a time, ten attempts, waits of at most 5 s between them, events that are
    /// dispatched from now on.
    pub fn new() -> Self {
        Self {
            concurrency: 1,
            attempts: 10,
            backoff: Duration::from_secs(5),
            start: Start::New,
        }
    }

    /// Sets how many events this member handles at the same time, at least 1. If more than one,
    /// their order is lost.
    pub fn concurrency(mut self, events: usize) -> Self {
        self.concurrency = events;
        self
    }

    /// Sets how often a member gets an event that its listener fails to handle, before the group
    /// gives the event up. 0 means without limit. An event that another member or another process
    /// had before comes with a count of the server: the listener is then called twice at least,
    /// also if this is 1.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the longest wait between attempts. The first wait is a tenth of it, and the waits
    /// double.
    pub fn backoff(mut self, longest: Duration) -> Self {
        self.backoff = longest;
        self
    }

    /// Sets where a group begins that the server does not know yet: with events that are dispatched
    /// from now on, or with the oldest one that the server still has. In memory and over NATS core,
    /// which keep nothing, `Earliest` is `New`, and `After` is refused.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    fn subscribe(&self, buffer: usize) -> SubscribeOptions {
        SubscribeOptions::new()
            .buffer(buffer)
            .name("bus")
            .concurrency(self.concurrency)
            .attempts(self.attempts)
            .backoff(self.backoff)
            .start(self.start.clone())
    }
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// A listener that is a member of a group.
pub(crate) struct Group {
    source: Arc<Source>,
    typed: Option<TypeId>,
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
    pub(crate) fn listen_group(
        &self,
        group: Arc<str>,
        options: &GroupOptions,
        entry: Arc<Entry>,
    ) -> Result<(), BusError> {
        let (source, typed) = (Arc::clone(&entry.source), entry.typed);
        let Place::Name(name) = source.place.clone() else {
            let reason = "a group listens to the events of one name";
            return Err(BusError::NotSubscribed(reason.into()));
        };
        if self.is_closed() {
            return Err(BusError::Closed);
        }
        // It could read no event, and would give up what waits for the group.
        if !self.registry.is_registered(&name) {
            let reason = format!(
                "no type is registered under the name {name}; register it with `register_type` or `register_type_as` before the \
                 listener of the group"
            );
            return Err(BusError::NotSubscribed(reason.into()));
        }
        let key = self.key(&name);
        let (weak, of) = (Weak::clone(&self.shared), Arc::clone(&group));
        let handler = move |message: &fanfeed_broker::Message, _: &fanfeed_broker::Context| {
            let Some(shared) = weak.upgrade() else {
                return Err(fanfeed_broker::HandlerError::HandBack);
            };
            match shared.outlet() {
                Some(outlet) => outlet.arrive_at(&shared, &name, &of, &entry, message),
                None => Ok(()),
            }
        };
        let options = options.subscribe(self.buffer);
        let request = Subscribe::new(key, handler).group(group).options(options);
        // Before the broker subscribes: the listener may be called, and end, before that returns.
        self.groups.lock().push(Group {
            source: Arc::clone(&source),
            typed,
            subscription: None,
        });
        let subscribed = self.ask(request).map(|subscription| {
            let mut groups = self.groups.lock();
            let mut each = groups.iter_mut();
            match each.find(|group| Arc::ptr_eq(&group.source, &source)) {
                Some(group) => {
                    group.subscription = Some(subscription);
                    None
                }
                None if mutant!("bus::member_that_ended_stays") => {
                    subscription.detach();
                    None
                }
                // It has ended meanwhile.
                None => Some(subscription),
            }
        });
        // After it was noted: the closing thread has set this, and looks for groups afterwards.
        let is_closed = self.is_closed() && !mutant!("bus::member_joins_a_closed_bus");
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

    /// The members of this name that take events of this type.
    pub(crate) fn typed_sources(&self, name: &str, of: TypeId) -> Vec<Arc<Source>> {
        let groups = self.groups.lock();
        let each = groups.iter();
        each.filter(|group| group.is_of(name) && group.typed == Some(of))
            .map(|group| Arc::clone(&group.source))
            .collect()
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
