//! Why the server closes a connection, and with which code.

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// A close code and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

macro_rules! closes {
    ($($name:ident = $code:literal, $reason:literal;)+) => {
        impl Close {
            $(pub(super) const $name: Self = Self { code: $code, reason: $reason };)+
        }
    };
}

closes! {
    // Go clients leave the channel for good after 1000, and come back after any other code.
    EXPIRED = 1000, "the channel has expired";
    CLOSED = 1000, "the channel was closed";
    LEFT = 1000, "the client has left";
    SHUTDOWN = 1001, "the server is shutting down";
    SILENT = 1001, "no sign of life: answer pings, or send something";
    PROTOCOL = 1002, "a frame breaks the WebSocket protocol";
    NOT_TEXT = 1007, "a text frame is not UTF-8";
    MALFORMED = 1007, "too many malformed messages";
    CHANNEL_ID = 1008, "the channel id is empty or too long";
    ADDRESS = 1008, "too many connections from this address";
    FLOOD = 1008, "too many messages a second";
    FRAGMENTS = 1008, "a message comes in too many fragments";
    UNFINISHED = 1008, "a message took too long to arrive";
    TOO_BIG = 1009, "the message is larger than the server accepts";
    NO_LIFETIME = 1011, "the server could not open the channel";
    FULL = 1013, "the server has too many connections or channels";
    BUSY = 1013, "the hooks of channels are behind: try again later";
    SLOW = 1013, "the client reads too slowly";
}

impl Close {
    pub(super) fn frame(self) -> CloseFrame {
        CloseFrame {
            code: CloseCode::from(self.code),
            reason: self.reason.into(),
        }
    }
}
