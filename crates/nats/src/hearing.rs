//! The receiving side of NATS core.
//!
//! Each subscription on the server has a task that delivers its messages to its sinks at once, so
//! that the library's buffer is empty whenever this side runs. Plain subscriptions of one key share
//! one subscription on the server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Inbound, LinkError, Sink, SinkError, Verdict};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::entry::Origin;
use crate::link::{self, Link, next};
use crate::names::queue;
use crate::reading;
use crate::shared::Shared;
use crate::signs::subject_of;

pub(crate) struct CoreInbound {
    link: Link,
    interrupt: Arc<Notify>,
    /// The plain subscriptions, by subject.
    plain: HashMap<String, Audience>,
    /// The members of groups, by the numbers of their sinks.
    members: HashMap<u64, AbortHandle>,
    /// All sinks, for losses that affect all of them.
    sinks: HashMap<u64, Sink>,
    beat: Instant,
}

/// The plain subscriptions of one subject.
struct Audience {
    sinks: Arc<Mutex<Vec<Sink>>>,
    task: AbortHandle,
}

impl CoreInbound {
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, ConnectError> {
        Ok(CoreInbound {
            link: Link::open(shared, link::IN)?,
            interrupt: Arc::new(Notify::new()),
            plain: HashMap::new(),
            members: HashMap::new(),
            sinks: HashMap::new(),
            beat: Instant::now(),
        })
    }

    fn subscribe(&mut self, sink: &Sink) -> Result<(), SinkError> {
        let subject = self.link.wire.shared.names.subject(sink.key().as_str());
        if sink.group().is_none()
            && let Some(audience) = self.plain.get(&subject)
        {
            audience.sinks.lock().push(sink.clone());
            return Ok(());
        }
        let sinks = Arc::new(Mutex::new(vec![sink.clone()]));
        let task = self.link.run(async |wire| {
            let answer = wire.shared.config.answer;
            let name = subject.clone();
            let subscriber = match sink.group() {
                Some(group) => {
                    let subscribed = wire.client.queue_subscribe(name, queue(group));
                    wire.within(answer, subscribed).await?
                }
                None => wire.within(answer, wire.client.subscribe(name)).await?,
            };
            let subscriber =
                subscriber.map_err(|error| SinkError::Refused(error.to_string().into()))?;
            let shared = Arc::clone(&wire.shared);
            let hear = hear(subscriber, Arc::clone(&sinks), subject.clone(), shared);
            let task = tokio::spawn(hear).abort_handle();
            wire.echo().await?;
            match wire.signs.refusal("Subscription to", &subject) {
                None => Ok(task),
                Some(error) => {
                    task.abort();
                    wire.signs.forget_about(&subject);
                    let text = format!("{error}: allow the user to subscribe to it");
                    Err(SinkError::Refused(text.into()))
                }
            }
        })?;
        match sink.group() {
            Some(_) => {
                self.members.insert(sink.id(), task);
            }
            None => {
                self.plain.insert(subject, Audience { sinks, task });
            }
        }
        Ok(())
    }

    /// Subscribes again where the server has ended a subscription, as it does when the user loses
    /// the permission. A subscription that is refused ends.
    fn subscribe_refused(&mut self) -> Result<(), LinkError> {
        for error in self.link.wire.signs.take_refusals() {
            let names = &self.link.wire.shared.names;
            let subject = subject_of(&error);
            let is_lost = |sink: &&Sink| subject == Some(&names.subject(sink.key().as_str()));
            let lost: Vec<Sink> = self.sinks.values().filter(is_lost).cloned().collect();
            for sink in &lost {
                self.close(sink);
            }
            for sink in lost {
                match self.subscribe_sink(&sink) {
                    Ok(()) => {}
                    Err(SinkError::Link(error)) => return Err(error),
                    Err(error) => sink.fail(error),
                }
            }
        }
        Ok(())
    }

    fn subscribe_sink(&mut self, sink: &Sink) -> Result<(), SinkError> {
        self.subscribe(sink)?;
        self.sinks.insert(sink.id(), sink.clone());
        // The subscription was live earlier, so messages that were published in the meantime are
        // lost.
        if sink.position().is_some() {
            sink.gap(None);
        }
        sink.set_position("heard");
        Ok(())
    }

    /// Reports to all sinks that the library dropped messages. The library does not say for which
    /// subscription.
    fn report_slow(&mut self) {
        if self.link.wire.signs.take_slow() > 0 {
            for sink in self.sinks.values() {
                sink.gap(None);
            }
        }
    }
}

/// Delivers arriving messages to the sinks.
async fn hear(
    mut subscriber: Subscriber,
    sinks: Arc<Mutex<Vec<Sink>>>,
    subject: String,
    shared: Arc<Shared>,
) {
    let marks = shared.names.marks();
    while let Some(message) = next(&mut subscriber).await {
        let sinks = sinks.lock();
        let Some(first) = sinks.first() else { continue };
        let origin = Origin {
            key: first.key(),
            subject: &subject,
            limit: shared.config.max_message,
            time: None,
        };
        match reading::hear(&origin, &marks, &message) {
            Ok(message) => {
                for sink in &sinks[1..] {
                    sink.deliver_or_drop(message.clone(), 0);
                }
                first.deliver_or_drop(message, 0);
            }
            Err(error) => {
                for sink in &*sinks {
                    sink.undecodable(error.to_string(), &message.payload);
                }
            }
        }
    }
}

impl Inbound for CoreInbound {
    fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
        // Earlier errors are about an earlier subscription.
        self.subscribe_refused()?;
        self.subscribe_sink(sink)
    }

    fn close(&mut self, sink: &Sink) {
        self.sinks.remove(&sink.id());
        if let Some(task) = self.members.remove(&sink.id()) {
            task.abort();
            return;
        }
        let subject = self.link.wire.shared.names.subject(sink.key().as_str());
        let Some(audience) = self.plain.get(&subject) else {
            return;
        };
        let is_empty = {
            let mut sinks = audience.sinks.lock();
            sinks.retain(|other| other.id() != sink.id());
            sinks.is_empty()
        };
        if is_empty && let Some(audience) = self.plain.remove(&subject) {
            audience.task.abort();
        }
    }

    fn settle(&mut self, _sink: &Sink, _tag: u64, _verdict: Verdict) {}

    fn pump(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let due = self.beat + self.link.wire.shared.config.heartbeat;
        let until = (Instant::now() + timeout).min(due);
        let interrupt = Arc::clone(&self.interrupt);
        let waited = self.link.run(async |wire| {
            tokio::select! {
                biased;
                reason = wire.signs.lost() => {
                    return Err(LinkError::new(wire.shared.config.redact(&reason)));
                }
                () = interrupt.notified() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
            if Instant::now() >= due {
                wire.echo().await?;
            }
            Ok(())
        });
        if Instant::now() >= due {
            self.beat = Instant::now();
        }
        self.report_slow();
        waited?;
        self.subscribe_refused()
    }

    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let interrupt = Arc::clone(&self.interrupt);
        Arc::new(move || interrupt.notify_one())
    }
}
