//! Runs the handlers of a connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Session;
use crate::handler::{Reply, ReplyFuture};
use crate::middleware;
use crate::observe::{Held, shown, shown_failure};
use crate::request::Request;
use crate::server::event::ServerEvent;
use crate::server::limits::Limits;
use crate::server::report;
use crate::server::settings::Audience;
use crate::wire::{Message, Timestamp};

/// A message that is being handled.
pub(super) struct Running {
    future: ReplyFuture,
    message: Arc<Message>,
    audience: Audience,
}

/// A message that waits for its handler.
pub(super) struct Waiting {
    pub(super) message: Arc<Message>,
    /// How long it was on the wire.
    pub(super) size: usize,
    pub(super) _pending: Held,
}

/// Replies that other members have to be sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    frames: usize,
    bytes: usize,
}

impl Load {
    fn add(&mut self, reply: &Message) {
        self.frames += 1;
        self.bytes += reply.encoded_size();
    }
}

/// An inbox holds at least these bytes, if it has room for as many messages.
const LEAST_INBOX_BYTES: usize = 256 * 1024;

/// Bytes of messages that are read past a full inbox. Pings, answers to questions and a close frame
/// among them are seen at once.
const PAST_INBOX_BYTES: usize = 64 * 1024;

/// A message past a full inbox counts at least these bytes, which is about what it takes in memory.
const LEAST_PAST: usize = 512;

/// Messages that wait for their handlers, in order.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// What was read past the full inbox, and moves up when there is room.
    past: VecDeque<Waiting>,
    past_bytes: usize,
}

impl Inbox {
    fn has_room(&self, limits: &Limits) -> bool {
        self.waiting.len() < limits.inbox && self.bytes < LEAST_INBOX_BYTES.max(limits.message_size)
    }

    /// Whether nothing more may be put in.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        !self.has_room(limits) && self.past_bytes >= PAST_INBOX_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.past.len()
    }

    pub(super) fn push(&mut self, waiting: Waiting, limits: &Limits) {
        if self.has_room(limits) {
            self.bytes += waiting.size;
            self.waiting.push_back(waiting);
        } else {
            self.past_bytes += waiting.size.max(LEAST_PAST);
            self.past.push_back(waiting);
        }
    }

    fn pop(&mut self, limits: &Limits) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        self.bytes -= first.size;
        while self.has_room(limits)
            && let Some(next) = self.past.pop_front()
        {
            self.past_bytes -= next.size.max(LEAST_PAST);
            self.bytes += next.size;
            self.waiting.push_back(next);
        }
        Some(first)
    }
}

impl<S> Session<S> {
    /// Whether the other members have to be sent what this poll caused before it causes more.
    pub(super) fn has_caused_enough(&self) -> bool {
        let limits = &self.core.settings.limits;
        self.caused.frames > limits.queue_frames / 4 || self.caused.bytes > limits.queue_bytes / 4
    }

    /// Whether the next message can go to its handler now. While the client does not read its
    /// answers, it gets no new ones.
    pub(super) fn can_start(&self) -> bool {
        !self.inbox.is_empty()
            && self.running.len() < self.core.settings.limits.concurrency
            && self.blocked.is_none()
            && !self.has_caused_enough()
            && !self.member.mailbox.is_filling()
    }

    /// Polls the handlers that run, and starts the next ones. Returns whether one ended or was
    /// started.
    pub(super) fn work(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        let mut at = 0;
        while !self.has_caused_enough()
            && let Some(running) = self.running.get_mut(at)
        {
            match middleware::poll(&mut running.future, cx) {
                Poll::Pending => at += 1,
                Poll::Ready(reply) => {
                    let done = self.running.remove(at);
                    self.deliver(&done.message, done.audience, reply);
                    progress = true;
                }
            }
        }
        while self.can_start()
            && let Some(Waiting { message, .. }) = self.inbox.pop(&self.core.settings.limits)
        {
            self.start(message, cx);
            progress = true;
        }
        progress
    }

    fn start(&mut self, message: Arc<Message>, cx: &mut Context<'_>) {
        if message.expiration().is_some() && message.has_expired(Timestamp::now()) {
            self.core.counters.expired.add(1);
            self.tell(|channel, client| ServerEvent::Expired {
                channel,
                client,
                key: shown(message.key()),
            });
            return;
        }
        let Some(route) = self.core.settings.routes.get(message.key()) else {
            return;
        };
        let audience = route.audience;
        let request = Request::with_token(
            Arc::clone(&message),
            Arc::clone(&self.channel.id),
            Some(self.member.connection.clone()),
            self.member.cancel.clone(),
        );
        let reply = match middleware::start(&*route.handler, request) {
            Err(error) => Err(error),
            Ok(mut future) => match middleware::poll(&mut future, cx) {
                Poll::Ready(reply) => reply,
                Poll::Pending => {
                    self.running.push(Running {
                        future,
                        message,
                        audience,
                    });
                    return;
                }
            },
        };
        self.deliver(&message, audience, reply);
    }

    /// Sends the reply of a handler to its audience.
    fn deliver(&mut self, message: &Message, audience: Audience, reply: Reply) {
        let reply = match reply {
            Ok(None) => return,
            Ok(Some(mut reply)) => {
                if reply.channel_id().is_empty() {
                    reply.set_channel_id(&*self.channel.id);
                }
                reply
            }
            Err(error) => {
                self.core.counters.failed.add(1);
                self.tell(|channel, client| ServerEvent::HandlerFailed {
                    channel,
                    client,
                    key: shown(message.key()),
                    error: shown_failure(&error),
                });
                if let Some(frame) = report::failed(&self.core.settings, message, error) {
                    self.reply(frame);
                }
                return;
            }
        };
        match audience {
            Audience::Sender => {
                let client = reply.client_id();
                if client.is_empty() || client == self.member.connection.id() {
                    self.reply(reply.encode().into());
                } else {
                    self.caused.add(&reply);
                    let client = client.to_owned();
                    if self.core.send_direct(&client, reply).is_none() {
                        self.core.counters.dropped.add(1);
                    }
                }
            }
            Audience::Channel => {
                self.caused.add(&reply);
                if reply.channel_id() == &*self.channel.id {
                    self.core.broadcast_on(&self.channel, reply);
                } else {
                    let channel = reply.channel_id().to_owned();
                    self.core.broadcast(&channel, reply);
                }
            }
        }
    }
}
