//! The publishing side.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, HeaderName, Subject, Subscriber};
use bytes::BytesMut;
use fanfeed_broker::driver::{LinkError, Outbound, Published};
use fanfeed_broker::{ConnectError, Message, Receipt};
use serde_json::Value;
use tokio::task::unconstrained;

use crate::api;
use crate::entry;
use crate::link::{self, Link, Wire, is_refusal, next};
use crate::names::Names;
use crate::shared::Shared;
use crate::stream;

/// The size of the cache of subjects, which saves escaping a busy key for each message.
const SUBJECTS: usize = 1024;
/// How many messages the library gets before it writes them. Without this, the runtime would let it
/// write after every 128 messages.
const CHUNK: usize = 512;
/// A batch may take this much longer than an answer, for each of this many bytes.
const SLOWEST: usize = 1 << 20;

/// Every message with headers has this header, so its name is made only once.
const TIME: HeaderName = HeaderName::from_static(entry::TIME);

/// The subjects of keys to which messages were published.
#[derive(Debug, Default)]
struct Subjects {
    known: HashMap<String, Subject>,
    /// Consecutive messages mostly have the same key.
    last: Option<(String, Subject)>,
}

impl Subjects {
    fn of(&mut self, names: &Names, key: &str) -> Subject {
        match &self.last {
            Some((last, subject)) if last == key => subject.clone(),
            _ => {
                let subject = self.find(names, key);
                self.last = Some((key.to_owned(), subject.clone()));
                subject
            }
        }
    }

    fn find(&mut self, names: &Names, key: &str) -> Subject {
        if let Some(subject) = self.known.get(key) {
            return subject.clone();
        }
        if self.known.len() >= SUBJECTS {
            self.known.clear();
        }
        let subject = Subject::from(names.subject(key));
        self.known.insert(key.to_owned(), subject.clone());
        subject
    }
}

/// The reply subjects of a batch, which replace headers.
struct Marks {
    start: String,
    text: BytesMut,
}

impl Marks {
    /// The usual length of a mark.
    const USUAL: usize = 64;

    fn new(names: &Names, messages: usize) -> Self {
        let start = names.marks();
        let size = (start.len() + Self::USUAL) * messages;
        Marks {
            start,
            text: BytesMut::with_capacity(size),
        }
    }

    /// The reply subject of a message, unless it needs headers.
    fn of(&mut self, message: &Message) -> Option<Subject> {
        self.text.clear();
        self.text.extend_from_slice(self.start.as_bytes());
        match entry::write_mark(message, &mut self.text) {
            true => Subject::from_utf8(self.text.split()).ok(),
            false => None,
        }
    }
}

/// Returns the headers that carry a message.
pub(crate) fn headers(message: &Message, subject: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    entry::write(message, subject, |name, value| match name {
        entry::ID => headers.insert(NATS_MESSAGE_ID, value),
        entry::TIME => headers.insert(TIME, value),
        _ => headers.insert(name, value),
    });
    headers
}

/// Returns how long the server may take for a batch.
fn patience(shared: &Shared, batch: &[Message]) -> Duration {
    let bytes: usize = batch.iter().map(|message| message.payload().len()).sum();
    shared.config.answer * u32::try_from(1 + bytes / SLOWEST).unwrap_or(u32::MAX)
}

fn send_failed(error: &async_nats::PublishError) -> Result<Published, LinkError> {
    match error.kind() {
        async_nats::PublishErrorKind::MaxPayloadExceeded => Ok(Published::Refused(
            format!("the server takes no message of this size: {error}; raise its `max_payload`")
                .into(),
        )),
        _ => Err(LinkError::new(error.to_string())),
    }
}

/// Returns the server's refusal to publish to the subject, if there was one.
fn refusal(wire: &Wire, subject: &str) -> Option<Published> {
    let error = wire.signs.refusal("Publish to", subject)?;
    Some(Published::Refused(
        format!("{error}: allow the user to publish to it").into(),
    ))
}

/// Publishes to NATS core. An echo confirms a batch: when it arrives, the server has passed the
/// batch on to all subscribers that it knew.
#[derive(Debug)]
pub(crate) struct CoreOutbound {
    link: Link,
    subjects: Subjects,
}

impl CoreOutbound {
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, ConnectError> {
        Ok(CoreOutbound {
            link: Link::open(shared, link::OUT)?,
            subjects: Subjects::default(),
        })
    }
}

impl Outbound for CoreOutbound {
    fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError> {
        let subjects = &mut self.subjects;
        self.link.run(async |wire| {
            wire.look().await?;
            wire.signs.forget_errors();
            let mut published = Vec::with_capacity(batch.len());
            let names = &wire.shared.names;
            let mut marks = Marks::new(names, batch.len());
            let sending = async {
                for (number, message) in batch.iter().enumerate() {
                    if number % CHUNK == CHUNK - 1 {
                        tokio::task::yield_now().await;
                    }
                    let subject = subjects.of(names, message.key().as_str());
                    let payload = message.payload().clone();
                    let client = &wire.client;
                    let is_bare = wire.shared.config.lean && entry::is_bare(message);
                    let mark = match is_bare {
                        true => None,
                        false => marks.of(message),
                    };
                    let sent = match mark {
                        _ if is_bare => client.publish(subject, payload).await,
                        Some(mark) => client.publish_with_reply(subject, mark, payload).await,
                        None => {
                            let headers = headers(message, &subject);
                            client.publish_with_headers(subject, headers, payload).await
                        }
                    };
                    published.push(match sent {
                        Ok(()) => Published::Done(Receipt::new(message.id().clone(), None)),
                        Err(error) => send_failed(&error)?,
                    });
                }
                Ok(())
            };
            let patience = patience(&wire.shared, batch);
            wire.within(patience, unconstrained(sending)).await??;
            // The client library has most of the batch still to write.
            wire.echo_within(patience).await?;
            refuse(wire, batch, subjects, &mut published);
            Ok(published)
        })
    }

    fn idle(&mut self) -> Result<(), LinkError> {
        self.link.run(async |wire| wire.echo().await)
    }
}

/// Finds the messages that the user was not allowed to publish.
fn refuse(wire: &Wire, batch: &[Message], subjects: &mut Subjects, published: &mut [Published]) {
    let errors = wire.signs.errors();
    let count = errors.iter().filter(|error| is_refusal(error)).count();
    if count == 0 {
        return;
    }
    // The library's events hold about a hundred errors. Further errors are lost.
    let unclear = count >= 99;
    for (message, published) in batch.iter().zip(published) {
        let subject = subjects.of(&wire.shared.names, message.key().as_str());
        match refusal(wire, &subject) {
            Some(refused) => *published = refused,
            None if unclear => {
                *published = Published::Refused(
                    "the server refused many messages of the batch, and not all that it said is known: this one may have \
                     been refused too"
                        .into(),
                );
            }
            None => {}
        }
    }
}

/// Publishes to a stream. It sends all messages of a batch before it waits for the first
/// acknowledgement.
#[derive(Debug)]
pub(crate) struct StreamOutbound {
    link: Link,
    subjects: Subjects,
    acknowledgements: Subscriber,
    /// The beginning of the subjects of acknowledgements. A number follows.
    inbox: String,
    sent: u64,
}

impl StreamOutbound {
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, ConnectError> {
        let mut link = Link::open(shared, link::OUT)?;
        let (inbox, acknowledgements) = link.run(async |wire| {
            stream::ensure(wire).await?;
            let inbox = format!("{}.ack.", wire.inbox);
            let subscribed = wire.client.subscribe(format!("{inbox}*")).await;
            let acknowledgements =
                subscribed.map_err(|error| ConnectError::Failed(error.to_string().into()))?;
            Ok((inbox, acknowledgements))
        })?;
        Ok(StreamOutbound {
            link,
            subjects: Subjects::default(),
            acknowledgements,
            inbox,
            sent: 0,
        })
    }
}

impl Outbound for StreamOutbound {
    fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError> {
        let first = self.sent;
        self.sent += batch.len() as u64;
        let (subjects, inbox) = (&mut self.subjects, &*self.inbox);
        let acknowledgements = &mut self.acknowledgements;
        self.link.run(async |wire| {
            wire.signs.forget_errors();
            let mut published: Vec<Option<Published>> = vec![None; batch.len()];
            let mut missing = batch.len();
            let patience = patience(&wire.shared, batch);
            let sending = async {
                for (number, (message, published)) in
                    (first..).zip(batch.iter().zip(&mut published))
                {
                    let subject = subjects.of(&wire.shared.names, message.key().as_str());
                    let reply = format!("{inbox}{number}");
                    let sent = send(wire, message, subject, reply);
                    if let Err(error) = sent.await {
                        *published = Some(send_failed(&error)?);
                        missing -= 1;
                    }
                }
                Ok(())
            };
            wire.within(patience, sending).await??;
            while missing > 0 {
                let signs = Arc::clone(&wire.signs);
                let next = wire.within(patience, async {
                    tokio::select! {
                        biased;
                        next = next(acknowledgements) => next.map(Some),
                        () = signs.next_error() => Some(None),
                    }
                });
                let answer = match next.await {
                    Ok(Some(answer)) => answer,
                    Ok(None) => return Err(LinkError::new("the client library ended")),
                    // A message that is not allowed gets no acknowledgement, and its error may have
                    // been lost.
                    Err(error) => {
                        match wire.signs.errors().iter().find(|error| is_refusal(error)) {
                            Some(refused) => {
                                let refused = Published::Refused(Arc::clone(refused));
                                let unanswered = published.iter_mut().filter(|one| one.is_none());
                                unanswered.for_each(|one| *one = Some(refused.clone()));
                                break;
                            }
                            None => return Err(error),
                        }
                    }
                };
                let Some(answer) = answer else {
                    for (message, published) in batch.iter().zip(&mut published) {
                        if published.is_none() {
                            let subject = subjects.of(&wire.shared.names, message.key().as_str());
                            *published = refusal(wire, &subject);
                            missing -= usize::from(published.is_some());
                        }
                    }
                    continue;
                };
                let number = answer
                    .subject
                    .rsplit('.')
                    .next()
                    .and_then(|n| n.parse().ok());
                let place = number.and_then(|number: u64| number.checked_sub(first));
                let place = place.and_then(|place| usize::try_from(place).ok());
                if let Some(place) = place
                    && let Some(published) = published.get_mut(place)
                    && published.is_none()
                {
                    *published = Some(acknowledged(&batch[place], &answer)?);
                    missing -= 1;
                }
            }
            Ok(published.into_iter().flatten().collect())
        })
    }

    fn idle(&mut self) -> Result<(), LinkError> {
        self.link.run(async |wire| wire.echo().await)
    }
}

async fn send(
    wire: &Wire,
    message: &Message,
    subject: Subject,
    reply: String,
) -> Result<(), async_nats::PublishError> {
    let payload = message.payload().clone();
    if wire.shared.config.lean && entry::is_bare(message) {
        return wire
            .client
            .publish_with_reply(subject, reply, payload)
            .await;
    }
    let headers = headers(message, &subject);
    wire.client
        .publish_with_reply_and_headers(subject, reply, headers, payload)
        .await
}

/// Reads the stream's answer to a message.
fn acknowledged(message: &Message, answer: &async_nats::Message) -> Result<Published, LinkError> {
    if answer.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
        return Err(LinkError::new(
            "no stream takes the messages now: it was deleted, or JetStream is starting",
        ));
    }
    if let Some(position) = stored(&answer.payload) {
        let receipt = Receipt::new(message.id().clone(), Some(position.into()));
        return Ok(Published::Done(receipt));
    }
    let answer: Value = serde_json::from_slice(&answer.payload)
        .map_err(|_| LinkError::new("the acknowledgement of a stream cannot be read"))?;
    if let Some(error) = api::error(&answer) {
        return match error.is_passing() {
            true => Err(LinkError::new(error.text)),
            false => Ok(Published::Refused(error.text.into())),
        };
    }
    let position = answer["seq"].as_u64().map(|seq| seq.to_string());
    let receipt = Receipt::new(message.id().clone(), position.map(Into::into));
    Ok(Published::Done(receipt))
}

/// Returns the position in an answer of exactly the usual form, `{"stream":"NAME", "seq":NUMBER}`.
fn stored(answer: &[u8]) -> Option<&str> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (stream, position) = answer
        .strip_prefix("{\"stream\":\"")?
        .strip_suffix('}')?
        .split_once("\",")?;
    let position = position.trim_start().strip_prefix("\"seq\":")?.trim_start();
    let is_number = !position.is_empty() && position.bytes().all(|byte| byte.is_ascii_digit());
    // A name with escaped characters is left to the parser.
    (is_number && !stream.contains(['\\', '"'])).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::stored;

    #[test]
    fn only_the_usual_answer_is_read_without_the_parser() {
        assert_eq!(stored(br#"{"stream":"fanfeed", "seq":17}"#), Some("17"));
        assert_eq!(stored(br#"{"stream":"a=b","seq": 1}"#), Some("1"));
        for other in [
            &br#"{"stream":"s","seq":1,"duplicate":true}"#[..],
            br#"{"error":{"code":503},"stream":"s","seq":0}"#,
            br#"{"stream":"s\"","seq":1}"#,
            br#"{"stream":"s","seq":}"#,
            br#"{"stream":"s","seq":-1}"#,
            b"",
            b"\xff",
        ] {
            assert_eq!(stored(other), None, "{other:?}");
        }
    }
}
