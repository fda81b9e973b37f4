//! Acknowledges messages, gives them back, and keeps dead letters.

use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Request, Subject};
use bytes::Bytes;
use fanfeed_broker::driver::{LinkError, Sink, SinkError, Verdict};
use serde_json::Value;

use super::arriving::Place;
use super::claim::Claim;
use super::{Member, Role, Work, position};
use crate::api::{self, ApiFault};
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

/// After a dead letter without an answer, this many times its wait passes before the next one,
/// because the subscriptions wait during that time.
const BURIAL_PAUSE: u32 = 8;

/// The wait before any member tries a failed message again: this long for each attempt so far, ...
const AGAIN: Duration = Duration::from_millis(20);
/// ... and at most this long.
const AGAIN_MOST: Duration = Duration::from_secs(5);

/// Outcomes to send to the server. They outlive a connection.
#[derive(Debug)]
pub(super) enum Settlement {
    /// A reply about a message, to its acknowledgement subject.
    Tell { reply: Subject, what: Bytes },
    /// A message to keep as a dead letter. After that, the server is told to stop delivering it.
    Bury(Letter),
}

/// A dead letter.
#[derive(Debug)]
pub(super) struct Letter {
    sink: Sink,
    /// `None` if the message was lost with its stream.
    reply: Option<Subject>,
    subject: String,
    headers: HeaderMap,
    payload: Bytes,
    claim: Claim,
    ack_wait: Duration,
}

impl Letter {
    pub(super) fn new(
        sink: &Sink,
        member: &Member,
        (reply, claim): (Subject, Claim),
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Self {
        Letter {
            sink: sink.clone(),
            reply: Some(reply),
            subject,
            headers,
            payload,
            claim,
            ack_wait: member.ack_wait,
        }
    }

    /// Called when a connection has ended.
    pub(super) fn lose_link(&mut self, heard: Instant) {
        self.claim.lose_link(heard);
    }

    /// Called when the stream of the message was deleted.
    pub(super) fn lose_stream(&mut self) {
        self.reply = None;
    }
}

impl Settlement {
    fn tell(reply: Subject, what: &'static [u8]) -> Self {
        Settlement::Tell {
            reply,
            what: Bytes::from_static(what),
        }
    }

    /// Called when a connection has ended.
    pub(super) fn lose_link(&mut self, heard: Instant) {
        match self {
            Settlement::Tell { .. } => {}
            Settlement::Bury(letter) => letter.lose_link(heard),
        }
    }

    /// Another member may get it at once.
    pub(super) fn give(reply: Subject) -> Self {
        Settlement::tell(reply, GIVEN_BACK)
    }

    /// Returns the parts that remain when its stream was deleted.
    pub(super) fn of_lost_stream(mut self) -> Option<Self> {
        match &mut self {
            Settlement::Tell { .. } => return None,
            Settlement::Bury(letter) => letter.lose_stream(),
        }
        Some(self)
    }

    /// Any member may get it again after a wait.
    fn again(reply: Subject) -> Self {
        let tried = reply.split('.').rev().nth(4).and_then(|n| n.parse().ok());
        let doubled = 1_u32 << tried.unwrap_or(1_u32).min(10);
        let wait = (AGAIN * doubled).min(AGAIN_MOST).as_nanos();
        Settlement::Tell {
            reply,
            what: Bytes::from(format!("-NAK {{\"delay\":{wait}}}")),
        }
    }
}

/// The headers of a dead letter whose message could not be read, and is kept unchanged. The time at
/// which the stream stored it is in the identity: so the stream of dead letters does not mistake a
/// message of a stream that was made again for an earlier one.
pub(super) fn raw_headers(
    message: &async_nats::Message,
    subject: &str,
    group: &str,
    place: &Place<'_>,
) -> HeaderMap {
    let mut headers = message.headers.clone().unwrap_or_default();
    let (position, time) = (place.position, place.time);
    headers.insert(entry::ID, format!("{position}:{time}@{subject}"));
    mark(&mut headers, group, position);
    headers
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
                let payload = held.message.payload().clone();
                let sink = &subscription.sink;
                let claimed = (held.reply, held.claim);
                let letter = Letter::new(sink, member, claimed, subject, headers, payload);
                Settlement::Bury(letter)
            }
            Verdict::Requeued => Settlement::again(held.reply),
            Verdict::Abandoned => {
                self.give_back(id, place, held.reply);
                self.forget_over(id);
                return;
            }
            // An unknown verdict of a later engine counts as handled. Otherwise the message would
            // never be settled.
            _ => Settlement::tell(held.reply, HANDLED),
        };
        self.kept.settled.push(settlement);
        self.ready.insert(id);
        self.forget_over(id);
    }

    /// Sends all outcomes to the server. Those that cannot be sent now are sent over the next
    /// connection.
    pub(super) async fn settle_all(&mut self, wire: &Wire) -> Result<(), LinkError> {
        self.end_over(wire).await?;
        if self.kept.settled.is_empty() {
            return Ok(());
        }
        let mut settled = std::mem::take(&mut self.kept.settled).into_iter();
        while let Some(settlement) = settled.next() {
            let (reply, what) = match settlement {
                Settlement::Tell { reply, what } => (reply, what),
                Settlement::Bury(letter) => match self.bury(wire, letter).await {
                    Some(reply) => (reply, Bytes::from_static(OVER)),
                    None => continue,
                },
            };
            if let Err(error) = tell(wire, &reply, &what).await {
                self.kept.settled.push(Settlement::Tell { reply, what });
                self.kept.settled.extend(settled);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps a dead letter, and returns where to tell that its message is over. If the letter
    /// cannot be kept now, it is put aside, and the message counts as being handled. If it cannot
    /// be kept at all, that is reported, unless the claim has lapsed: then the server gives the
    /// message to a member again, and that member decides what becomes of it.
    async fn bury(&mut self, wire: &Wire, letter: Letter) -> Option<Subject> {
        let began = Instant::now();
        if began >= self.burial {
            match self.keep(wire, &letter).await {
                Ok(()) => return letter.reply,
                Err(SinkError::Link(_)) => {
                    self.has_dead_stream = false;
                    self.burial = Instant::now() + began.elapsed() * BURIAL_PAUSE;
                }
                Err(_) if letter.reply.is_some() && letter.claim.has_lapsed(letter.ack_wait) => {
                    return None;
                }
                Err(error) => {
                    let reason = error.to_string();
                    let is_told = letter.sink.dead_letter_lost(&reason, &letter.payload);
                    // If no observer can learn of it, another member gets the message.
                    return letter.reply.filter(|_| is_told);
                }
            }
        }
        self.kept.unburied.push(letter);
        None
    }

    async fn keep(&mut self, wire: &Wire, letter: &Letter) -> Result<(), SinkError> {
        if !self.has_dead_stream {
            let made = stream::ensure_dead(wire).await;
            made.map_err(ApiFault::opening)?;
            self.has_dead_stream = true;
        }
        let request = Request::new()
            .headers(letter.headers.clone())
            .payload(letter.payload.clone());
        let subject = &letter.subject;
        let answer = wire.request(subject, subject, request).await;
        let answer = answer.map_err(ApiFault::opening)?;
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        match api::error(&answer) {
            Some(error) => Err(ApiFault::Refused(error).opening()),
            None => Ok(()),
        }
    }

    /// Queues the dead letters that were put aside to be sent again.
    pub(super) fn bury_again(&mut self) {
        if Instant::now() >= self.burial {
            let letters = self.kept.unburied.drain(..);
            self.kept.settled.extend(letters.map(Settlement::Bury));
        }
    }

    /// Tells the server which messages are still being handled.
    pub(super) fn tell_progress(&mut self) {
        let mut settled = Vec::new();
        for subscription in self.kept.subscriptions.values_mut() {
            let Some(member) = subscription.member_mut() else {
                continue;
            };
            for held in member.held.values_mut() {
                if held.claim.renew(member.ack_wait) {
                    settled.push(Settlement::tell(held.reply.clone(), AT_WORK));
                }
            }
        }
        for letter in &mut self.kept.unburied {
            if let Some(reply) = &letter.reply
                && letter.claim.renew(letter.ack_wait)
            {
                settled.push(Settlement::tell(reply.clone(), AT_WORK));
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

    use super::super::arriving::place;
    use super::raw_headers;
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
            let reply = format!("$JS.ACK.s.g@k.1.7.1.{time}.0");
            let headers = raw_headers(&message, "p.d.g.k", "g", &place(&reply).unwrap());
            headers.get(entry::ID).unwrap().as_str().to_owned()
        };
        assert_eq!(id(5), "7:5@p.d.g.k");
        assert_ne!(id(5), id(6));
    }
}
