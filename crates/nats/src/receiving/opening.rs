//! Makes consumers, and checks existing ones.

use std::time::{Duration, Instant};

use fanfeed_broker::Start;
use fanfeed_broker::driver::{LinkError, Sink, SinkError};
use serde_json::{Value, json};

use super::ending::Listener;
use super::{Role, Subscription, Work};
use crate::api::{ApiError, ApiFault, NO_CONSUMER};
use crate::link::Wire;
use crate::stream;

/// How long the server keeps the consumer of a plain subscription without requests, after its
/// connection has ended.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// Where a new consumer begins.
enum From {
    New,
    All,
    /// At this position of the stream.
    Position(u64),
}

impl From {
    fn put(&self, config: &mut Value) {
        match self {
            From::New => config["deliver_policy"] = "new".into(),
            From::All => config["deliver_policy"] = "all".into(),
            From::Position(position) => {
                config["deliver_policy"] = "by_start_sequence".into();
                config["opt_start_seq"] = (*position).into();
            }
        }
    }
}

fn start(sink: &Sink) -> Result<From, SinkError> {
    Ok(match sink.start() {
        Start::Earliest => From::All,
        Start::After(position) => {
            let position: u64 = position.parse().map_err(|_| {
                SinkError::Refused(
                    "the position to start after is not a number like those of receipts".into(),
                )
            })?;
            From::Position(position.saturating_add(1))
        }
        _ => From::New,
    })
}

impl Work {
    pub(super) async fn open_sink(&mut self, wire: &Wire, sink: &Sink) -> Result<(), SinkError> {
        let id = sink.id();
        // Opening all subscriptions again can take longer than a member may be silent.
        if self.told.elapsed() >= self.chore_interval() {
            self.told = Instant::now();
            self.tell_progress();
        }
        // Messages that were given back have to come before the messages that this subscription
        // requests.
        self.end_left(wire, sink).await?;
        self.settle_all(wire).await?;
        let is_new = !self.kept.subscriptions.contains_key(&id);
        if self.kept.subscriptions.is_empty() {
            // No subscription would have noticed that the stream was recreated.
            self.look_at_stream(wire).await?;
        }
        if is_new {
            let subscription = Subscription::new(sink, &self.shared);
            self.kept.subscriptions.insert(id, subscription);
        }
        let opened = self.enter(wire, id).await;
        if let Err(error) = &opened {
            // A subscription that was never live starts at its own start.
            if is_new || matches!(error, SinkError::Refused(_)) {
                self.forget(id);
            }
        }
        opened
    }

    /// Ends the requests of members of the same group that have left.
    async fn end_left(&mut self, wire: &Wire, sink: &Sink) -> Result<(), LinkError> {
        let all = self.kept.subscriptions.iter();
        let left = all.filter(|(_, of)| {
            of.sink.is_closed() && of.sink.key() == sink.key() && of.sink.group() == sink.group()
        });
        let left: Vec<u64> = left.map(|(id, _)| *id).collect();
        for id in left {
            self.begin_to_end(id);
        }
        self.wait_for_ends(wire).await
    }

    pub(super) async fn close_sink(&mut self, wire: &Wire, id: u64) {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return;
        };
        match &mut subscription.role {
            Role::Member(member) => {
                member.closed = true;
                self.begin_to_end(id);
                self.forget_over(id);
            }
            Role::Plain(_) => {
                if let Some(subscription) = self.forget(id) {
                    self.drop_consumer(wire, &subscription.consumer).await;
                }
            }
        }
    }

    /// Tells the server to delete a consumer. If this does not arrive, the server deletes the
    /// consumer later by itself.
    async fn drop_consumer(&self, wire: &Wire, consumer: &str) {
        if !consumer.is_empty() {
            let stream = self.shared.names.stream();
            let subject = format!("$JS.API.CONSUMER.DELETE.{stream}.{consumer}");
            let answer = self.shared.config.answer;
            let sent = wire.client.publish(subject, bytes::Bytes::new());
            let _ = wire.within(answer, sent).await;
        }
    }

    /// Makes consumers again that were deleted or have missed messages.
    pub(super) async fn mend(&mut self, wire: &Wire) -> Result<(), LinkError> {
        let stale: Vec<u64> = self.stale.iter().copied().collect();
        for id in stale {
            let Some(subscription) = self.kept.subscriptions.get(&id) else {
                self.stale.remove(&id);
                continue;
            };
            let is_closed = subscription.member().is_some_and(|member| member.closed);
            if is_closed {
                self.stale.remove(&id);
                continue;
            }
            if subscription.is_ending() {
                continue;
            }
            if subscription.sink.room() == 0 {
                // The engine calls the interrupter when there is room.
                continue;
            }
            self.stale.remove(&id);
            self.look_at_stream(wire).await?;
            let sink = subscription_sink(&self.kept.subscriptions, id);
            match self.enter(wire, id).await {
                Ok(()) => {}
                Err(SinkError::Refused(reason)) => {
                    self.forget(id);
                    if let Some(sink) = sink {
                        sink.fail(SinkError::Refused(reason));
                    }
                }
                Err(SinkError::Link(error)) => return Err(error),
                Err(error) => return Err(LinkError::new(error.to_string())),
            }
        }
        Ok(())
    }

    /// Makes or finds the consumer of a subscription, and begins to request messages.
    async fn enter(&mut self, wire: &Wire, id: u64) -> Result<(), SinkError> {
        let is_plain = match self.kept.subscriptions.get(&id) {
            Some(subscription) => subscription.member().is_none(),
            None => return Ok(()),
        };
        match is_plain {
            true => self.enter_plain(wire, id).await?,
            false => self.enter_group(wire, id).await?,
        }
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return Ok(());
        };
        subscription.generation += 1;
        subscription.asked = 0;
        if subscription.listener.is_none() {
            let subject = format!("{}.s{id}.*", wire.inbox);
            let subscribed = wire.client.subscribe(subject);
            let answer = self.shared.config.answer;
            let subscribed = wire.within(answer, subscribed).await?;
            let subscriber = subscribed.map_err(|error| LinkError::new(error.to_string()))?;
            let own = format!("{}.s{id}.end", wire.inbox);
            let own = (wire.client.clone(), own);
            self.kept.made += 1;
            let number = (id, self.kept.made);
            let sender = self.sender.clone();
            subscription.listener = Some(Listener::start(number, subscriber, own, sender));
        }
        self.ready.insert(id);
        self.ask_all(wire).await?;
        Ok(())
    }

    async fn look_at_stream(&mut self, wire: &Wire) -> Result<(), LinkError> {
        let state = stream::ensure(wire).await;
        self.state = state.map_err(|error| LinkError::new(error.to_string()))?;
        self.kept.compare(&self.state);
        let ids: Vec<u64> = self.kept.subscriptions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.forget_over(id));
        Ok(())
    }

    async fn enter_plain(&mut self, wire: &Wire, id: u64) -> Result<(), SinkError> {
        let Some(subscription) = self.kept.subscriptions.get(&id) else {
            return Ok(());
        };
        let Role::Plain(plain) = &subscription.role else {
            return Ok(());
        };
        let is_lost = plain.is_lost;
        let from = match plain.position {
            None => start(&subscription.sink)?,
            Some(position) => From::Position(position.saturating_add(1)),
        };
        if plain.position.is_none() && matches!(from, From::Position(_)) {
            // The state is from when this side was opened.
            self.look_at_stream(wire).await?;
        }
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return Ok(());
        };
        let from = match from {
            From::Position(wanted) => {
                let first = self.state["first_seq"].as_u64().unwrap_or(0);
                let last = self.state["last_seq"].as_u64().unwrap_or(0);
                if is_lost || wanted > last + 1 {
                    // The stream was recreated, or its end was lost.
                    subscription.sink.gap(None);
                    From::All
                } else {
                    if first > wanted {
                        subscription.sink.gap(None);
                    }
                    From::Position(wanted)
                }
            }
            from => from,
        };
        let old = std::mem::take(&mut subscription.consumer);
        self.kept.made += 1;
        let name = format!("{}-{id}-{}", self.shared.member, self.kept.made);
        let mut config = json!({
            "name": name,
            "filter_subject": subscription.subject,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": true,
            "num_replicas": 1,
            "inactive_threshold": u64::try_from(FORGOTTEN.as_nanos()).unwrap_or(0),
        });
        from.put(&mut config);
        let made = create(wire, &name, &config)
            .await
            .map_err(ApiFault::opening)?;
        if let Some(why) = differs(&config, &made["config"], &["filter_subject", "ack_policy"]) {
            return Err(SinkError::Refused(why.into()));
        }
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return Ok(());
        };
        subscription.consumer = name;
        if let Role::Plain(plain) = &mut subscription.role {
            plain.counted = 0;
            plain.is_lost = false;
            plain.position = match from {
                From::Position(wanted) => Some(wanted - 1),
                From::New | From::All => made["delivered"]["stream_seq"].as_u64(),
            };
        }
        self.drop_consumer(wire, &old).await;
        Ok(())
    }

    async fn enter_group(&mut self, wire: &Wire, id: u64) -> Result<(), SinkError> {
        let Some(subscription) = self.kept.subscriptions.get(&id) else {
            return Ok(());
        };
        let Some(member) = subscription.member() else {
            return Ok(());
        };
        let (stream, name) = (self.shared.names.stream(), &subscription.consumer);
        let mut config = json!({
            "name": name,
            "durable_name": name,
            "filter_subject": subscription.subject,
            "ack_policy": "explicit",
            "ack_wait": u64::try_from(self.shared.config.ack_wait.as_nanos()).unwrap_or(0),
            "max_ack_pending": self.shared.config.max_ack_pending,
            "max_deliver": -1,
            "replay_policy": "instant",
        });
        let info = format!("CONSUMER.INFO.{stream}.{name}");
        let found = match wire.ask(&info, &Value::Null).await {
            Err(ApiFault::Refused(error)) if error.number == NO_CONSUMER => {
                let from = match member.known {
                    // The server has lost the group, including which messages the group had
                    // handled.
                    true => {
                        subscription.sink.gap(None);
                        From::All
                    }
                    false => start(&subscription.sink)?,
                };
                from.put(&mut config);
                match create(wire, name, &config).await {
                    // Another member may have made the group in the meantime, with another start.
                    Err(ApiFault::Refused(refused)) => match wire.ask(&info, &Value::Null).await {
                        Err(ApiFault::Refused(error)) if error.number == NO_CONSUMER => {
                            Err(ApiFault::Refused(refused))
                        }
                        other => other,
                    },
                    other => other,
                }
            }
            other => other,
        };
        let found = found.map_err(ApiFault::opening)?;
        let mut fields = vec!["filter_subject", "ack_policy", "max_deliver"];
        if self.shared.config.max_ack_pending == 1 {
            // The user asked for order, which depends on this value.
            fields.push("max_ack_pending");
        }
        if let Some(why) = differs(&config, &found["config"], &fields) {
            return Err(SinkError::Refused(why.into()));
        }
        if let Some(subject) = found["config"]["deliver_subject"].as_str() {
            let text =
                format!("the consumer `{name}` pushes to `{subject}`, and must be a pull consumer");
            return Err(SinkError::Refused(text.into()));
        }
        let ack_wait = found["config"]["ack_wait"]
            .as_u64()
            .filter(|time| *time > 0)
            .map_or(self.shared.config.ack_wait, Duration::from_nanos);
        if let Some(member) = self
            .kept
            .subscriptions
            .get_mut(&id)
            .and_then(Subscription::member_mut)
        {
            member.known = true;
            member.ack_wait = ack_wait;
        }
        Ok(())
    }
}

fn subscription_sink(
    subscriptions: &std::collections::HashMap<u64, Subscription>,
    id: u64,
) -> Option<Sink> {
    subscriptions
        .get(&id)
        .map(|subscription| subscription.sink.clone())
}

async fn create(wire: &Wire, name: &str, config: &Value) -> Result<Value, ApiFault> {
    let stream = wire.shared.names.stream();
    let filter = config["filter_subject"].as_str().unwrap_or_default();
    let body = json!({ "stream_name": stream, "config": config });
    let made = wire
        .ask(&format!("CONSUMER.CREATE.{stream}.{name}.{filter}"), &body)
        .await?;
    match made["config"].is_object() {
        true => Ok(made),
        false => Err(ApiFault::Refused(ApiError::own(
            "JetStream's answer lacks the consumer's configuration".to_owned(),
        ))),
    }
}

/// Returns where the server's configuration differs from the wanted one: older servers ignore
/// fields that they do not know.
fn differs(wanted: &Value, found: &Value, fields: &[&str]) -> Option<String> {
    let field = fields
        .iter()
        .find(|field| wanted[**field] != found[**field])?;
    Some(format!(
        "the consumer has {field} {}, and {} was asked for: change it (`nats consumer edit`), or remove it",
        found[*field], wanted[*field]
    ))
}

#[cfg(test)]
mod tests {
    use super::differs;
    use serde_json::json;

    #[test]
    fn a_field_that_differs_is_named() {
        let (one, other) = (json!({ "a": 1, "b": "x" }), json!({ "a": 1, "b": "y" }));
        assert_eq!(differs(&one, &other, &["a"]), None);
        let why = differs(&one, &other, &["a", "b"]).unwrap();
        assert!(why.contains("b \"y\"") && why.contains("\"x\""), "{why}");
    }
}
