//! The receiving side of JetStream.
//!
//! Every subscription reads the stream through a pull consumer. A plain subscription has a consumer
//! of its own, which lives as long as the connection and asks for no acknowledgement. This side
//! counts its messages, and if one is missing, makes another consumer from that position. The
//! members of a group share the durable consumer of the group.
//!
//! # Invariants
//!
//! 1. A subscription never requests more messages than its sink has room for. `asked` counts those
//!    on their way.
//! 2. A message of a group is `held` from its delivery until the engine's verdict, across
//!    connections. While it is held, this side tells the server after every third of `ack_wait`
//!    that it is being handled. If the message comes again, it is not delivered again.
//! 3. The `position` of a plain subscription is that of the last message that its sink took.
//! 4. A member gives messages back only when it has no open request ([`ending`]).

mod arriving;
mod asking;
mod claim;
mod ending;
mod opening;
mod settling;
mod unseen;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subject;
use fanfeed_broker::driver::{Inbound, LinkError, Sink, SinkError, Verdict};
use fanfeed_broker::{ConnectError, Message};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::link::{self, Link, Wire};
use crate::names::durable;
use crate::shared::Shared;
use crate::signs::subject_of;
use crate::stream;
use arriving::place;
use asking::REQUESTS;
use claim::Claim;
use ending::{Answer, Listener};
use settling::{Letter, Settlement};
use unseen::Unseen;

/// How many messages are taken before this side checks for other work.
const ARRIVALS: usize = 4096;

pub(crate) struct StreamInbound {
    link: Link,
    work: Work,
}

/// Everything except the connection.
struct Work {
    shared: Arc<Shared>,
    kept: Kept,
    interrupt: Arc<Notify>,
    arrivals: UnboundedReceiver<(u64, Answer)>,
    sender: UnboundedSender<(u64, Answer)>,
    /// The state of the stream when this side was opened.
    state: Value,
    /// Subscriptions that may request more messages.
    ready: HashSet<u64>,
    /// Subscriptions that had no room. They are checked whenever the engine calls the interrupter.
    full: HashSet<u64>,
    /// Subscriptions whose request the server refused. They send another request at the next chore.
    later: HashSet<u64>,
    /// Subscriptions whose consumer was deleted, or that missed a message.
    stale: HashSet<u64>,
    /// Subscriptions whose listener has ended, and whose requests the server may still have.
    over: HashSet<u64>,
    chore: Instant,
    /// When the server was last told about the messages that are being handled, while subscriptions
    /// are opened.
    told: Instant,
    /// Whether the stream of dead letters is known to exist.
    has_dead_stream: bool,
    /// When the next dead letter may be sent.
    burial: Instant,
}

/// The state that outlives a connection.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    subscriptions: HashMap<u64, Subscription>,
    settled: Vec<Settlement>,
    /// Dead letters that could not be kept yet.
    unburied: Vec<Letter>,
    unseen: Unseen,
    /// Numbers the consumers of plain subscriptions, and the listeners.
    made: u64,
    /// The creation time of the stream of these positions, if it is known.
    stream: Value,
    /// The server has everything that was sent before this time. What was sent later is lost if the
    /// connection ends.
    heard: Option<Instant>,
}

impl Kept {
    /// Called when a new connection has replaced one that ended.
    fn lose_link(&mut self) {
        if let Some(heard) = self.heard.replace(Instant::now()) {
            let members = self.subscriptions.values_mut();
            let members = members.filter_map(Subscription::member_mut);
            for held in members.flat_map(|member| member.held.values_mut()) {
                held.claim.lose_link(heard);
            }
            for settlement in &mut self.settled {
                settlement.lose_link(heard);
            }
            for letter in &mut self.unburied {
                letter.lose_link(heard);
            }
        }
    }

    /// Checks whether the stream was recreated. If so, positions in the old stream are invalid, and
    /// the outcomes of its messages must not be sent, because the server would apply them to
    /// messages of the new stream.
    fn compare(&mut self, state: &Value) {
        let is_new = self.stream != state[stream::CREATED];
        let old = std::mem::replace(&mut self.stream, state[stream::CREATED].clone());
        if !is_new || old.is_null() {
            return;
        }
        for subscription in self.subscriptions.values_mut() {
            match &mut subscription.role {
                Role::Plain(plain) => plain.is_lost = plain.position.is_some(),
                Role::Member(member) => {
                    member.held.clear();
                    member.late.clear();
                    member.epoch += 1;
                }
            }
        }
        self.unseen.clear();
        self.settled = std::mem::take(&mut self.settled)
            .into_iter()
            .filter_map(Settlement::of_lost_stream)
            .collect();
        self.unburied.iter_mut().for_each(Letter::lose_stream);
    }
}

#[derive(Debug)]
struct Subscription {
    sink: Sink,
    subject: String,
    consumer: String,
    role: Role,
    /// Distinguishes the answers to requests of one consumer from those of its predecessor.
    generation: u64,
    asked: usize,
    asked_at: Instant,
    /// The task that passes on messages of this connection. A member without one has no open
    /// request.
    listener: Option<Listener>,
}

#[derive(Debug)]
enum Role {
    Plain(Plain),
    Member(Member),
}

#[derive(Debug, Default)]
struct Plain {
    /// The position in the stream of the last message that was taken. `None` until the first
    /// consumer is made.
    position: Option<u64>,
    /// How many messages its consumer has delivered.
    counted: u64,
    /// Whether the stream of `position` was deleted.
    is_lost: bool,
}

#[derive(Debug)]
struct Member {
    group: String,
    /// The messages that are being handled, by their tags.
    held: HashMap<u64, Held>,
    /// The messages to give back as soon as its requests have ended.
    late: Vec<Subject>,
    /// Counts the lost streams. So a late verdict about a message of a lost stream is not applied
    /// to the message with the same position in the next stream.
    epoch: u64,
    ack_wait: Duration,
    /// Whether the server once had the group.
    known: bool,
    /// Whether the subscription has ended. If so, it sends no more requests.
    closed: bool,
}

/// A message of a group that is being handled.
#[derive(Debug)]
struct Held {
    reply: Subject,
    message: Message,
    claim: Claim,
}

impl Subscription {
    fn new(sink: &Sink, shared: &Shared) -> Self {
        let key = sink.key().as_str();
        let (consumer, role) = match sink.group() {
            None => (String::new(), Role::Plain(Plain::default())),
            Some(group) => {
                let member = Member {
                    group: group.to_owned(),
                    held: HashMap::new(),
                    late: Vec::new(),
                    epoch: 0,
                    ack_wait: shared.config.ack_wait,
                    known: false,
                    closed: false,
                };
                (durable(group, key), Role::Member(member))
            }
        };
        Subscription {
            sink: sink.clone(),
            subject: shared.names.subject(key),
            consumer,
            role,
            generation: 0,
            asked: 0,
            asked_at: Instant::now(),
            listener: None,
        }
    }

    fn member(&self) -> Option<&Member> {
        match &self.role {
            Role::Member(member) => Some(member),
            Role::Plain(_) => None,
        }
    }

    fn member_mut(&mut self) -> Option<&mut Member> {
        match &mut self.role {
            Role::Member(member) => Some(member),
            Role::Plain(_) => None,
        }
    }

    /// Whether it has ended and has no work left.
    fn is_over(&self) -> bool {
        self.member()
            .is_some_and(|member| member.closed && member.held.is_empty())
            && self.listener.is_none()
    }
}

/// The bits of a tag for the position in the stream. It would take centuries to use them up.
const POSITION_BITS: u32 = 48;

impl Member {
    /// Returns the tag of the message at a position of the stream.
    fn tag(&self, position: u64) -> u64 {
        self.epoch << POSITION_BITS | position
    }
}

/// Returns the consumer of a request for messages or of an acknowledgement, from the subject.
fn consumer_of(subject: &str) -> Option<&str> {
    match subject.strip_prefix(REQUESTS) {
        Some(rest) => rest.split('.').nth(1),
        None => place(subject).map(|place| place.consumer),
    }
}

/// Returns the position in the stream of the message with this tag.
fn position(tag: u64) -> u64 {
    tag & ((1 << POSITION_BITS) - 1)
}

impl StreamInbound {
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, ConnectError> {
        let mut link = Link::open(shared, link::IN)?;
        let state = link.run(async |wire| stream::ensure(wire).await)?;
        let mut kept = std::mem::take(&mut *shared.kept.lock());
        kept.lose_link();
        kept.compare(&state);
        // The requests ended with their connection.
        let Kept {
            subscriptions,
            settled,
            ..
        } = &mut kept;
        for subscription in subscriptions.values_mut() {
            subscription.end_requests(settled);
        }
        kept.subscriptions
            .retain(|_, subscription| !subscription.is_over());
        let (sender, arrivals) = unbounded_channel();
        let work = Work {
            shared: Arc::clone(shared),
            kept,
            interrupt: Arc::new(Notify::new()),
            arrivals,
            sender,
            state,
            ready: HashSet::new(),
            full: HashSet::new(),
            later: HashSet::new(),
            stale: HashSet::new(),
            over: HashSet::new(),
            chore: Instant::now(),
            told: Instant::now(),
            has_dead_stream: false,
            burial: Instant::now(),
        };
        Ok(StreamInbound { link, work })
    }
}

impl Work {
    async fn pump(&mut self, wire: &mut Wire, timeout: Duration) -> Result<(), LinkError> {
        // The connection gets its turn even if this side is interrupted again and again.
        tokio::task::yield_now().await;
        self.settle_all(wire).await?;
        self.mend(wire).await?;
        self.ready.extend(self.full.drain());
        self.ask_all(wire).await?;
        let every = self.chore_interval();
        let until = (Instant::now() + timeout).min(self.chore + every);
        let arrived = tokio::select! {
            biased;
            reason = wire.signs.lost() => {
                return Err(LinkError::new(wire.shared.config.redact(&reason)));
            }
            arrived = self.arrivals.recv() => arrived,
            () = self.interrupt.notified() => None,
            () = tokio::time::sleep_until(until.into()) => None,
        };
        if let Some((id, answer)) = arrived {
            self.answered(id, answer);
            for _ in 1..ARRIVALS {
                let Ok((id, answer)) = self.arrivals.try_recv() else {
                    break;
                };
                self.answered(id, answer);
            }
            self.ask_all(wire).await?;
        }
        if self.chore.elapsed() >= every {
            self.chore = Instant::now();
            self.tell_progress();
            self.bury_again();
            self.ask_overdue();
            self.end_overdue();
            let heard = self.kept.heard;
            if heard.is_none_or(|heard| heard.elapsed() >= self.shared.config.heartbeat) {
                let now = Instant::now();
                wire.echo().await?;
                self.kept.heard = Some(now);
            }
        }
        if wire.signs.take_slow() > 0 {
            self.read_again();
        }
        self.end_refused(wire);
        Ok(())
    }

    /// Ends the subscriptions whose requests or acknowledgements the server refused, as it does
    /// when the user loses the permission. Other refusals are about requests that were already
    /// answered.
    fn end_refused(&mut self, wire: &Wire) {
        for error in wire.signs.take_refusals() {
            let Some(consumer) = subject_of(&error).and_then(consumer_of) else {
                continue;
            };
            let all = self.kept.subscriptions.iter();
            let refused = all.filter(|(_, of)| of.consumer == consumer);
            let refused: Vec<u64> = refused.map(|(id, _)| *id).collect();
            let text = format!("{error}: allow the user to publish to `$JS.API.>` and `$JS.ACK.>`");
            for id in refused {
                if let Some(subscription) = self.forget(id) {
                    let error = SinkError::Refused(text.as_str().into());
                    subscription.sink.fail(error);
                }
            }
        }
    }

    /// Called when the library dropped messages. The library does not say for which subscription.
    /// Plain subscriptions go back to the last message that they took. Messages that members missed
    /// come again after `ack_wait`.
    fn read_again(&mut self) {
        for (id, subscription) in &mut self.kept.subscriptions {
            match subscription.role {
                Role::Plain(_) if subscription.asked > 0 => {
                    self.stale.insert(*id);
                }
                Role::Plain(_) => {}
                Role::Member(_) => {
                    subscription.asked = 0;
                    self.later.insert(*id);
                }
            }
        }
    }

    /// How often to check whether a chore is due.
    fn chore_interval(&self) -> Duration {
        let third = self.shared.config.ack_wait / 3;
        let least = third.min(self.shared.config.heartbeat);
        least.clamp(Duration::from_millis(5), Duration::from_secs(1))
    }

    /// Removes a subscription that has ended.
    fn forget_over(&mut self, id: u64) {
        let is_over = self
            .kept
            .subscriptions
            .get(&id)
            .is_some_and(Subscription::is_over);
        if is_over {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: u64) -> Option<Subscription> {
        let mut subscription = self.kept.subscriptions.remove(&id)?;
        subscription.end_requests(&mut self.kept.settled);
        for set in [
            &mut self.ready,
            &mut self.full,
            &mut self.later,
            &mut self.stale,
            &mut self.over,
        ] {
            set.remove(&id);
        }
        Some(subscription)
    }
}

impl Inbound for StreamInbound {
    fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
        let work = &mut self.work;
        self.link.run(async |wire| work.open_sink(wire, sink).await)
    }

    fn close(&mut self, sink: &Sink) {
        let work = &mut self.work;
        self.link
            .run(async |wire| work.close_sink(wire, sink.id()).await);
    }

    fn settle(&mut self, sink: &Sink, tag: u64, verdict: Verdict) {
        self.work.settle_tag(sink.id(), tag, verdict);
    }

    fn pump(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let work = &mut self.work;
        self.link.run(async |wire| work.pump(wire, timeout).await)
    }

    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let interrupt = Arc::clone(&self.work.interrupt);
        Arc::new(move || interrupt.notify_one())
    }

    fn finish(&mut self) {
        let work = &mut self.work;
        // If an outcome does not arrive, other members get its message again.
        let _ = self.link.run(async |wire| {
            // Ending the requests may take longer than `close` waits, and handled messages must not
            // come again.
            work.settle_all(wire).await?;
            work.end_all(wire).await?;
            work.settle_all(wire).await?;
            wire.echo().await
        });
    }
}

impl Drop for StreamInbound {
    fn drop(&mut self) {
        *self.work.shared.kept.lock() = std::mem::take(&mut self.work.kept);
    }
}
