//! A broker in memory whose server is told what to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfeed::{Feed, Overflow, Receiver};
use fanfeed_broker::{
    Broker, BrokerStats, BrokerSubscription, Capabilities, CloseError, Connection, Event,
    FlushError, Health, MemoryBroker, Message, PublishError, Publisher, Receipt, Subscribe,
    SubscribeError, Subscriber,
};
use parking_lot::{Condvar, Mutex};

use crate::support::PATIENCE;

#[derive(Default)]
pub(crate) struct Stub {
    inner: Mutex<Arc<MemoryBroker>>,
    events: Feed<Event>,
    /// Subscriptions whose keys begin with this have to wait.
    held: Mutex<Option<String>>,
    released: Condvar,
    waiting: AtomicUsize,
    is_down: AtomicBool,
    looks: AtomicUsize,
    /// How often a subscription was asked for.
    asked: AtomicUsize,
    /// The most subscriptions that there were at once.
    most: AtomicUsize,
    published: Mutex<Vec<Published>>,
}

/// A message that was published.
struct Published {
    id: String,
    key: String,
    payload: Bytes,
    at: Instant,
}

impl Stub {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn inner(&self) -> Arc<MemoryBroker> {
        Arc::clone(&self.inner.lock())
    }

    /// Lets subscriptions to keys that begin with `keys` wait.
    pub(crate) fn hold(&self, keys: &str) {
        *self.held.lock() = Some(keys.to_owned());
    }

    pub(crate) fn release(&self) {
        *self.held.lock() = None;
        self.released.notify_all();
    }

    /// How many subscriptions wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn emit(&self, event: Event) {
        self.events.send(event);
    }

    /// Messages of a key were lost.
    pub(crate) fn lose(&self, key: &str) {
        let (key, group, missed) = (key.into(), None, None);
        self.emit(Event::Gap { key, group, missed });
    }

    /// Loses the server, or finds it again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
        let reason = "told to".into();
        self.emit(match is_down {
            true => Event::Disconnected { reason },
            false => Event::Connected,
        });
    }

    /// Ends all subscriptions, and says nothing. Later ones are of another broker.
    pub(crate) fn end_all(&self) {
        let old = std::mem::take(&mut *self.inner.lock());
        old.close(PATIENCE).unwrap();
    }

    /// The keys of what the node published that published on this key first.
    pub(crate) fn keys_of_first_on(&self, key: &str) -> Vec<String> {
        let published = self.published.lock();
        let first = published.iter().find(|published| published.key == key);
        let first = first.expect("something was published on it");
        let (node, _) = first.id.split_once('.').expect("a node and a number");
        let of_node = published.iter().filter(|other| other.id.starts_with(node));
        of_node.map(|published| published.key.clone()).collect()
    }

    /// When heartbeats were published.
    pub(crate) fn beats(&self) -> Vec<Instant> {
        let published = self.published.lock();
        let is_beat = |published: &&Published| {
            let text = String::from_utf8_lossy(&published.payload);
            published.key == "sockets.presence" && text.contains("\"beat\"")
        };
        let beats = published.iter().filter(is_beat);
        beats.map(|published| published.at).collect()
    }

    /// How often a subscription was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The most subscriptions that there were at once.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// How often its health was asked for.
    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }
}

impl Publisher for Stub {
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        self.published.lock().push(Published {
            id: message.id().to_string(),
            key: message.channel().to_owned(),
            payload: message.payload().clone(),
            at: Instant::now(),
        });
        self.inner().try_publish(message)
    }

    fn publish(&self, message: Message) -> Result<(), PublishError> {
        self.inner().publish(message)
    }

    fn publish_timeout(&self, message: Message, timeout: Duration) -> Result<(), PublishError> {
        self.inner().publish_timeout(message, timeout)
    }

    fn publish_confirmed(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Receipt, PublishError> {
        self.inner().publish_confirmed(message, timeout)
    }

    fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        self.inner().flush(timeout)
    }
}

impl Subscriber for Stub {
    fn subscribe_with(&self, request: Subscribe) -> Result<BrokerSubscription, SubscribeError> {
        let key = format!("{request:?}");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut held = self.held.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.released.wait_while(&mut held, |held| {
            held.as_ref()
                .is_some_and(|held| key.contains(held.as_str()))
        });
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(held);
        let subscription = self.inner().subscribe_with(request)?;
        let now = self.inner().health().subscriptions;
        self.most.fetch_max(now, Ordering::SeqCst);
        Ok(subscription)
    }
}

impl Broker for Stub {
    fn driver(&self) -> &'static str {
        "stub"
    }

    fn capabilities(&self) -> &'static Capabilities {
        self.inner().capabilities()
    }

    fn events(&self) -> Receiver<Event> {
        let subscriber = self.events.subscriber().capacity(1024);
        subscriber.overflow(Overflow::DropOldest).channel().unwrap()
    }

    fn stats(&self) -> BrokerStats {
        self.inner().stats()
    }

    fn health(&self) -> Health {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let mut health = self.inner().health();
        if self.is_down.load(Ordering::SeqCst) {
            health.connection = Connection::Down;
        }
        health
    }

    fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        self.inner().close(deadline)
    }

    fn is_closed(&self) -> bool {
        self.inner().is_closed()
    }
}
