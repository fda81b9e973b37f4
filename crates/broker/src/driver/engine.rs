//! The engine: the broker over a transport, shared by all drivers with a server.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use fanfeed::Receiver;

use super::connection::Connections;
use super::inbound::{InboundCommands, Opened};
use super::outbound::OutboundQueue;
use super::sink::Sink;
use super::transport::{Transport, Verdict};
use crate::broker::Broker;
use crate::capabilities::{Capabilities, Delivery};
use crate::clock;
use crate::dispatch::{Hub, Lane, LaneOptions, Member, Owner, PoolOptions, Spent, in_handler};
use crate::error::{CloseError, ConnectError, FlushError, PublishError, SubscribeError};
use crate::event::{Event, Logger};
use crate::key;
use crate::message::Message;
use crate::observe;
use crate::options::{Overflow, Start};
use crate::publisher::{Begun, Publisher};
use crate::receipt::Receipt;
use crate::stats::{BrokerStats, Connection, Health};
use crate::subscriber::{Subscribe, Subscriber};
use crate::subscription::BrokerSubscription;
use crate::sync::thread;

/// The broker over a [`Transport`]: what [`Driver::connect`](crate::Driver::connect) returns. A
/// cheap handle. Dropping the last handle ends the broker without waiting.
#[derive(Clone)]
pub struct Engine {
    handle: Arc<Handle>,
}

/// Ends the broker when it is dropped.
struct Handle {
    core: Arc<Core>,
}

struct Core {
    this: Weak<Core>,
    transport: Arc<dyn Transport>,
    options: EngineOptions,
    hub: Arc<Hub>,
    connections: Connections,
    outbound: OutboundQueue,
    inbound: InboundCommands,
}

/// The options of a broker. All apply to drivers with a server, and some to the memory driver.
///
/// [`Drivers::connect_with`](crate::Drivers::connect_with) takes them next to the URL.
#[derive(Clone)]
pub struct EngineOptions {
    pub(super) lazy: bool,
    pub(super) queue: usize,
    pub(super) batch: Option<usize>,
    pub(super) reconnect: Duration,
    pub(super) subscribe_timeout: Duration,
    pub(crate) pool: PoolOptions,
    pub(crate) logger: Option<Logger>,
}

impl EngineOptions {
    /// Not lazy, a queue of 8,192 messages, batches of 512 (by URL: of the driver's default), at
    /// most 5 s between attempts to connect, 10 s for the server to answer a subscription, the
    /// default pool, no logger.
    pub fn new() -> Self {
        Self {
            lazy: false,
            queue: 8192,
            batch: None,
            reconnect: Duration::from_secs(5),
            subscribe_timeout: Duration::from_secs(10),
            pool: PoolOptions::new(),
            logger: None,
        }
    }

    /// With `true`, an unreachable server at the start is not an error.
    #[must_use]
    pub fn lazy(mut self, lazy: bool) -> Self {
        self.lazy = lazy;
        self
    }

    /// The most messages that may wait for the server, including those that were sent but not
    /// confirmed. At least 1.
    #[must_use]
    pub fn queue(mut self, messages: usize) -> Self {
        self.queue = messages.max(1);
        self
    }

    /// The most messages in a batch, at least 1. A batch also ends before its payloads exceed 16
    /// MiB.
    #[must_use]
    pub fn batch(mut self, messages: usize) -> Self {
        self.batch = Some(messages.max(1));
        self
    }

    /// For drivers: the most messages in a batch unless the caller sets a number, at least 1.
    #[must_use]
    pub fn default_batch(mut self, messages: usize) -> Self {
        self.batch.get_or_insert(messages.max(1));
        self
    }

    pub(super) fn batch_size(&self) -> usize {
        self.batch.unwrap_or(512)
    }

    /// The longest wait between attempts to connect. The first wait is a tenth of it, and the waits
    /// double ([`Backoff`](fanfeed::Backoff)).
    #[must_use]
    pub fn reconnect(mut self, longest: Duration) -> Self {
        self.reconnect = longest;
        self
    }

    /// How long `subscribe` waits for the server's answer.
    #[must_use]
    pub fn subscribe_timeout(mut self, timeout: Duration) -> Self {
        self.subscribe_timeout = timeout;
        self
    }

    /// The threads that call the handlers.
    #[must_use]
    pub fn pool(mut self, pool: PoolOptions) -> Self {
        self.pool = pool;
        self
    }

    /// Sets a callback that gets each event, in order, on a thread of its own. While the callback
    /// is busy, up to 8,192 events wait. If there are more, the callback misses the oldest ones,
    /// and then gets their number ([`Event::EventsMissed`](crate::Event::EventsMissed)).
    /// [`close`](Broker::close) waits for it at most a second beyond the deadline.
    #[must_use]
    pub fn logger(mut self, logger: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.logger = Some(Arc::new(logger));
        self
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineOptions")
            .field("lazy", &self.lazy)
            .field("queue", &self.queue)
            .field("batch", &self.batch_size())
            .field("reconnect", &self.reconnect)
            .field("subscribe_timeout", &self.subscribe_timeout)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the two threads of a broker, and waits until both sides of the connection are open,
    /// unless it is lazy. The driver's own timeouts bound the wait.
    ///
    /// # Errors
    ///
    /// The error of the side that failed first. A lazy engine returns an error only if the system
    /// cannot start a thread.
    pub fn start(transport: impl Transport, options: EngineOptions) -> Result<Self, ConnectError> {
        let hub = Hub::new(
            transport.capabilities().driver,
            options.pool,
            Some(Spent::default()),
        );
        if let Some(logger) = &options.logger {
            hub.log(Arc::clone(logger));
        }
        let core = Arc::new_cyclic(|this| Core {
            this: Weak::clone(this),
            transport: Arc::new(transport),
            outbound: OutboundQueue::new(options.queue),
            inbound: InboundCommands::new(),
            connections: Connections::default(),
            hub,
            options,
        });
        // From here on, dropping the handle ends the started threads.
        let engine = Self {
            handle: Arc::new(Handle {
                core: Arc::clone(&core),
            }),
        };
        let (opened, outcomes) = bounded(2);
        for (name, run) in [("fanfeed-outbound", true), ("fanfeed-inbound", false)] {
            let (core, opened) = (Arc::clone(&core), opened.clone());
            let body = move || {
                let (transport, options) = (&*core.transport, &core.options);
                match run {
                    true => {
                        core.outbound
                            .run(transport, options, &core.hub, &core.connections, opened)
                    }
                    false => {
                        core.inbound
                            .run(transport, options, &core.hub, &core.connections, opened)
                    }
                }
            };
            let thread = thread::Builder::new().name(name.into());
            if let Err(error) = thread.spawn(body) {
                let text = format!("a thread cannot be started: {error}");
                return Err(ConnectError::Failed(text.into()));
            }
        }
        drop(opened);
        if !core.options.lazy {
            for outcome in outcomes {
                outcome?;
            }
        }
        Ok(engine)
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }
}

impl Core {
    fn check(&self, message: &Message) -> Result<(), PublishError> {
        message.key().check()?;
        let (size, limit) = (message.size(), self.transport.largest_message());
        match size > limit {
            true => Err(PublishError::TooLarge { size, limit }),
            false => Ok(()),
        }
    }

    fn publish(&self, message: Message, wait: Option<Option<Instant>>) -> Result<(), PublishError> {
        self.check(&message)?;
        if self.hub.refuses_publish() {
            return Err(PublishError::Closed(message));
        }
        self.outbound.push(message, wait, &self.hub)
    }

    fn check_request(&self, request: &Subscribe) -> Result<Delivery, SubscribeError> {
        request.key.check()?;
        if let Some(group) = &request.group {
            key::check_group(group)?;
        }
        request.options.check()?;
        let capabilities = self.transport.capabilities();
        let delivery = match request.group {
            Some(_) => capabilities.group,
            None => capabilities.plain,
        };
        let unsupported = |what: &str| {
            let text = format!("{} has no {what}", capabilities.driver);
            Err(SubscribeError::Unsupported(text.into()))
        };
        if delivery == Delivery::Unsupported {
            return unsupported(match request.group {
                Some(_) => "groups: subscribe without one",
                None => "plain subscriptions: subscribe as a member of a group",
            });
        }
        if request.options.overflow == Overflow::Block && !capabilities.blocking {
            return unsupported("way to make publishers wait: leave the overflow at `Drop`");
        }
        if matches!(request.options.start, Start::After(_)) && !capabilities.replay {
            return unsupported("old messages: start with `New`");
        }
        self.transport.accepts(request)?;
        Ok(delivery)
    }

    fn subscribe(&self, request: Subscribe) -> Result<BrokerSubscription, SubscribeError> {
        let delivery = self.check_request(&request)?;
        let (Some(this), false) = (self.this.upgrade(), self.hub.is_closing()) else {
            return Err(SubscribeError::Closed);
        };
        let Subscribe {
            key,
            group,
            options,
            handler,
        } = request;
        let lane = LaneOptions {
            key,
            group,
            capacity: options.buffer,
            overflow: options.overflow,
            settles: delivery == Delivery::AtLeastOnce,
            log: None,
            follows: false,
        };
        let lane = Lane::new(lane, Arc::clone(&self.hub), this);
        let member = Member::new(&lane, handler, &options);
        // The subscription is pending now.
        member.live();
        let sink = Sink::new(Arc::clone(&lane), Arc::clone(&member), options);
        lane.set_place(usize::try_from(sink.id()).unwrap_or(usize::MAX));
        lane.join(&member, sink.buffer());
        let subscription = BrokerSubscription::new(member);
        let was_up = self.connections.is_inbound_up();
        let (answer, answers) = bounded(1);
        // If no caller waits for the answer, a refusal is reported as an event.
        let answers = was_up.then_some(answers);
        if !self.inbound.open(sink, answer) {
            return Err(SubscribeError::Closed);
        }
        let Some(answers) = answers else {
            return Ok(subscription);
        };
        match answers.recv_timeout(self.options.subscribe_timeout) {
            Ok(Opened::Live | Opened::Pending) => Ok(subscription),
            Ok(Opened::Refused(reason)) => Err(SubscribeError::Refused(reason)),
            Err(error) if error.is_timeout() => {
                // The subscription may have become live in the meantime. Waiting for its handler
                // here could deadlock, because the handler may need a lock that the caller holds.
                subscription.cancel_soon();
                subscription.detach();
                Err(SubscribeError::Timeout(self.options.subscribe_timeout))
            }
            Err(_) => Err(SubscribeError::Closed),
        }
    }

    fn members(&self) -> Vec<Arc<Member>> {
        let sinks = self.inbound.sinks();
        sinks.iter().map(|sink| Arc::clone(sink.member())).collect()
    }

    fn close(&self, deadline: Instant) -> Result<(), CloseError> {
        self.hub.begin_draining();
        // Handlers finish first, so that the messages that they publish are still sent. Messages
        // that were published before are sent in the meantime.
        if !in_handler() {
            let idle = || {
                self.inbound
                    .sinks()
                    .iter()
                    .all(|sink| sink.lane().is_idle())
            };
            self.hub.drain(deadline, idle);
        }
        self.hub.end_draining();
        let outbound = self.outbound.close(deadline, &self.hub);
        let running = self.end_subscriptions();
        // A subscription that ended before, while its handler ran, also has an acknowledgement to
        // send.
        self.hub.wait_members(deadline);
        self.inbound.stop();
        // The last acknowledgements are sent by the deadline, or within a moment after it.
        let last = deadline.max(Instant::now() + LAST);
        self.inbound.wait_ended(last);
        self.outbound.wait_ended(last);
        self.hub.wait_members(deadline);
        self.hub.end();
        self.hub.log_out(deadline);
        match (outbound, self.hub.take_left_over(), running) {
            (0, 0, 0) => Ok(()),
            (outbound, inbound, running) => Err(CloseError::Undelivered {
                outbound,
                inbound,
                running,
            }),
        }
    }

    /// Ends all subscriptions, and returns how many handlers still run.
    fn end_subscriptions(&self) -> usize {
        let mut running = 0;
        for member in self.members() {
            running += member.running();
            member.end_with(None, false);
        }
        running
    }
}

/// How long `close` waits beyond its deadline for a driver to send what it holds back, such as
/// messages that it hands to other members.
const LAST: Duration = Duration::from_millis(500);

impl Owner for Core {
    fn settle(&self, lane: &Arc<Lane>, tag: u64, verdict: Verdict) {
        if lane.group().is_some() || self.transport.settles_plain() {
            self.inbound.settle(lane.place() as u64, tag, verdict);
        }
    }

    fn left(&self, lane: &Arc<Lane>, _last: bool) {
        self.inbound.close(lane.place() as u64);
    }

    fn has_room(&self, _lane: &Arc<Lane>) {
        self.inbound.wake();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.hub.end_draining();
        self.core.outbound.abort(&self.core.hub);
        self.core.end_subscriptions();
        self.core.inbound.stop();
        self.core.hub.end();
    }
}

impl Publisher for Engine {
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        let (message, _span) = observe::publishing(self.driver(), message);
        self.core().publish(message, None)
    }

    fn publish(&self, message: Message) -> Result<(), PublishError> {
        let (message, _span) = observe::publishing(self.driver(), message);
        self.core().publish(message, Some(None))
    }

    fn publish_timeout(&self, message: Message, timeout: Duration) -> Result<(), PublishError> {
        let (message, _span) = observe::publishing(self.driver(), message);
        // A time limit that the clock cannot represent is treated as no limit.
        let deadline = Instant::now().checked_add(timeout);
        self.core().publish(message, Some(deadline))
    }

    fn publish_confirmed(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Receipt, PublishError> {
        let (message, _span) = observe::publishing(self.driver(), message);
        self.core().check(&message)?;
        if self.core().hub.refuses_publish() {
            return Err(PublishError::Closed(message));
        }
        let core = self.core();
        core.outbound.confirmed(message, timeout, &core.hub)
    }

    fn begin_publish(&self, message: Message) -> Begun {
        let (message, _span) = observe::publishing(self.driver(), message);
        let core = self.core();
        let message = match core.publish(message, None) {
            Err(PublishError::Full(message)) => message,
            other => return Begun::Done(other),
        };
        let core = Arc::clone(core);
        let mut message = Some(message);
        Begun::Later(Box::pin(poll_fn(move |cx| {
            let Some(waiting) = message.take() else {
                return Poll::Pending;
            };
            match core.outbound.poll_push(waiting, cx.waker(), &core.hub) {
                Err(PublishError::Full(waiting)) => {
                    message = Some(waiting);
                    Poll::Pending
                }
                result => Poll::Ready(result),
            }
        })))
    }

    fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        self.core().outbound.flush(timeout)
    }
}

impl Subscriber for Engine {
    fn subscribe_with(&self, request: Subscribe) -> Result<BrokerSubscription, SubscribeError> {
        self.core().subscribe(request)
    }
}

impl Broker for Engine {
    fn driver(&self) -> &'static str {
        self.capabilities().driver
    }

    fn capabilities(&self) -> &'static Capabilities {
        self.core().transport.capabilities()
    }

    fn events(&self) -> Receiver<Event> {
        self.core().hub.events()
    }

    fn events_with(&self, capacity: usize) -> Receiver<Event> {
        self.core().hub.events_with(capacity)
    }

    fn stats(&self) -> BrokerStats {
        self.core().hub.counters.read()
    }

    fn health(&self) -> Health {
        let core = self.core();
        let [outbound_fault, inbound_fault] = core.connections.faults();
        let health = Health {
            outbound_fault,
            inbound_fault,
            connection: match (self.is_closed(), core.connections.are_up()) {
                (true, _) => Connection::Closed,
                (false, true) => Connection::Up,
                (false, false) => Connection::Down,
            },
            outbound: core.outbound.len(),
            pending: core
                .inbound
                .sinks()
                .iter()
                .map(|sink| sink.lane().queued())
                .sum(),
            threads: core.hub.pool.threads(),
            subscriptions: core.inbound.count(),
        };
        let meters = &core.hub.counters.meters;
        meters.set_waiting(health.pending, health.outbound);
        health
    }

    fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        self.core().close(clock::after(deadline))
    }

    fn is_closed(&self) -> bool {
        self.core().hub.is_closing()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("driver", &self.driver())
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
