//! Acknowledging messages, giving them back, and burying them: keeping them as dead letters.

use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Request, Subject};
use bytes::Bytes;
use fanfeed_broker::driver::{LinkError, SinkError, Verdict};
use serde_json::Value;

use super::{Role, Work, position};
use crate::api;
use crate::entry;
use crate::link::Wire;
use crate::publishing::headers;
use crate::stream;

const HANDLED: &[u8] = b"+ACK";
const AT_WORK: &[u8] = b"+WPI";
const GIVEN_BACK: &[u8] = b"-NAK";
const OVER: &[u8] = b"+TERM";

/// The header with the group that gave up a dead letter.
const GROUP: &str = "Fanfeed-Group";
/// The header with a dead letter's position in the stream.
const POSITION: &str = "Fanfeed-Position";

/// The wait before any member tries a failed message again: this long for each attempt so far, ...
const AGAIN: Duration = Duration::from_millis(20);
/// ... and at most this long.
const AGAIN_MOST: Duration = Duration::from_secs(5);

/// Outcomes that still have to be sent to the server. They outlive a connection.
#[derive(Debug)]
pub(super) enum Settlement {
    /// A reply about a message, to its acknowledgement subject.
    Tell { reply: Subject, what: Bytes },
    /// A message to keep as a dead letter; the server is then told that it is over.
    Bury {
        /// `None` if the message is gone with its stream.
        reply: Option<Subject>,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    },
}

impl Settlement {
    fn tell(reply: Subject, what: &'static [u8]) -> Self {
        Settlement::Tell {
            reply,
            what: Bytes::from_static(what),
        }
    }

    /// Another member may have it at once.
    pub(super) fn give(reply: Subject) -> Self {
        Settlement::tell(reply, GIVEN_BACK)
    }

    /// The parts that are left of it when its stream is gone.
    pub(super) fn of_lost_stream(mut self) -> Option<Self> {
        match &mut self {
            Settlement::Tell { .. } => return None,
            Settlement::Bury { reply, .. } => *reply = None,
        }
        Some(self)
    }

    /// Any member may have it again after a wait.
    fn again(reply: Subject) -> Self {
        let tried = reply.split('.').rev().nth(4).and_then(|n| n.parse().ok());
        let doubled = 1_u32 << tried.unwrap_or(1_u32).min(10);
        let wait = (AGAIN * doubled).min(AGAIN_MOST).as_nanos();
        Settlement::Tell {
            reply,
            what: Bytes::from(format!("-NAK {{\"delay\":{wait}}}")),
        }
    }

    /// Buries a message that could not be read, unchanged. `time` is when the stream stored it, in nanoseconds since 1970:
    /// with it, the stream of dead letters does not mistake a message of a stream that was made again for an earlier one.
    pub(super) fn bury_raw(
        reply: Subject,
        subject: String,
        message: &async_nats::Message,
        group: &str,
        position: u64,
        time: u64,
    ) -> Self {
        let mut headers = message.headers.clone().unwrap_or_default();
        headers.insert(entry::ID, format!("{position}:{time}@{subject}"));
        mark(&mut headers, group, position);
        Settlement::Bury {
            reply: Some(reply),
            subject,
            headers,
            payload: message.payload.clone(),
        }
    }
}

/// Adds the origin of a dead letter.
fn mark(headers: &mut HeaderMap, group: &str, position: u64) {
    // The name of a group may have characters that a header cannot have.
    headers.insert(GROUP, crate::names::queue(group));
    headers.insert(POSITION, position.to_string());
}

impl Work {
    pub(super) fn settle_tag(&mut self, id: u64, tag: u64, verdict: Verdict) {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return;
        };
        // Messages of plain subscriptions are not acknowledged.
        let Role::Member(member) = &mut subscription.role else {
            return;
        };
        let Some(held) = member.held.remove(&tag) else {
            return;
        };
        let place = position(tag);
        if !matches!(verdict, Verdict::Requeued | Verdict::Abandoned) {
            self.kept.unseen.forget(&subscription.consumer, place);
        }
        let settlement = match verdict {
            Verdict::GivenUp => {
                let key = subscription.sink.key().as_str();
                let subject = self.shared.names.dead(&member.group, key);
                let mut headers = headers(&held.message, &subject);
                mark(&mut headers, &member.group, place);
                Settlement::Bury {
                    reply: Some(held.reply),
                    subject,
                    headers,
                    payload: held.message.payload().clone(),
                }
            }
            Verdict::Requeued => Settlement::again(held.reply),
            Verdict::Abandoned => {
                self.give_back(id, place, held.reply);
                self.forget_over(id);
                return;
            }
            // A verdict that a later engine may add counts as handled: otherwise the message would never be settled.
            _ => Settlement::tell(held.reply, HANDLED),
        };
        self.kept.settled.push(settlement);
        self.ready.insert(id);
        self.forget_over(id);
    }

    /// Sends all outcomes to the server. Those that cannot be sent now are sent over the next connection.
    pub(super) async fn settle_all(&mut self, wire: &Wire) -> Result<(), LinkError> {
        self.end_over(wire).await?;
        if self.kept.settled.is_empty() {
            return Ok(());
        }
        let mut settled = std::mem::take(&mut self.kept.settled).into_iter();
        while let Some(settlement) = settled.next() {
            let told = match &settlement {
                Settlement::Tell { reply, what } => tell(wire, reply, what).await,
                Settlement::Bury {
                    reply,
                    subject,
                    headers,
                    payload,
                } => {
                    let buried = self.bury(wire, subject, headers, payload).await;
                    match (buried, reply) {
                        (Ok(()), Some(reply)) => tell(wire, reply, &Bytes::from_static(OVER)).await,
                        (buried, _) => buried,
                    }
                }
            };
            if let Err(error) = told {
                self.kept.settled.push(settlement);
                self.kept.settled.extend(settled);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps a dead letter. If the server refuses it for good, the message is still in the stream of its key.
    async fn bury(
        &mut self,
        wire: &Wire,
        subject: &str,
        headers: &HeaderMap,
        payload: &Bytes,
    ) -> Result<(), LinkError> {
        if !self.has_dead_stream {
            match stream::ensure_dead(wire).await {
                Ok(()) => self.has_dead_stream = true,
                Err(fault) => match fault.opening() {
                    SinkError::Link(error) => return Err(error),
                    _ => return Ok(()),
                },
            }
        }
        let answer = self.shared.config.answer;
        let request = Request::new()
            .headers(headers.clone())
            .payload(payload.clone())
            .timeout(Some(answer));
        let asked = wire.client.send_request(subject.to_owned(), request);
        match wire.within(answer * 2, asked).await? {
            Ok(message) => {
                let answer: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
                match api::error(&answer) {
                    Some(error) if error.is_passing() => Err(LinkError::new(error.text)),
                    _ => Ok(()),
                }
            }
            Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
                self.has_dead_stream = false;
                Err(LinkError::new("the stream of dead letters is gone"))
            }
            // A message that is not allowed gets no answer.
            Err(_) if wire.signs.refusal("Publish to", subject).is_some() => Ok(()),
            Err(error) => Err(LinkError::new(format!(
                "the stream of dead letters did not answer: {error}"
            ))),
        }
    }

    /// Tells the server which messages are still being handled.
    pub(super) fn tell_progress(&mut self) {
        let mut settled = Vec::new();
        for subscription in self.kept.subscriptions.values_mut() {
            let Some(member) = subscription.member_mut() else {
                continue;
            };
            let every = member.ack_wait / 3;
            for held in member.held.values_mut() {
                if held.told.elapsed() >= every {
                    held.told = Instant::now();
                    settled.push(Settlement::tell(held.reply.clone(), AT_WORK));
                }
            }
        }
        self.kept.settled.extend(settled);
    }
}

async fn tell(wire: &Wire, reply: &Subject, what: &Bytes) -> Result<(), LinkError> {
    let sent = wire.client.publish(reply.clone(), what.clone());
    let answer = wire.shared.config.answer;
    match wire.within(answer, sent).await? {
        Ok(()) => Ok(()),
        Err(error) => Err(LinkError::new(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::Message;
    use bytes::Bytes;

    use super::Settlement;
    use crate::entry;

    #[test]
    fn a_dead_letter_of_a_stream_that_was_made_again_is_another_one() {
        let id = |time| {
            let message = Message {
                subject: "p.k.k".into(),
                reply: None,
                payload: Bytes::new(),
                headers: None,
                status: None,
                description: None,
                length: 0,
            };
            let subject = "p.d.g.k".to_owned();
            match Settlement::bury_raw("reply".into(), subject, &message, "g", 7, time) {
                Settlement::Bury { headers, .. } => {
                    headers.get(entry::ID).unwrap().as_str().to_owned()
                }
                Settlement::Tell { .. } => panic!("it is buried"),
            }
        };
        assert_eq!(id(5), "7:5@p.d.g.k");
        assert_ne!(id(5), id(6));
    }
}
