//! Tools that the cases share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::broker::Broker;
use crate::capabilities::{Capabilities, Delivery};
use crate::conformance::Server;
use crate::context::Context;
use crate::id::MessageId;
use crate::message::Message;
use crate::options::SubscribeOptions;
use crate::subscriber::{Subscribe, SubscriberExt};
use crate::subscription::BrokerSubscription;

/// The environment of a case.
pub(crate) struct Env<'a> {
    pub(crate) server: &'a dyn Server,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) capabilities: &'static Capabilities,
    /// Part of all keys and groups of this case, so that it does not meet other cases.
    mark: String,
}

impl<'a> Env<'a> {
    pub(crate) fn new(
        server: &'a dyn Server,
        broker: Arc<dyn Broker>,
        capabilities: &'static Capabilities,
    ) -> Self {
        Self {
            server,
            broker,
            capabilities,
            mark: MessageId::unique().to_string(),
        }
    }

    /// A key, or a group, that only this case uses.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{name}.{}", self.mark)
    }

    pub(crate) fn patience(&self) -> Duration {
        self.server.patience()
    }

    /// Subscribes a collector with a buffer that never overflows here.
    pub(crate) fn collect(&self, broker: &dyn Broker, key: &str, group: Option<&str>) -> Collector {
        let (sender, receiver) = unbounded();
        let handler = move |message: &Message, _: &Context| Ok(sender.send(message.clone())?);
        let mut request = Subscribe::new(key, handler).options(roomy());
        if let Some(group) = group {
            request = request.group(group);
        }
        let subscription = broker
            .subscribe_with(request)
            .expect("the subscription is made");
        subscription
            .ready(self.patience())
            .expect("the subscription is live");
        Collector {
            subscription,
            receiver,
            patience: self.patience(),
        }
    }

    /// Publishes a message, with the patience of the case.
    pub(crate) fn publish(&self, message: Message) {
        publish(&*self.broker, message, self.patience());
    }

    pub(crate) fn eventually(&self, what: &str, condition: impl FnMut() -> bool) {
        eventually(what, self.patience(), condition);
    }

    /// Subscribes a closure, and waits until it is live.
    pub(crate) fn subscribe(
        &self,
        key: &str,
        handler: impl Fn(&Message, &Context) -> crate::handler::Outcome + Send + Sync + 'static,
    ) -> BrokerSubscription {
        let subscription = self
            .broker
            .subscribe(key, handler)
            .expect("the subscription is made");
        subscription
            .ready(self.patience())
            .expect("the subscription is live");
        subscription
    }

    /// Whether a message may come twice.
    pub(crate) fn may_repeat(&self, group: bool) -> bool {
        let delivery = match group {
            true => self.capabilities.group,
            false => self.capabilities.plain,
        };
        delivery == Delivery::AtLeastOnce
    }
}

/// Waits until a message that is published in `send` arrives at the collector.
pub(crate) fn until_one_arrives(env: &Env<'_>, collector: &Collector, mut send: impl FnMut()) {
    env.eventually("messages arrive again", || {
        send();
        std::thread::sleep(Duration::from_millis(20));
        collector.try_next().is_some()
    });
}

/// Options with a buffer that never overflows in a case.
pub(crate) fn roomy() -> SubscribeOptions {
    SubscribeOptions::new().buffer(100_000)
}

pub(crate) fn publish(broker: &dyn Broker, message: Message, patience: Duration) {
    broker
        .publish_timeout(message, patience)
        .expect("the message is published");
}

pub(crate) fn eventually(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A message that contains its number.
pub(crate) fn numbered(key: &str, number: usize) -> Message {
    Message::new(key, number.to_string())
}

pub(crate) fn number(message: &Message) -> usize {
    let text = std::str::from_utf8(message.payload()).expect("the payload is text");
    text.parse().expect("the payload is a number")
}

/// A subscription that keeps the messages that it gets.
pub(crate) struct Collector {
    pub(crate) subscription: BrokerSubscription,
    receiver: Receiver<Message>,
    patience: Duration,
}

impl Collector {
    pub(crate) fn next(&self) -> Message {
        let next = self.receiver.recv_timeout(self.patience);
        next.unwrap_or_else(|_| panic!("no message came within {:?}", self.patience))
    }

    /// The numbers of the next messages.
    pub(crate) fn numbers(&self, count: usize) -> Vec<usize> {
        (0..count).map(|_| number(&self.next())).collect()
    }

    /// The number of a message that has arrived.
    pub(crate) fn try_next(&self) -> Option<usize> {
        self.receiver
            .try_recv()
            .ok()
            .map(|message| number(&message))
    }
}

/// A gate that handlers wait at until it is opened.
#[derive(Clone)]
pub(crate) struct Gate {
    sender: Arc<parking_lot::Mutex<Option<Sender<()>>>>,
    receiver: Receiver<()>,
    visitors: Arc<AtomicUsize>,
    late: Arc<AtomicBool>,
    patience: Duration,
}

impl Gate {
    pub(crate) fn new(patience: Duration) -> Self {
        let (sender, receiver) = unbounded();
        Self {
            sender: Arc::new(parking_lot::Mutex::new(Some(sender))),
            receiver,
            visitors: Arc::default(),
            late: Arc::default(),
            patience,
        }
    }

    /// Waits until the gate is open.
    pub(crate) fn pass(&self) {
        self.visitors.fetch_add(1, Ordering::SeqCst);
        let opened = self.receiver.recv_timeout(self.patience);
        if opened.is_err_and(|error| error.is_timeout()) {
            self.late.store(true, Ordering::SeqCst);
        }
    }

    pub(crate) fn visitors(&self) -> usize {
        self.visitors.load(Ordering::SeqCst)
    }

    /// Waits until a handler is at the gate.
    pub(crate) fn wait_for_visitor(&self) {
        eventually("a handler is called", self.patience, || self.visitors() > 0);
    }

    pub(crate) fn open(&self) {
        *self.sender.lock() = None;
        assert!(
            !self.late.load(Ordering::SeqCst),
            "a handler waited longer than the patience"
        );
    }
}
