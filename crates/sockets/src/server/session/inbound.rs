//! What a client sent.

use std::sync::Arc;

use tokio::time::Instant;

use super::work::Waiting;
use super::{Leaving, Session};
use crate::observe::shown;
use crate::server::awaits::correlation_id;
use crate::server::close::Close;
use crate::server::event::ServerEvent;
use crate::server::mailbox::Frame;
use crate::server::report;
use crate::wire::{
    DecodeError, Incoming, MESSAGE_GET_INFO, MESSAGE_INFO, MESSAGE_LEAVE_SUCCESS, Message,
    decode_first,
};

/// The body of the answer to `get.info`.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    total_connections: usize,
    total_channels: usize,
}

impl<S> Session<S> {
    pub(super) fn receive(&mut self, data: &[u8]) {
        self.core.counters.received.add(1);
        match decode_first(data) {
            Ok(incoming) => {
                self.malformed = self.malformed.saturating_sub(1);
                self.route(incoming, data.len());
            }
            Err(error) => self.malformed(error),
        }
    }

    fn malformed(&mut self, error: DecodeError) {
        self.core.counters.malformed.add(1);
        self.malformed += 1;
        self.has_answered = true;
        let mut addressed = Message::default();
        self.stamp(&mut addressed);
        let frame = report::malformed(&self.core.settings, &addressed, &error);
        self.reply(frame);
        self.tell(|channel, client| ServerEvent::Malformed {
            channel,
            client,
            error: Arc::new(error),
        });
        if self.malformed > self.core.settings.limits.malformed {
            self.is_reading = false;
            self.member.mailbox.close(Close::MALFORMED);
        }
    }

    /// Writes into a message what the connection is, over what the client claims.
    fn stamp(&self, message: &mut Message) {
        let connection = &self.member.connection;
        let identity = connection.identity();
        if message.client_id() != connection.id() {
            message.set_client_id(connection.id());
        }
        if message.channel_id() != connection.channel() {
            message.set_channel_id(connection.channel());
        }
        if message.user_id() != identity.user_id() {
            message.set_user_id(identity.user_id());
        }
        if message.app_id() != identity.app_id() {
            message.set_app_id(identity.app_id());
        }
    }

    fn route(&mut self, mut incoming: Incoming, size: usize) {
        match &mut incoming {
            Incoming::Message(message) => self.stamp(message),
            Incoming::Error(error) => {
                let connection = &self.member.connection;
                let identity = connection.identity();
                let (user, app) = (identity.user_id(), identity.app_id());
                error.stamp(connection.id(), connection.channel(), user, app);
            }
        }
        let Some(incoming) = self.channel.awaits.answer(incoming) else {
            return;
        };
        let is_answer = self.core.is_question(correlation_id(&incoming));
        let counters = &self.core.counters;
        match incoming {
            Incoming::Message(message) if self.core.settings.routes.contains_key(message.key()) => {
                let waiting = Waiting {
                    message: Arc::new(message),
                    size,
                    _pending: self.core.meters.pending.hold(),
                };
                self.inbox.push(waiting, &self.core.settings.limits);
            }
            _ if is_answer => counters.late_answers.add(1),
            Incoming::Message(message) => self.without_handler(&message),
            // An error is never answered with an error.
            Incoming::Error(_) => counters.unknown.add(1),
        }
    }

    /// Answers what the server knows by itself.
    fn without_handler(&mut self, message: &Message) {
        self.has_answered = true;
        let settings = &self.core.settings;
        match message.key() {
            MESSAGE_GET_INFO if settings.answers_info => {
                let stats = self.core.stats();
                let info = Info {
                    total_connections: stats.connections,
                    total_channels: stats.channels,
                };
                let answer = message.new_from(MESSAGE_INFO).with_body(&info);
                self.reply(answer.expect("numbers are JSON").encode().into());
            }
            MESSAGE_LEAVE_SUCCESS => {
                let answer = message.new_from(MESSAGE_LEAVE_SUCCESS).encode();
                self.is_reading = false;
                self.leaving = Some(Leaving {
                    answer: answer.into(),
                    until: Instant::now() + settings.limits.close_time,
                });
            }
            _ => {
                self.core.counters.unknown.add(1);
                self.tell(|channel, client| ServerEvent::Unhandled {
                    channel,
                    client,
                    key: shown(message.key()),
                });
                if settings.reports_unknown {
                    let frame = report::unknown(settings, message);
                    self.reply(frame);
                }
            }
        }
    }

    /// Tells observers of something that concerns this client.
    pub(super) fn tell(&self, event: impl FnOnce(Arc<str>, Arc<str>) -> ServerEvent) {
        self.core.observers.tell(|| {
            let channel = Arc::clone(&self.channel.id);
            event(channel, Arc::clone(self.member.connection.shared_id()))
        });
    }

    /// Sends a frame to this client. One that is being disconnected gets nothing more.
    pub(super) fn reply(&self, frame: Frame) {
        // What is refused has been counted.
        self.member.mailbox.push(frame);
    }
}
