//! Handles what the server sends: messages, and the ends of requests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Message, Subject};
use fanfeed_broker::MessageId;

use super::claim::Claim;
use super::settling::{Letter, Settlement, raw_headers};
use super::{Held, Role, Work};
use crate::entry::Origin;
use crate::reading;

/// The contents of a message's acknowledgement subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) consumer: &'a str,
    /// How often it was delivered, including this time.
    delivered: u64,
    /// Its position in the stream.
    pub(super) position: u64,
    /// Its number among the messages that the consumer delivered.
    number: u64,
    /// When the stream stored it, in nanoseconds since 1970.
    pub(super) time: u64,
}

impl Place<'_> {
    fn stored(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_nanos(self.time))
    }

    /// The identity of a message that has none of its own: `STREAM:POSITION:NANOSECONDS`. The time
    /// is part of it because a recreated stream begins again at position 1.
    fn identity(&self, stream: &str) -> MessageId {
        MessageId::parse(&format!("{stream}:{}:{}", self.position, self.time))
    }
}

/// `$JS.ACK.<stream>.<consumer>.<delivered>.<position>.<number>.<time>.<pending>`, or with a domain
/// and an account after `$JS.ACK`, and more at the end.
pub(super) fn place(reply: &str) -> Option<Place<'_>> {
    let parts: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let own = match parts.len() {
        7 => &parts[..],
        9.. => &parts[2..],
        _ => return None,
    };
    Some(Place {
        consumer: own[1],
        delivered: own[2].parse().ok()?,
        position: own[3].parse().ok()?,
        number: own[4].parse().ok()?,
        time: own[5].parse().ok()?,
    })
}

impl Work {
    pub(super) fn arrived(&mut self, id: u64, message: &Message) {
        if let Some(status) = message.status {
            self.request_ended(id, status.as_u16(), message);
            return;
        }
        let Some(reply) = &message.reply else { return };
        let Some(place) = place(reply) else { return };
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            // No subscription of this side takes it. Its consumer may belong to a group.
            self.kept.settled.push(Settlement::give(reply.clone()));
            return;
        };
        if place.consumer != subscription.consumer {
            return;
        }
        subscription.asked = subscription.asked.saturating_sub(1);
        self.ready.insert(id);
        let limit = self.shared.config.max_message;
        let sink = &subscription.sink;
        let stream = self.shared.names.stream();
        let missing = || place.identity(stream);
        match &mut subscription.role {
            Role::Plain(plain) => {
                if place.number != plain.counted + 1 {
                    if place.number > plain.counted {
                        // The library dropped some messages. They are read again.
                        self.stale.insert(id);
                    }
                    return;
                }
                let origin = Origin {
                    key: sink.key(),
                    subject: &subscription.subject,
                    limit,
                    time: place.stored(),
                };
                match reading::read(&origin, message, missing) {
                    Ok(message) => {
                        if sink.deliver(message, place.position, 1).is_err() {
                            self.stale.insert(id);
                            return;
                        }
                    }
                    Err(error) => sink.undecodable(error.to_string(), &message.payload),
                }
                plain.counted += 1;
                plain.position = Some(place.position);
            }
            Role::Member(member) if member.closed => {
                self.give_back(id, place.position, reply.clone());
            }
            Role::Member(_) => self.hand(id, &place, reply, message),
        }
    }

    /// Gives a message to a member, or back to its group.
    fn hand(&mut self, id: u64, place: &Place<'_>, reply: &Subject, message: &Message) {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return;
        };
        let sink = &subscription.sink;
        let Role::Member(member) = &mut subscription.role else {
            return;
        };
        let tag = member.tag(place.position);
        if let Some(held) = member.held.get_mut(&tag) {
            // The server no longer knows that the message is being handled here.
            held.reply = reply.clone();
            held.claim = Claim::new();
            return;
        }
        let limit = self.shared.config.max_message;
        let stream = self.shared.names.stream();
        let missing = || place.identity(stream);
        let origin = Origin {
            key: sink.key(),
            subject: &subscription.subject,
            limit,
            time: place.stored(),
        };
        let read = reading::read(&origin, message, missing);
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                sink.undecodable(error.to_string(), &message.payload);
                let subject = self.shared.names.dead(&member.group, sink.key().as_str());
                let headers = raw_headers(message, &subject, &member.group, place);
                let payload = message.payload.clone();
                let claimed = (reply.clone(), Claim::new());
                let letter = Letter::new(sink, member, claimed, subject, headers, payload);
                self.kept.settled.push(Settlement::Bury(letter));
                return;
            }
        };
        let unseen = &self.kept.unseen;
        let attempt = unseen.attempt(place.consumer, place.position, place.delivered);
        if sink.deliver(read.clone(), tag, attempt).is_err() {
            // It has ended, or its broker is closing.
            self.give_back(id, place.position, reply.clone());
            return;
        }
        let held = Held {
            reply: reply.clone(),
            message: read,
            claim: Claim::new(),
        };
        member.held.insert(tag, held);
    }

    /// Called when the server is done with a request, or cannot serve it.
    fn request_ended(&mut self, id: u64, status: u16, message: &Message) {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return;
        };
        let generation = subscription.generation.to_string();
        if status == 100 || message.subject.rsplit('.').next() != Some(&generation) {
            return;
        }
        let left = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|left| left.as_str().parse().ok());
        subscription.asked = match left {
            Some(left) => subscription.asked.saturating_sub(left),
            None => 0,
        };
        let description = message.description.as_deref().unwrap_or_default();
        let is_gone = description.to_lowercase().contains("consumer deleted");
        match status {
            408 => {
                self.ready.insert(id);
            }
            503 => {
                self.stale.insert(id);
            }
            _ if is_gone => {
                self.stale.insert(id);
            }
            _ => {
                self.later.insert(id);
            }
        }
        self.forget_over(id);
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, place};

    #[test]
    fn the_place_is_read_from_old_and_new_subjects() {
        let expected = Some(Place {
            consumer: "g@k",
            delivered: 2,
            position: 30,
            number: 4,
            time: 1_700_000_000,
        });
        assert_eq!(place("$JS.ACK.s.g@k.2.30.4.1700000000.7"), expected);
        let new = "$JS.ACK.domain.account.s.g@k.2.30.4.1700000000.7.token";
        assert_eq!(place(new), expected);
        assert_eq!(place("$JS.ACK.d.a.s.g@k.2.30.4.1700000000.7"), expected);
        for bad in ["", "_INBOX.x", "$JS.ACK.s.c.1", "$JS.ACK.s.c.x.1.1.1.1"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_stream_that_was_made_again_gives_other_identities() {
        let first = place("$JS.ACK.s.c.1.30.4.1700000000.7").unwrap();
        let again = place("$JS.ACK.s.c.1.30.4.1800000000.7").unwrap();
        assert_eq!(first.identity("s").to_string(), "s:30:1700000000");
        assert_ne!(first.identity("s"), again.identity("s"));
    }
}
