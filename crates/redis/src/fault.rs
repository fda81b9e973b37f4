//! The faults of an open connection.

use std::fmt;

/// Why a command got no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection is no longer usable: it was closed, the server did not answer in time, or it
    /// sent something that is not an answer.
    Lost(String),
    /// The server refused the command.
    Refused {
        /// The first word, such as `NOGROUP` or `ERR`.
        code: String,
        /// The rest.
        text: String,
    },
}

impl Fault {
    pub(crate) fn confused(what: &str) -> Self {
        Fault::Lost(format!("the server's answer to {what} is not understood"))
    }

    pub(crate) fn is(&self, wanted: &str) -> bool {
        matches!(self, Fault::Refused { code, .. } if code == wanted)
    }

    /// Whether the same command may succeed a moment later without any change on this side.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Fault::Lost(_) => true,
            Fault::Refused { code, .. } => {
                // The server loads its data, became a replica, lost its replicas or its disk, or
                // its cluster is moving. `OOM` is not one of these: memory may never be available
                // again, and members can continue without it.
                matches!(
                    &code[..],
                    "LOADING"
                        | "BUSY"
                        | "TRYAGAIN"
                        | "MASTERDOWN"
                        | "READONLY"
                        | "CLUSTERDOWN"
                        | "MISCONF"
                        | "NOREPLICAS"
                )
            }
        }
    }

    /// Whether the group no longer exists, so that it has no pending entries.
    pub(crate) fn is_vanished(&self) -> bool {
        self.is("NOGROUP") || self.is("WRONGTYPE")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Lost(reason) => f.write_str(reason),
            Fault::Refused { code, text } => write!(f, "{code} {text}{}", advice(code, text)),
        }
    }
}

/// Advice for a refusal where the server gives none.
fn advice(code: &str, text: &str) -> &'static str {
    match code {
        "NOPERM"
            if text.contains("channel")
                || text.contains("publish")
                || text.contains("subscribe") =>
        {
            " (give the user PUBLISH, SUBSCRIBE and UNSUBSCRIBE, and the channels of the prefix)"
        }
        "NOPERM" => {
            " (give the user XADD, XREAD, XREADGROUP, XRANGE, XACK, XGROUP, XINFO, XPENDING, XCLAIM, SET, PEXPIRE, DEL, EXISTS, and the keys of the prefix)"
        }
        "OOM" => " (give the server more memory, or keep fewer entries: `max_entries`)",
        "WRONGTYPE" => " (something else has the name of a stream: choose another prefix)",
        "MISCONF" => " (the server cannot write its data to disk)",
        "NOREPLICAS" => " (the server has fewer replicas than `min-replicas-to-write`)",
        _ if text.starts_with("unknown command") => " (at least Redis 7.0 is needed)",
        _ => "",
    }
}
