//! What a handler gets besides the message.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfeed::CancelToken;

#[cfg(feature = "serde")]
use crate::arrived::Arrived;
use crate::dispatch::{Entry, Lane, Member, Parking};
use crate::handler::Handler;
use crate::id::MessageId;
use crate::key::Key;
use crate::message::Message;

/// The context of a call of a handler: the number of the attempt, the subscription, and whether the
/// handler should stop.
pub struct Context {
    /// Marks that the handler is being called. The mark ends with the context.
    entry: Entry,
    attempt: u32,
    /// The message, if the handler has a timeout.
    current: Option<MessageId>,
    token: OnceLock<CancelToken>,
    /// Where the job is parked if this handler continues without its thread.
    parking: OnceLock<Arc<Parking>>,
}

impl Context {
    pub(crate) fn new(entry: Entry) -> Self {
        Self {
            entry,
            attempt: 1,
            current: None,
            token: OnceLock::new(),
            parking: OnceLock::new(),
        }
    }

    fn member(&self) -> &Member {
        self.entry.member()
    }

    pub(crate) fn handler(&self) -> &dyn Handler {
        self.entry.handler()
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        self.member().lane()
    }

    #[inline]
    pub(crate) fn begin(&mut self, message: &Message, attempt: u32) {
        self.attempt = attempt;
        self.current = None;
        if self.member().timeout().is_some() {
            self.current = Some(message.id().clone());
            self.token();
        }
    }

    /// Returns the completion of this message. A handler that continues without its thread has to
    /// finish it.
    #[cfg(feature = "tokio")]
    pub(crate) fn completion(&self) -> crate::dispatch::Completion {
        let parking = self.parking.get_or_init(Arc::default);
        crate::dispatch::Completion::new(Arc::clone(parking))
    }

    pub(crate) fn take_parking(&mut self) -> Option<Arc<Parking>> {
        self.parking.take()
    }

    #[inline]
    pub(crate) fn end(&mut self) {
        if let Some(token) = self.token.take() {
            self.member().drop_token(&token);
        }
    }

    /// How often this message has been given to the handlers of this subscription or group,
    /// including this time. Attempts in other processes count too, if the server counts them.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The key of the subscription.
    pub fn key(&self) -> &Key {
        self.lane().key()
    }

    /// The group that the subscription is a member of.
    pub fn group(&self) -> Option<&str> {
        self.lane().group().map(|group| &**group)
    }

    /// The timeout of the handler, if it has one.
    pub fn timeout(&self) -> Option<Duration> {
        self.member().timeout()
    }

    /// Whether the handler should stop, because it overran its timeout or its subscription ended.
    pub fn is_cancelled(&self) -> bool {
        self.member().is_cancelled() || self.token.get().is_some_and(CancelToken::is_cancelled)
    }

    /// Reports that the message cannot be decoded into the type that the handler takes.
    #[cfg(feature = "serde")]
    pub(crate) fn report_undecodable(&self, error: String, payload: &[u8]) {
        self.lane().hub().emit(crate::event::Event::Undecodable {
            key: self.key().clone(),
            error: error.into(),
            arrived: Arrived::new(payload),
        });
    }

    /// The token of this message, which can be passed to other threads and waited on. It is
    /// cancelled when the handler returns, when the handler overruns its timeout, when the
    /// subscription ends, and at the deadline of [`close`](crate::Broker::close). The publisher's
    /// cancellation and timeouts never cancel it.
    pub fn token(&self) -> CancelToken {
        let make = || self.member().make_token(self.current.clone());
        self.token.get_or_init(make).clone()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("key", self.key())
            .field("group", &self.group())
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
