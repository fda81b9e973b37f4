//! A member of a channel.

use std::sync::Arc;

use fanfeed::Subscription;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use super::mailbox::Mailbox;
use super::stats::Counters;
use crate::connection::Connection;

/// What the server and the session of a connection share.
pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) mailbox: Mailbox,
    pub(super) cancel: CancellationToken,
    /// To the feed of the channel, until the member has left.
    pub(super) subscription: Mutex<Option<Subscription>>,
}

impl Member {
    pub(super) fn new(connection: Connection, limits: &Limits, counters: Arc<Counters>) -> Self {
        Self {
            connection,
            mailbox: Mailbox::new(limits, counters),
            cancel: CancellationToken::new(),
            subscription: Mutex::new(None),
        }
    }

    /// Ends the subscription. Called without any lock: it waits for deliveries under way.
    pub(super) fn unsubscribe(&self) {
        let subscription = self.subscription.lock().take();
        drop(subscription);
    }
}
