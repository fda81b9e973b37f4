//! What applications use of a server, as traits that tests can mock.

use super::Server;
use crate::wire::Message;

/// Sends messages to all members of a channel.
///
/// ```
/// use fanfeed_sockets::{ChannelBroadcaster, Message};
///
/// fn announce(to: &dyn ChannelBroadcaster, price: u32) -> Result<usize, fanfeed_sockets::BodyError> {
///     Ok(to.broadcast("prices", Message::new("price", "", "prices").with_body(&price)?))
/// }
///
/// struct Nobody;
/// impl ChannelBroadcaster for Nobody {
///     fn broadcast(&self, _channel: &str, _message: Message) -> usize { 0 }
/// }
/// assert_eq!(announce(&Nobody, 42)?, 0);
/// # Ok::<(), fanfeed_sockets::BodyError>(())
/// ```
pub trait ChannelBroadcaster: Send + Sync {
    /// Sends a message to all members of a channel, and returns how many it was queued for.
    fn broadcast(&self, channel: &str, message: Message) -> usize;
}

/// Sends messages to single clients.
pub trait DirectBroadcaster: Send + Sync {
    /// Sends a message to one client, and returns whether it was queued.
    fn broadcast_direct(&self, client_id: &str, message: Message) -> bool;
}

impl ChannelBroadcaster for Server {
    fn broadcast(&self, channel: &str, message: Message) -> usize {
        Server::broadcast(self, channel, message)
    }
}

impl DirectBroadcaster for Server {
    fn broadcast_direct(&self, client_id: &str, message: Message) -> bool {
        Server::broadcast_direct(self, client_id, message)
    }
}
