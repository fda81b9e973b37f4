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
/// The header that names the sequence in which a message of a channel with a history has its
/// position. A client that comes back sends the last one in the header of this name of its HTTP
/// request, or as [`PARAM_CHANNEL_EPOCH`].
pub const HEADER_CHANNEL_EPOCH: &str = "X-Channel-Epoch";
/// The header that has the position of a message of a channel with a history, and in
/// [`MESSAGE_JOIN_SUCCESS`] the position before the first message that follows. A client that comes
/// back sends the last one in the header of this name of its HTTP request, or as
/// [`PARAM_CHANNEL_POSITION`].
pub const HEADER_CHANNEL_POSITION: &str = "X-Channel-Position";
/// The header of [`MESSAGE_JOIN_SUCCESS`] that says to a client that comes back how many messages
/// it has missed for good: `0`, a number, or `unknown`.
pub const HEADER_CHANNEL_GAP: &str = "X-Channel-Gap";
/// The parameter of the query that can stand for [`HEADER_CHANNEL_EPOCH`], for clients that cannot
/// set headers.
pub const PARAM_CHANNEL_EPOCH: &str = "channelEpoch";
/// The parameter of the query that can stand for [`HEADER_CHANNEL_POSITION`], for clients that
/// cannot set headers.
pub const PARAM_CHANNEL_POSITION: &str = "channelPosition";
