//! The types and headers that the protocol itself uses.

/// The server sends it first to each new member, with the identity of the member as client id.
pub const MESSAGE_JOIN_SUCCESS: &str = "join.success";
/// The server's answer to a member that asked to leave, and what a client sends to ask.
pub const MESSAGE_LEAVE_SUCCESS: &str = "leave.success";
/// A client asks how many connections and channels there are.
pub const MESSAGE_GET_INFO: &str = "get.info";
/// The answer to [`MESSAGE_GET_INFO`].
pub const MESSAGE_INFO: &str = "info";
/// The type of each [`ErrorMessage`](crate::ErrorMessage).
pub const MESSAGE_ERROR: &str = "error";
/// The lifetime of the channel is over; the server closes the connection next.
pub const MESSAGE_CHANNEL_EXPIRED: &str = "channel.expired";
/// The server closed the channel; it closes the connection next.
pub const MESSAGE_CHANNEL_CLOSED: &str = "channel.closed";

/// The header of [`MESSAGE_JOIN_SUCCESS`] that says when the channel expires, in RFC 3339.
pub const HEADER_CHANNEL_EXPIRES: &str = "X-Channel-Expires";
