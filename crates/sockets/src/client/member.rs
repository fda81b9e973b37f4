//! A membership, as the client and its tasks share it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::error::{PublishError, PublishFault};
use super::event::LeaveReason;
use crate::wire::{ErrorMessage, HEADER_CHANNEL_EPOCH, HEADER_CHANNEL_POSITION, Message};

/// What a request waits for.
pub(super) type Answer = Result<Message, Box<ErrorMessage>>;

/// A message on its way to the server.
pub(super) struct Outgoing {
    pub(super) text: Utf8Bytes,
    /// Told when the message was written; dropped when it will not be.
    pub(super) written: Option<oneshot::Sender<()>>,
}

/// Where a message stands in the history of its channel: what a client that comes back shows to the server.
#[derive(Clone)]
pub(super) struct Seen {
    epoch: HeaderValue,
    position: u64,
}

impl Seen {
    /// `None` for a message without a place, or with one that a server would refuse.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let position = message.header(HEADER_CHANNEL_POSITION)?.parse().ok()?;
        let epoch = HeaderValue::from_str(message.header(HEADER_CHANNEL_EPOCH)?).ok()?;
        Some(Self { epoch, position })
    }

    pub(super) fn headers(self) -> [(&'static str, HeaderValue); 2] {
        [
            (HEADER_CHANNEL_EPOCH, self.epoch),
            (HEADER_CHANNEL_POSITION, self.position.into()),
        ]
    }
}

/// Where a membership stands.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// Connected. The id is that of the last `join.success`, if one came over this connection.
    Connected(Option<Arc<str>>),
    Reconnecting,
    Over(LeaveReason),
}

pub(super) struct Member {
    pub(super) host: Arc<str>,
    pub(super) channel: Arc<str>,
    phase: watch::Sender<Phase>,
    /// The queue of the connection, while there is one.
    outbox: Mutex<Option<mpsc::Sender<Outgoing>>>,
    /// The requests of this connection that wait, by correlation id.
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    /// The place of the last message that had one.
    seen: Mutex<Option<Seen>>,
    /// Cancelled when the program leaves the channel.
    pub(super) leave: CancellationToken,
}

impl Member {
    pub(super) fn new(host: Arc<str>, channel: Arc<str>) -> Self {
        Self {
            host,
            channel,
            phase: watch::Sender::new(Phase::Connected(None)),
            outbox: Mutex::new(None),
            waiting: Mutex::default(),
            seen: Mutex::default(),
            leave: CancellationToken::new(),
        }
    }

    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen.lock().clone()
    }

    pub(super) fn set_seen(&self, seen: Seen) {
        *self.seen.lock() = Some(seen);
    }

    pub(super) fn client_id(&self) -> Option<Arc<str>> {
        match &*self.phase.borrow() {
            Phase::Connected(client_id) => client_id.clone(),
            Phase::Reconnecting | Phase::Over(_) => None,
        }
    }

    pub(super) fn set_client_id(&self, id: Arc<str>) {
        self.phase.send_replace(Phase::Connected(Some(id)));
    }

    /// Begins a connection, and returns its queue of messages to write.
    pub(super) fn connect(&self, capacity: usize) -> mpsc::Receiver<Outgoing> {
        let (outbox, queue) = mpsc::channel(capacity);
        *self.outbox.lock() = Some(outbox);
        self.phase.send_replace(Phase::Connected(None));
        queue
    }

    /// Ends a connection: messages have nowhere to go, and requests get no answer.
    pub(super) fn disconnect(&self) {
        let outbox = self.outbox.lock().take();
        self.phase.send_modify(|phase| {
            if let Phase::Connected(_) = phase {
                *phase = Phase::Reconnecting;
            }
        });
        let waiting = std::mem::take(&mut *self.waiting.lock());
        drop((outbox, waiting));
    }

    /// Ends the membership.
    pub(super) fn end(&self, reason: LeaveReason) {
        self.disconnect();
        self.phase.send_replace(Phase::Over(reason));
    }

    /// Writes a message for this channel.
    fn prepare(
        &self,
        message: &mut Message,
        limit: usize,
    ) -> Result<(Utf8Bytes, mpsc::Sender<Outgoing>), PublishFault> {
        if message.key().is_empty() {
            return Err(PublishFault::NoKey);
        }
        let outbox = self.outbox.lock().clone();
        let outbox = outbox.ok_or_else(|| match &*self.phase.borrow() {
            Phase::Over(_) => PublishFault::NotJoined,
            Phase::Connected(_) | Phase::Reconnecting => PublishFault::Reconnecting,
        })?;
        message.set_channel_id(&*self.channel);
        message.set_client_id(self.client_id().as_deref().unwrap_or_default());
        let text = message.encode();
        if text.len() > limit {
            let size = text.len();
            return Err(PublishFault::TooLarge { size, limit });
        }
        Ok((text.into(), outbox))
    }

    /// Puts a message into the queue, if that has room.
    pub(super) fn try_publish(
        &self,
        mut message: Message,
        limit: usize,
    ) -> Result<(), PublishError> {
        let (text, outbox) = match self.prepare(&mut message, limit) {
            Ok(prepared) => prepared,
            Err(fault) => return Err(PublishError::new(fault, message)),
        };
        let written = None;
        outbox
            .try_send(Outgoing { text, written })
            .map_err(|error| {
                let fault = match error {
                    mpsc::error::TrySendError::Full(_) => PublishFault::Full,
                    mpsc::error::TrySendError::Closed(_) => PublishFault::Reconnecting,
                };
                PublishError::new(fault, message)
            })
    }

    /// Waits until the message is written. The connection ends when the server takes nothing for long, so it never
    /// waits without end.
    pub(super) async fn publish(
        &self,
        mut message: Message,
        limit: usize,
    ) -> Result<(), PublishError> {
        let (text, outbox) = match self.prepare(&mut message, limit) {
            Ok(prepared) => prepared,
            Err(fault) => return Err(PublishError::new(fault, message)),
        };
        let (written, done) = oneshot::channel();
        let written = Some(written);
        let sent = outbox.send(Outgoing { text, written }).await;
        drop(outbox);
        if sent.is_ok() && done.await.is_ok() {
            return Ok(());
        }
        Err(PublishError::new(PublishFault::Lost, message))
    }

    /// Registers a request. `None` if another one with this id waits.
    pub(super) fn expect_answer(self: &Arc<Self>, id: &str) -> Option<Expected> {
        let (sender, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.contains_key(id) {
                return None;
            }
            waiting.insert(id.to_owned(), sender);
        }
        let (member, id) = (Arc::clone(self), id.to_owned());
        Some(Expected { member, id, answer })
    }

    /// Takes the sender of the request that waits for this id.
    pub(super) fn take_waiting(&self, id: &str) -> Option<oneshot::Sender<Answer>> {
        if id.is_empty() {
            return None;
        }
        self.waiting.lock().remove(id)
    }
}

/// A request that waits for its answer. Dropping it takes the request out.
pub(super) struct Expected {
    member: Arc<Member>,
    id: String,
    answer: oneshot::Receiver<Answer>,
}

impl Expected {
    /// `None` if the connection ended.
    pub(super) async fn answer(&mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.answer.close();
        let mut waiting = self.member.waiting.lock();
        // An answer took it out already, and another request may have taken the id since.
        if waiting
            .get(&self.id)
            .is_some_and(oneshot::Sender::is_closed)
        {
            waiting.remove(&self.id);
        }
    }
}
