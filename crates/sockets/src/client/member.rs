//! A membership, as the client and its tasks share it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::error::{PublishError, PublishFault};
use super::event::LeaveReason;
use super::queue::{Part, Room};
use super::stats::Counters;
use crate::observe::publishing;
use crate::wire::{ErrorMessage, HEADER_CHANNEL_EPOCH, HEADER_CHANNEL_POSITION, Message};

/// What a request waits for.
pub(super) type Answer = Result<Message, Box<ErrorMessage>>;

/// A message on its way to the server.
pub(super) struct Outgoing {
    text: Utf8Bytes,
    /// Told when the message was written; dropped when it will not be.
    written: Option<oneshot::Sender<()>>,
    _part: Part,
    /// To count the message, which is lost if it is dropped.
    counters: Option<Arc<Counters>>,
}

impl Outgoing {
    /// Takes what is to be written, and whom to tell.
    pub(super) fn take(mut self) -> (Utf8Bytes, Option<oneshot::Sender<()>>) {
        if let Some(counters) = self.counters.take() {
            counters.published.add(1);
        }
        (std::mem::take(&mut self.text), self.written.take())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(counters) = self.counters.take() {
            counters.lost.add(1);
        }
    }
}

/// Where a message stands in the history of its channel: what a client that comes back shows to the
/// server.
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
    room: Room,
    counters: Arc<Counters>,
    /// The requests of this connection that wait, by correlation id.
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    /// The place of the last message that had one.
    seen: Mutex<Option<Seen>>,
    /// Cancelled when the program leaves the channel.
    pub(super) leave: CancellationToken,
}

impl Member {
    pub(super) fn new(host: Arc<str>, channel: Arc<str>, core: &Core) -> Self {
        Self {
            host,
            channel,
            phase: watch::Sender::new(Phase::Connected(None)),
            outbox: Mutex::new(None),
            room: Room::new(core.settings.outbox_bytes),
            counters: Arc::clone(&core.counters),
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

    pub(super) fn is_connected(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Connected(_))
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
        let _publishing = publishing(&self.channel, message);
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
        let Some(part) = self.room.try_take(text.len()) else {
            return Err(PublishError::new(PublishFault::Full, message));
        };
        let fault = match outbox.try_reserve() {
            Ok(place) => {
                place.send(self.outgoing(text, None, part));
                return Ok(());
            }
            Err(mpsc::error::TrySendError::Full(())) => PublishFault::Full,
            Err(mpsc::error::TrySendError::Closed(())) => PublishFault::Reconnecting,
        };
        Err(PublishError::new(fault, message))
    }

    fn outgoing(
        &self,
        text: Utf8Bytes,
        written: Option<oneshot::Sender<()>>,
        part: Part,
    ) -> Outgoing {
        Outgoing {
            text,
            written,
            _part: part,
            counters: Some(Arc::clone(&self.counters)),
        }
    }

    /// Waits until the message is written. The connection ends when the server takes nothing for
    /// long, so it never waits without end.
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
        let part = self.room.take(text.len()).await;
        let is_queued = match outbox.reserve().await {
            Ok(place) => {
                place.send(self.outgoing(text, Some(written), part));
                true
            }
            Err(_) => false,
        };
        drop(outbox);
        if is_queued && done.await.is_ok() {
            return Ok(());
        }
        Err(PublishError::new(PublishFault::Lost, message))
    }

    /// Sends a text back as it came, for the cases of Autobahn.
    #[cfg(test)]
    pub(super) async fn echo(&self, text: Utf8Bytes) {
        let part = self.room.take(text.len()).await;
        let outbox = self.outbox.lock().clone();
        // It fails if the connection has just ended.
        if let Ok(place) = outbox.expect("it is connected").reserve().await {
            place.send(self.outgoing(text, None, part));
        }
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
