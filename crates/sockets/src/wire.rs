//! What goes over a connection: messages, error messages, and their JSON.
//!
//! The children from the bottom up: `text` escapes, `time` has timestamps, `id` makes identities,
//! `headers` and `body` are parts of a message, `message` and `error_message` have what is sent,
//! `decode` reads it.

mod body;
mod decode;
mod error_message;
mod headers;
mod id;
mod known;
mod lossy;
mod message;
mod text;
mod time;

pub use body::BodyError;
pub use decode::{DecodeError, Incoming, decode, decode_first};
pub use error_message::{ErrorDetail, ErrorMessage};
pub use headers::Headers;
pub use id::unique_id;
pub use known::{
    HEADER_CHANNEL_EPOCH, HEADER_CHANNEL_EXPIRES, HEADER_CHANNEL_GAP, HEADER_CHANNEL_POSITION,
    MESSAGE_CHANNEL_CLOSED, MESSAGE_CHANNEL_EXPIRED, MESSAGE_ERROR, MESSAGE_GET_INFO, MESSAGE_INFO,
    MESSAGE_JOIN_SUCCESS, MESSAGE_LEAVE_SUCCESS, PARAM_CHANNEL_EPOCH, PARAM_CHANNEL_POSITION,
};
pub use message::Message;
pub use time::{ParseTimestampError, Timestamp};
