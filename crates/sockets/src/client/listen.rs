//! The task that calls the listeners of a membership, one message after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::event::ClientEventKind;
use super::member::Member;
use crate::handler::HandlerError;
use crate::middleware::guarded;
use crate::request::Request;
use crate::wire::{ErrorMessage, Message};

/// What the connection hands over.
pub(super) enum Received {
    /// A message, and the token that is cancelled when its connection ends.
    Message(Message, CancellationToken),
    /// An error message that answers no request.
    Error(ErrorMessage),
}

/// Calls listeners until the queue ends, the program leaves the channel, or the client is closed.
pub(super) async fn listen(
    core: Arc<Core>,
    member: Arc<Member>,
    mut inbox: mpsc::Receiver<Received>,
) {
    while let Some(received) = inbox.recv().await {
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
                core.tell(&member, ClientEventKind::ServerError(Arc::new(error)));
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
        let key = message.key().into();
        core.tell(member, ClientEventKind::Unhandled { key });
        return;
    };
    let message = Arc::new(message);
    let channel = Arc::clone(&member.channel);
    let request = Request::with_token(Arc::clone(&message), channel, None, cancel);
    let result = match guarded(&*listener, request).await {
        Ok(None) => return,
        Ok(Some(reply)) => send(core, member, reply).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        let callback = core.program.read().on_error.clone();
        if let Some(callback) = callback {
            quietly(|| callback(&error, &message));
        }
        let key = message.key().into();
        let error = Arc::new(error);
        core.tell(member, ClientEventKind::ListenerFailed { key, error });
    }
}

/// Publishes a listener's reply: on the channel that it names, which is that of the message unless the listener chose another.
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

/// Calls a program's callback. Its panic has been printed by the panic hook, and ends nothing here.
fn quietly(callback: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
        // The value of a panic may itself panic when it is dropped.
        if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            std::mem::forget(second);
        }
    }
}
