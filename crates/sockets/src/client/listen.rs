//! The task that calls the listeners of a membership, one message after the other.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::event::ClientEventKind;
use super::member::Member;
use super::queue::{Part, Room};
use crate::handler::HandlerError;
use crate::middleware::guarded;
use crate::observe::{Held, quietly, shown, shown_failure};
use crate::request::Request;
use crate::wire::{ErrorMessage, Message};

/// What the connection hands over.
pub(super) enum Received {
    /// A message, and the token that is cancelled when its connection ends.
    Message(Message, CancellationToken),
    /// An error message that answers no request.
    Error(ErrorMessage),
}

/// What waits for the listeners, its part of the room, and what counts it.
pub(super) struct Inboxed(Received, Part, Held);

/// The queue of a membership to its listeners.
pub(super) struct Inbox {
    sender: mpsc::Sender<Inboxed>,
    room: Room,
    core: Arc<Core>,
}

impl Inbox {
    pub(super) fn new(core: &Arc<Core>) -> (Self, mpsc::Receiver<Inboxed>) {
        let (sender, receiver) = mpsc::channel(core.settings.inbox);
        let room = Room::new(core.settings.inbox_bytes);
        let core = Arc::clone(core);
        (Self { sender, room, core }, receiver)
    }

    fn inboxed(&self, received: Received, part: Part) -> Inboxed {
        Inboxed(received, part, self.core.meters.pending.hold())
    }

    /// Puts in what came, which had this size on the wire, if there is room. Otherwise gives it
    /// back.
    pub(super) fn try_put(&self, received: Received, size: usize) -> Option<Received> {
        let Some(part) = self.room.try_take(size) else {
            return Some(received);
        };
        match self.sender.try_reserve() {
            Ok(place) => place.send(self.inboxed(received, part)),
            Err(mpsc::error::TrySendError::Full(())) => return Some(received),
            // The task of the listeners is gone, so messages have no receiver.
            Err(mpsc::error::TrySendError::Closed(())) => {}
        }
        None
    }

    /// As [`try_put`](Self::try_put), and waits for room.
    pub(super) async fn put(&self, received: Received, size: usize) {
        let part = self.room.take(size).await;
        if let Ok(place) = self.sender.reserve().await {
            place.send(self.inboxed(received, part));
        }
    }
}

/// Calls listeners until the queue ends, the program leaves the channel, or the client is closed.
pub(super) async fn listen(
    core: Arc<Core>,
    member: Arc<Member>,
    mut inbox: mpsc::Receiver<Inboxed>,
) {
    while let Some(Inboxed(received, part, pending)) = inbox.recv().await {
        // It does not wait any more.
        drop((part, pending));
        if member.leave.is_cancelled() || core.closed.is_cancelled() {
            return;
        }
        match received {
            Received::Message(message, cancel) => handle(&core, &member, message, cancel).await,
            Received::Error(error) => {
                let callback = core.program.read().on_server_error.clone();
                if let Some(callback) = callback {
                    quietly(|| callback(&error));
                }
                core.counters.server_errors.add(1);
                let error = Arc::new(error.shown());
                core.tell(&member, ClientEventKind::ServerError(error));
            }
        }
    }
}

async fn handle(
    core: &Arc<Core>,
    member: &Arc<Member>,
    message: Message,
    cancel: CancellationToken,
) {
    let listener = core.program.read().listeners.get(message.key()).cloned();
    let Some(listener) = listener else {
        if core.closed.is_cancelled() {
            // It had one.
            return;
        }
        let key = shown(message.key());
        core.counters.unhandled.add(1);
        core.tell(member, ClientEventKind::Unhandled { key });
        return;
    };
    let message = Arc::new(message);
    let channel = Arc::clone(&member.channel);
    let request = Request::with_token(Arc::clone(&message), channel, None, cancel);
    let result = match guarded(&*listener, request).await {
        Ok(None) => Ok(()),
        Ok(Some(reply)) => send(core, member, reply).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        core.counters.failed.add(1);
        let callback = core.program.read().on_error.clone();
        if let Some(callback) = callback {
            quietly(|| callback(&error, &message));
        }
        let key = shown(message.key());
        core.tell(
            member,
            ClientEventKind::ListenerFailed {
                key,
                error: shown_failure(&error),
            },
        );
        // The application's code.
        quietly(|| drop(error));
    } else {
        core.counters.delivered.add(1);
    }
}

/// Publishes a listener's reply: on the channel that it names, which is that of the message unless
/// the listener chose another.
async fn send(core: &Arc<Core>, member: &Arc<Member>, reply: Message) -> Result<(), HandlerError> {
    let channel = reply.channel_id();
    let limit = core.settings.max_publish;
    let other = if channel.is_empty() || *channel == *member.channel {
        None
    } else {
        match core.member_of(channel) {
            Ok(other) => Some(other),
            Err(fault) => return Err(super::error::PublishError::new(fault, reply).into()),
        }
    };
    let to = other.as_ref().unwrap_or(member);
    Ok(to.publish(reply, limit).await?)
}
