//! A broker in memory in which a test can intervene.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfeed::{Feed, Overflow, Receiver};
use fanfeed_broker::{
    Broker, BrokerStats, BrokerSubscription, Capabilities, CloseError, Event, FlushError, Health,
    MemoryBroker, Message, PublishError, Publisher, Receipt, Subscribe, SubscribeError, Subscriber,
};

use crate::support::LONG;

type Hook = Box<dyn Fn(&MemoryBroker) + Send + Sync>;
type OnPublish = Arc<dyn Fn(&Message) + Send + Sync>;
type OnFlush = Arc<dyn Fn(Duration) -> Result<(), FlushError> + Send + Sync>;

pub(crate) struct Hooked {
    inner: Mutex<Arc<MemoryBroker>>,
    /// What the observers of the broker hear.
    pub(crate) events: Feed<Event>,
    published: Mutex<Vec<String>>,
    /// Called when a subscription is live, before the caller has it.
    subscribed: Hook,
    on_publish: Mutex<Option<OnPublish>>,
    on_flush: Mutex<Option<OnFlush>>,
}

impl Hooked {
    pub(crate) fn new(subscribed: impl Fn(&MemoryBroker) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            events: Feed::new(),
            published: Mutex::default(),
            subscribed: Box::new(subscribed),
            on_publish: Mutex::default(),
            on_flush: Mutex::default(),
        })
    }

    /// Sets what is called before a message is published.
    pub(crate) fn on_publish(&self, f: impl Fn(&Message) + Send + Sync + 'static) {
        *self.on_publish.lock().unwrap() = Some(Arc::new(f));
    }

    /// Sets what is called in place of `flush`.
    pub(crate) fn on_flush(
        &self,
        f: impl Fn(Duration) -> Result<(), FlushError> + Send + Sync + 'static,
    ) {
        *self.on_flush.lock().unwrap() = Some(Arc::new(f));
    }

    pub(crate) fn inner(&self) -> Arc<MemoryBroker> {
        Arc::clone(&self.inner.lock().unwrap())
    }

    /// Ends all subscriptions, as a server does that refuses them. Later ones are of another
    /// broker.
    pub(crate) fn refuse_all(&self) {
        let old = std::mem::take(&mut *self.inner.lock().unwrap());
        old.close(LONG).unwrap();
    }

    /// The keys that were published, in order.
    pub(crate) fn published(&self) -> Vec<String> {
        self.published.lock().unwrap().clone()
    }

    fn note(&self, message: &Message) {
        let key = message.key().to_string();
        self.published.lock().unwrap().push(key);
        let hook = self.on_publish.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook(message);
        }
    }
}

impl Publisher for Hooked {
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        self.note(&message);
        self.inner().try_publish(message)
    }

    fn publish(&self, message: Message) -> Result<(), PublishError> {
        self.note(&message);
        self.inner().publish(message)
    }

    fn publish_timeout(&self, message: Message, timeout: Duration) -> Result<(), PublishError> {
        self.note(&message);
        self.inner().publish_timeout(message, timeout)
    }

    fn publish_confirmed(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Receipt, PublishError> {
        self.note(&message);
        self.inner().publish_confirmed(message, timeout)
    }

    fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let hook = self.on_flush.lock().unwrap().clone();
        match hook {
            Some(hook) => hook(timeout),
            None => self.inner().flush(timeout),
        }
    }
}

impl Subscriber for Hooked {
    fn subscribe_with(&self, request: Subscribe) -> Result<BrokerSubscription, SubscribeError> {
        let inner = self.inner();
        let subscription = inner.subscribe_with(request)?;
        (self.subscribed)(&inner);
        Ok(subscription)
    }
}

impl Broker for Hooked {
    fn driver(&self) -> &'static str {
        "hooked"
    }

    fn capabilities(&self) -> &'static Capabilities {
        self.inner().capabilities()
    }

    fn events(&self) -> Receiver<Event> {
        self.events_with(1024)
    }

    fn events_with(&self, capacity: usize) -> Receiver<Event> {
        let receiver = self.events.subscriber().capacity(capacity);
        receiver.overflow(Overflow::DropOldest).channel().unwrap()
    }

    fn stats(&self) -> BrokerStats {
        self.inner().stats()
    }

    fn health(&self) -> Health {
        self.inner().health()
    }

    fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        self.inner().close(deadline)
    }

    fn is_closed(&self) -> bool {
        self.inner().is_closed()
    }
}
