//! The driver in memory: messages stay in this process.

mod table;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use fanfeed::Receiver;

use crate::broker::Broker;
use crate::capabilities::{Capabilities, Delivery, WithoutMember};
use crate::clock;
use crate::dispatch::{
    Arrival, Given, Hub, Lane, LaneOptions, Log, Member, Offer, Owner, PoolOptions, Rare,
    in_handler, is_handled_here,
};
use crate::driver::EngineOptions;
use crate::error::{CloseError, FlushError, PublishError, SubscribeError};
use crate::event::{Event, Logger};
use crate::key::{self};
use crate::message::Message;
use crate::observe;
use crate::options::Start;
use crate::publisher::{Begun, Publisher};
use crate::receipt::Receipt;
use crate::stats::{BrokerStats, Connection, Health};
use crate::subscriber::{Subscribe, Subscriber};
use crate::subscription::BrokerSubscription;
use table::{Route, Table};

const CAPABILITIES: Capabilities = Capabilities::new("memory")
    .plain(Delivery::AtMostOnce)
    .group(Delivery::AtMostOnce, WithoutMember::Dropped)
    .blocking()
    .local();

/// The broker in memory. `memory:` is its URL.
///
/// `publish` puts a message into the buffer of each subscription of its key, and of one member of
/// each group, before it returns. (A `publish` that waits for room has put it there already, beyond
/// the capacity.) A handler that fails is called again
/// ([`attempts`](crate::SubscribeOptions::attempts)). Apart from that, messages are delivered at
/// most once.
///
/// - A full buffer drops the message and counts it, or makes the publisher wait
///   ([`Overflow`](crate::Overflow)). A slow subscription does not delay the others, which are
///   served first.
/// - The members of a group share one buffer, so a member that leaves hands on all messages that it
///   has not begun. When the last member leaves, the messages in the buffer are dropped and
///   counted.
/// - Keys without subscriptions take no memory.
/// - Plain subscriptions that keep up share the messages of their key. While a handler blocks, the
///   messages that it has not handled stay in memory, and also at most 63 handled messages (64 KiB
///   and one message).
///
/// A handle is cheap to clone. Dropping the last handle ends the broker without waiting.
/// [`close`](Broker::close) drains it.
///
/// # From a `Broadcaster`
///
/// | there | here |
/// |---|---|
/// | `publish({channel, name, payload})` | `publish(Message::new(channel, payload).name(name))` |
/// | `subscribe(channel, handler)` → `cancel()` | [`subscribe`](crate::SubscriberExt::subscribe) → [`cancel()`](BrokerSubscription::cancel) |
/// | `message.channel`, `.name`, `.payload` | [`channel()`](Message::channel), [`event_name()`](Message::event_name), [`payload()`](Message::payload) |
/// | buffer 256 | the default of [`buffer`](crate::SubscribeOptions::buffer) |
/// | `dropped()` | [`BrokerSubscription::dropped`]; for all subscriptions, [`BrokerStats::dropped`] |
/// | logger callback | [`MemoryOptions::logger`] |
/// | `close()`, then `Closed` | [`close(deadline)`](Broker::close), then [`PublishError::Closed`] and [`SubscribeError::Closed`] |
#[derive(Clone)]
pub struct MemoryBroker {
    handle: Arc<Handle>,
}

/// Ends the broker when it is dropped.
struct Handle {
    core: Arc<Core>,
}

struct Core {
    hub: Arc<Hub>,
    table: Table,
    largest_message: usize,
}

/// The options of a [`MemoryBroker`].
///
/// ```
/// use fanfeed_broker::MemoryOptions;
///
/// let broker = MemoryOptions::new()
///     .logger(|event| eprintln!("{event}"))
///     .build();
/// ```
#[derive(Clone, Default)]
pub struct MemoryOptions {
    pool: PoolOptions,
    largest_message: Option<usize>,
    logger: Option<Logger>,
}

impl MemoryOptions {
    /// The defaults: see [`PoolOptions::new`], messages of any size, no logger.
    pub fn new() -> Self {
        Self::default()
    }

    /// The threads that call the handlers.
    #[must_use]
    pub fn pool(mut self, pool: PoolOptions) -> Self {
        self.pool = pool;
        self
    }

    /// The largest message in bytes: key, name, headers and payload.
    #[must_use]
    pub fn largest_message(mut self, bytes: usize) -> Self {
        self.largest_message = Some(bytes);
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

    /// Makes the broker.
    pub fn build(self) -> MemoryBroker {
        let hub = Hub::new(CAPABILITIES.driver, self.pool, None);
        hub.counters.meters.set_connected(true);
        if let Some(logger) = self.logger {
            hub.log(logger);
        }
        let core = Arc::new(Core {
            hub,
            table: Table::new(),
            largest_message: self.largest_message.unwrap_or(usize::MAX),
        });
        MemoryBroker {
            handle: Arc::new(Handle { core }),
        }
    }
}

/// Takes the options that apply in memory: the pool and the logger.
impl From<EngineOptions> for MemoryOptions {
    fn from(options: EngineOptions) -> Self {
        Self {
            pool: options.pool,
            largest_message: None,
            logger: options.logger,
        }
    }
}

impl fmt::Debug for MemoryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOptions")
            .field("pool", &self.pool)
            .field("largest_message", &self.largest_message)
            .finish_non_exhaustive()
    }
}

impl MemoryBroker {
    /// A broker with the default options.
    pub fn new() -> Self {
        MemoryOptions::new().build()
    }

    /// Returns the number of keys that have subscriptions.
    pub fn key_count(&self) -> usize {
        self.core().table.keys()
    }

    fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

const NO_OLD_MESSAGES: &str = "memory has no old messages: start with `New`";

/// How long a publish waits for room in one of several full buffers before it tries the next one:
/// the first wait and the longest wait.
const FIRST_TURN: Duration = Duration::from_micros(100);
const LONGEST_TURN: Duration = Duration::from_millis(5);

/// How long a publish may wait for room.
#[derive(Clone, Copy)]
enum Patience {
    None,
    Until(Option<Instant>),
}

impl Core {
    fn publish(&self, message: Message, patience: Patience) -> Result<(), PublishError> {
        // A publisher without a time limit gives its message to full followers, and then waits. A
        // handler may be the only thread that can make room, so it must not do that.
        let may_wait = || matches!(patience, Patience::Until(None)) && !in_handler();
        let Some(rare) = self.begin(message, may_wait)? else {
            return Ok(());
        };
        let Rare {
            message,
            full,
            over,
            ..
        } = *rare;
        let result = match full.is_empty() {
            true => Ok(()),
            false => self.wait_for_room(full, &message, patience),
        };
        over.iter().for_each(|lane| lane.wait_for_room());
        if self.hub.refuses_publish() {
            return Err(PublishError::Closed(message));
        }
        result
    }

    /// Puts the message in the lanes that have room, and returns the lanes that have none.
    #[inline]
    fn begin(
        &self,
        message: Message,
        may_wait: impl Fn() -> bool,
    ) -> Result<Option<Box<Rare>>, PublishError> {
        message.key().check()?;
        if message.size() > self.largest_message {
            return Err(PublishError::TooLarge {
                size: message.size(),
                limit: self.largest_message,
            });
        }
        if self.hub.refuses_publish() {
            return Err(PublishError::Closed(message));
        }
        self.hub.counters.published();
        let mut given = Given::default();
        let unrouted = self.table.with(message, |route, message| {
            route.log().give(message, &may_wait, &mut given)
        });
        self.hub.pool.submit_all(std::mem::take(&mut given.jobs));
        let rare = given.conclude();
        if given.reached == 0 && rare.is_none() {
            // `close` may just have ended the subscriptions. That differs from a key without
            // subscriptions.
            if self.hub.refuses_publish()
                && let Some(message) = unrouted
            {
                return Err(PublishError::Closed(message));
            }
            self.hub.counters.unrouted();
        }
        Ok(rare)
    }

    fn begin_publish(self: &Arc<Self>, message: Message) -> Begun {
        let Rare { message, full, .. } = match self.begin(message, || false) {
            Ok(Some(rare)) => *rare,
            Ok(None) => return Begun::Done(Ok(())),
            Err(error) => return Begun::Done(Err(error)),
        };
        let count = full.len();
        let others = full.into_iter().filter(|(lane, _)| !is_handled_here(lane));
        let mut full: Vec<_> = others.collect();
        let is_own = full.len() < count;
        let core = Arc::clone(self);
        Begun::Later(Box::pin(poll_fn(move |cx| {
            let mut still_full = Vec::new();
            for (lane, arrival) in full.drain(..) {
                if let Offer::Full(arrival) = lane.poll_offer(arrival, cx.waker()) {
                    still_full.push((lane, arrival));
                }
            }
            full = still_full;
            if !full.is_empty() {
                return Poll::Pending;
            }
            Poll::Ready(if core.hub.refuses_publish() {
                Err(PublishError::Closed(message.clone()))
            } else if is_own {
                Err(PublishError::Full(message.clone()))
            } else {
                Ok(())
            })
        })))
    }

    #[cold]
    fn wait_for_room(
        &self,
        full: Vec<(Arc<Lane>, Arrival)>,
        message: &Message,
        patience: Patience,
    ) -> Result<(), PublishError> {
        let Patience::Until(deadline) = patience else {
            return Err(PublishError::Full(message.clone()));
        };
        let count = full.len();
        // Waits for the full subscriptions in turn, so that a subscription with new room does not
        // wait for one that is still full. After the deadline, each subscription that has room by
        // then still gets the message.
        let mut late = false;
        let others = full.into_iter().filter(|(lane, _)| !is_handled_here(lane));
        let mut full: VecDeque<_> = others.collect();
        let is_own = full.len() < count;
        let mut turn = FIRST_TURN;
        while let Some((lane, arrival)) = full.pop_front() {
            let now = Instant::now();
            let until = match deadline {
                Some(deadline) if full.is_empty() => Some(deadline),
                Some(deadline) => Some(deadline.min(now + turn)),
                None if full.is_empty() => None,
                None => Some(now + turn),
            };
            match lane.offer_until(arrival, until) {
                Offer::Full(_) if deadline.is_some_and(|deadline| deadline <= now) => late = true,
                Offer::Full(arrival) => {
                    full.push_back((lane, arrival));
                    turn = (turn * 2).min(LONGEST_TURN);
                }
                Offer::Taken | Offer::Dropped(..) | Offer::Gone(_) => turn = FIRST_TURN,
            }
        }
        if self.hub.refuses_publish() {
            return Err(PublishError::Closed(message.clone()));
        }
        match (is_own, late) {
            (true, _) => Err(PublishError::Full(message.clone())),
            (false, true) => Err(PublishError::Timeout(message.clone())),
            (false, false) => Ok(()),
        }
    }

    fn subscribe(
        self: &Arc<Self>,
        request: Subscribe,
    ) -> Result<BrokerSubscription, SubscribeError> {
        request.key.check()?;
        if let Some(group) = &request.group {
            key::check_group(group)?;
        }
        request.options.check()?;
        if matches!(request.options.start, Start::After(_)) {
            return Err(SubscribeError::Unsupported(NO_OLD_MESSAGES.into()));
        }
        if self.hub.is_closing() {
            return Err(SubscribeError::Closed);
        }
        let Subscribe {
            key,
            group,
            options,
            handler,
        } = request;
        let make = |log: &Arc<Log>| {
            let lane = LaneOptions {
                key: key.clone(),
                group: group.clone(),
                capacity: options.buffer,
                overflow: options.overflow,
                settles: false,
                log: Some(Arc::clone(log)),
                follows: group.is_none() && options.concurrency == 1,
            };
            Lane::new(
                lane,
                Arc::clone(&self.hub),
                Arc::clone(self) as Arc<dyn Owner>,
            )
        };
        let member = self.table.edit(&key, |route: &Route| {
            if let Some(group) = &group
                && let Some(lane) = route.group(group)
            {
                let member = Member::new(&lane, Arc::clone(&handler), &options);
                if lane.join(&member, options.buffer) {
                    return member;
                }
            }
            let lane = make(route.log());
            let member = Member::new(&lane, Arc::clone(&handler), &options);
            lane.join(&member, options.buffer);
            route.add(&lane);
            member
        });
        drop(handler);
        let subscription = BrokerSubscription::new(member);
        // A concurrent `close` may have looked for subscriptions before this one was added.
        if self.hub.is_closing() {
            // This does not wait for the handler, which may already run and may need a lock that
            // the caller holds.
            subscription.cancel_soon();
            subscription.detach();
            return Err(SubscribeError::Closed);
        }
        Ok(subscription)
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.table.lanes()
    }

    fn close(&self, deadline: Instant) -> Result<(), CloseError> {
        self.hub.begin_draining();
        if !in_handler() {
            self.hub
                .drain(deadline, || self.lanes().iter().all(|lane| lane.is_idle()));
        }
        self.hub.end_draining();
        let mut running = 0;
        for member in self.lanes().iter().flat_map(|lane| lane.members()) {
            running += member.running();
            member.end_with(None, false);
        }
        self.hub.wait_members(deadline);
        self.hub.end();
        self.hub.log_out(deadline);
        match (self.hub.take_left_over(), running) {
            (0, 0) => Ok(()),
            (inbound, running) => Err(CloseError::Undelivered {
                outbound: 0,
                inbound,
                running,
            }),
        }
    }
}

impl Owner for Core {
    fn left(&self, lane: &Arc<Lane>, last: bool) {
        if last {
            self.table.remove(lane);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.hub.end_draining();
        for member in self.core.lanes().iter().flat_map(|lane| lane.members()) {
            member.end_with(None, false);
        }
        self.core.hub.end();
    }
}

impl Publisher for MemoryBroker {
    fn try_publish(&self, message: Message) -> Result<(), PublishError> {
        let (message, _span) = observe::publishing(CAPABILITIES.driver, message);
        self.core().publish(message, Patience::None)
    }

    fn publish(&self, message: Message) -> Result<(), PublishError> {
        let (message, _span) = observe::publishing(CAPABILITIES.driver, message);
        self.core().publish(message, Patience::Until(None))
    }

    fn publish_timeout(&self, message: Message, timeout: Duration) -> Result<(), PublishError> {
        let (message, _span) = observe::publishing(CAPABILITIES.driver, message);
        // A time limit that the clock cannot represent is treated as no limit.
        let deadline = Instant::now().checked_add(timeout);
        self.core().publish(message, Patience::Until(deadline))
    }

    fn publish_confirmed(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<Receipt, PublishError> {
        let id = message.id().clone();
        self.publish_timeout(message, timeout)?;
        Ok(Receipt::new(id, None))
    }

    fn begin_publish(&self, message: Message) -> Begun {
        let (message, _span) = observe::publishing(CAPABILITIES.driver, message);
        self.core().begin_publish(message)
    }

    fn flush(&self, _timeout: Duration) -> Result<(), FlushError> {
        match self.is_closed() {
            true => Err(FlushError::Closed),
            false => Ok(()),
        }
    }
}

impl Subscriber for MemoryBroker {
    fn subscribe_with(&self, request: Subscribe) -> Result<BrokerSubscription, SubscribeError> {
        self.core().subscribe(request)
    }
}

impl Broker for MemoryBroker {
    fn driver(&self) -> &'static str {
        CAPABILITIES.driver
    }

    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn events(&self) -> Receiver<Event> {
        self.core().hub.events()
    }

    fn events_with(&self, capacity: usize) -> Receiver<Event> {
        self.core().hub.events_with(capacity)
    }

    fn stats(&self) -> BrokerStats {
        let mut stats = self.core().hub.counters.read();
        stats.confirmed = stats.published;
        stats
    }

    fn health(&self) -> Health {
        let lanes = self.core().lanes();
        let health = Health {
            connection: match self.is_closed() {
                true => Connection::Closed,
                false => Connection::Up,
            },
            outbound_fault: None,
            inbound_fault: None,
            outbound: 0,
            pending: lanes.iter().map(|lane| lane.queued()).sum(),
            threads: self.core().hub.pool.threads(),
            subscriptions: lanes.iter().map(|lane| lane.members().len()).sum(),
        };
        let meters = &self.core().hub.counters.meters;
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

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker")
            .field("keys", &self.key_count())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
