//! How to subscribe.

use std::sync::Arc;
use std::time::Duration;

use crate::error::SubscribeError;

/// What happens to a message that finds the buffer of a subscription full.
///
/// This applies to delivery at most once, where no server keeps the message. With delivery at least
/// once, the driver leaves messages that do not fit on the server, and reads them when there is
/// room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The message is dropped and counted
    /// ([`BrokerSubscription::dropped`](crate::BrokerSubscription::dropped)). A slow subscription
    /// does not delay publishers or other subscriptions.
    #[default]
    Drop,
    /// The publisher waits for room. Only the memory driver can do this; a driver with a server
    /// refuses it.
    Block,
}

/// Where a subscription starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// At messages that are published after the subscription has become live. A group that the
    /// server already knows continues at its position.
    #[default]
    New,
    /// At the oldest message that the server still has. For a driver without old messages this is
    /// [`New`](Self::New).
    Earliest,
    /// After this position, which [`Receipt::position`](crate::Receipt::position) returns.
    After(Arc<str>),
}

/// What a member of a group does with a message whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Redelivery {
    /// The member tries the message again, before the messages behind it. This keeps the order.
    #[default]
    InPlace,
    /// The message goes to the end of the queue, and any member may get it (with Kafka, any in the
    /// same process).
    ///
    /// With delivery at most once, the message counts against the buffer until it is tried again.
    /// With delivery at least once, it goes back at once, and the driver decides when it comes
    /// again: neither [`HandlerError::Retry`](crate::HandlerError::Retry) nor
    /// [`backoff`](SubscribeOptions::backoff) sets the wait. With Redis and Kafka there is no wait,
    /// so ten attempts end within milliseconds. To survive the failure of a database, use
    /// [`InPlace`](Self::InPlace), or wait in the handler.
    Requeue,
}

/// The options of a subscription.
///
/// ```
/// use fanfeed_broker::{Overflow, SubscribeOptions};
///
/// let options = SubscribeOptions::new().buffer(1024).overflow(Overflow::Block).name("audit");
/// ```
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    pub(crate) buffer: usize,
    pub(crate) overflow: Overflow,
    pub(crate) concurrency: usize,
    pub(crate) start: Start,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) attempts: u32,
    pub(crate) backoff: Duration,
    pub(crate) redelivery: Redelivery,
    pub(crate) timeout: Option<Duration>,
}

impl SubscribeOptions {
    /// The largest buffer, in messages.
    pub const LARGEST_BUFFER: usize = 1 << 20;

    /// Buffer 256, overflow [`Drop`](Overflow::Drop), concurrency 1, start [`New`](Start::New), 10
    /// attempts, waits of at most 5 s between them, no timeout.
    pub fn new() -> Self {
        Self {
            buffer: 256,
            overflow: Overflow::Drop,
            concurrency: 1,
            start: Start::New,
            name: None,
            attempts: 10,
            backoff: Duration::from_secs(5),
            redelivery: Redelivery::InPlace,
            timeout: None,
        }
    }

    /// How many messages may wait for the handler, from 1 to
    /// [`LARGEST_BUFFER`](Self::LARGEST_BUFFER). Memory is used only for messages that wait. With
    /// the memory driver, members of a group share one buffer, as large as the largest that a
    /// member asked for.
    #[must_use]
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages;
        self
    }

    /// What happens when the buffer is full.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// How many messages may be handled at the same time. With more than one, their order is lost.
    #[must_use]
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.concurrency = handlers;
        self
    }

    /// Where to start.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// The name, which [`Subscription::name`](fanfeed::Subscription::name) returns.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How often a message is given to the handler before the broker gives the message up, and
    /// reports and counts that. 0 means without limit.
    ///
    /// If a server delivers a message again, the server's count of deliveries is included. That
    /// count also includes deliveries that ended before a handler was called. So with
    /// [`Redelivery::InPlace`] such a message is given up after its second failure in this
    /// subscription at the earliest. With [`Redelivery::Requeue`] there is no other count, so
    /// choose a limit that leaves room for deliveries to members that have left.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The longest wait between attempts. The first wait is a tenth of it, and the waits double
    /// ([`Backoff`](fanfeed::Backoff)). [`Redelivery::Requeue`] does not use it with every driver.
    #[must_use]
    pub fn backoff(mut self, longest: Duration) -> Self {
        self.backoff = longest;
        self
    }

    /// What a group does with a message whose handler failed.
    #[must_use]
    pub fn redelivery(mut self, redelivery: Redelivery) -> Self {
        self.redelivery = redelivery;
        self
    }

    /// How long a handler may take. After that time its token is cancelled and the overrun is
    /// reported. The thread of a synchronous handler cannot be stopped: the handler has to check
    /// its token.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn check(&self) -> Result<(), SubscribeError> {
        if !(1..=Self::LARGEST_BUFFER).contains(&self.buffer) {
            return Err(SubscribeError::BadOption(
                format!(
                    "the buffer is {}, and it has to be from 1 to {}",
                    self.buffer,
                    Self::LARGEST_BUFFER
                )
                .into(),
            ));
        }
        if self.concurrency == 0 {
            return Err(SubscribeError::BadOption(
                "the concurrency is 0, and it has to be at least 1".into(),
            ));
        }
        Ok(())
    }
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self::new()
    }
}
