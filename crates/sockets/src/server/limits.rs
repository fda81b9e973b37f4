//! What a server allows.

use std::time::Duration;

/// What happens to a member whose queue is full, because it reads more slowly than the channel
/// sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowMembers {
    /// The member is disconnected with the close code 1013, "try again later". What was queued is
    /// dropped and counted.
    #[default]
    Close,
    /// The new message is dropped for this member, and counted. What
    /// [`broadcast`](crate::Server::broadcast) returns includes such members.
    DropNewest,
    /// The oldest queued messages are dropped for this member, and counted.
    DropOldest,
}

/// Limits of a server. Each one has a default that can meet the internet.
///
/// A limit that is exceeded before the upgrade gives an HTTP status; after it, a close frame with a
/// code and a reason.
///
/// | limit | default | status | close code |
/// |---|---|---|---|
/// | [`message_size`](Self::message_size) | 64 KiB | | 1009 |
/// | [`header_count`](Self::header_count), [`header_size`](Self::header_size) | 64, 16 KiB | 431 | |
/// | [`handshake_time`](Self::handshake_time) | 10 s | TCP close, or 503 | |
/// | [`handshakes`](Self::handshakes) (of `serve`) | 1,024 | TCP close | |
/// | [`connections`](Self::connections) | 10,000 | 503 | 1013 |
/// | [`connections_per_address`](Self::connections_per_address) | 100 | 429 | 1008 |
/// | [`channels`](Self::channels) | 10,000 | 503 | 1013 |
/// | [`channel_id_size`](Self::channel_id_size) | 256 bytes | 400 | 1008 |
/// | [`message_rate`](Self::message_rate), [`message_burst`](Self::message_burst) | 500/s, 1,000 | | 1008 |
/// | [`malformed`](Self::malformed) | 10 | | 1007 |
/// | [`queue_frames`](Self::queue_frames), [`queue_bytes`](Self::queue_bytes) | 4,096, 1 MiB | | 1013, see [`SlowMembers`] |
/// | [`write_time`](Self::write_time) | 30 s | | TCP close |
/// | [`close_time`](Self::close_time) | 5 s | | TCP close |
/// | [`idle_time`](Self::idle_time) | 60 s | | 1001 |
/// | [`message_time`](Self::message_time) | 120 s | | 1008 |
/// | [`inbox`](Self::inbox) | 64, 256 KiB | | none: TCP backpressure 64 KiB later |
///
/// ```
/// use fanfeed_sockets::Limits;
///
/// let limits = Limits::default().message_size(16 * 1024).connections_per_address(20);
/// assert_eq!(limits.get_message_size(), 16 * 1024);
/// ```
#[derive(Debug, Clone)]
pub struct Limits {
    pub(super) message_size: usize,
    pub(super) header_count: usize,
    pub(super) header_size: usize,
    pub(super) handshake_time: Duration,
    pub(super) handshakes: usize,
    pub(super) connections: usize,
    pub(super) connections_per_address: usize,
    pub(super) channels: usize,
    pub(super) channel_id_size: usize,
    pub(super) message_rate: u32,
    pub(super) message_burst: u32,
    pub(super) malformed: u32,
    pub(super) queue_frames: usize,
    pub(super) queue_bytes: usize,
    pub(super) slow_members: SlowMembers,
    pub(super) write_time: Duration,
    pub(super) idle_time: Duration,
    pub(super) message_time: Duration,
    pub(super) ping_interval: Duration,
    pub(super) inbox: usize,
    pub(super) concurrency: usize,
    pub(super) close_time: Duration,
    pub(super) error_size: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 64 * 1024,
            header_count: 64,
            header_size: 16 * 1024,
            handshake_time: Duration::from_secs(10),
            handshakes: 1024,
            connections: 10_000,
            connections_per_address: 100,
            channels: 10_000,
            channel_id_size: 256,
            message_rate: 500,
            message_burst: 1000,
            malformed: 10,
            queue_frames: 4096,
            queue_bytes: 1024 * 1024,
            slow_members: SlowMembers::Close,
            write_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            message_time: Duration::from_secs(120),
            ping_interval: Duration::from_secs(25),
            inbox: 64,
            concurrency: 1,
            close_time: Duration::from_secs(5),
            error_size: 512,
        }
    }
}

impl Limits {
    /// Makes times finite that the clock could not count (a century is no limit), and sends pings
    /// often enough for a client that only answers them.
    pub(super) fn clamp_times(&mut self) {
        const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        for time in [
            &mut self.handshake_time,
            &mut self.write_time,
            &mut self.idle_time,
            &mut self.message_time,
            &mut self.ping_interval,
            &mut self.close_time,
        ] {
            *time = CENTURY.min(*time);
        }
        // Two pings fit into the time, so that one answer may be late.
        let longest_interval = SHORTEST_INTERVAL.max(self.idle_time * 2 / 5);
        self.ping_interval = longest_interval.min(self.ping_interval);
    }
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident, $get:ident: $type:ty;)+) => {
        impl Limits {
            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }

                #[doc = concat!("What [`", stringify!($name), "`](Self::", stringify!($name), ") is set to.")]
                pub fn $get(&self) -> $type {
                    self.$name
                }
            )+
        }
    };
}

limits! {
    /// Bytes of one message from a client, over all its fragments. With the framing of its
    /// fragments, it may take twice as many and 64 KiB; a message that takes more closes the
    /// connection with 1008.
    message_size, get_message_size: usize;
    /// HTTP headers of a handshake.
    header_count, get_header_count: usize;
    /// Bytes of the HTTP headers of a handshake, with the request line. At least 8 KiB.
    header_size, get_header_size: usize;
    /// How long a client may take for its handshake, and `authorize` for its answer.
    handshake_time, get_handshake_time: Duration;
    /// TCP connections that have not finished their handshake, on a server that listens by itself
    /// (`serve`). Of one address, at most
    /// [`connections_per_address`](Self::connections_per_address), unless it is a trusted proxy.
    /// Connections to other routes of the application count, too.
    handshakes, get_handshakes: usize;
    /// Connections in all.
    connections, get_connections: usize;
    /// Connections from one address, where the address is known. The addresses of an IPv6 network
    /// of 64 bits count as one.
    connections_per_address, get_connections_per_address: usize;
    /// Channels that have members. Where hooks are slow, no client opens another channel while the
    /// hooks of more channels than this wait or run, channels that have ended included.
    channels, get_channels: usize;
    /// Bytes of a channel's id.
    channel_id_size, get_channel_id_size: usize;
    /// Messages, pings and pongs a second from one client, in the long run.
    message_rate, get_message_rate: u32;
    /// Messages, pings and pongs that a client may send at once.
    message_burst, get_message_burst: u32;
    /// How many malformed messages a connection survives. Each well-formed message makes up for
    /// one.
    malformed, get_malformed: u32;
    /// Messages that are queued for a member.
    queue_frames, get_queue_frames: usize;
    /// Bytes that are queued for a member. A single message may be larger.
    queue_bytes, get_queue_bytes: usize;
    /// What happens to a member whose queue is full.
    slow_members, get_slow_members: SlowMembers;
    /// How long a write to a client may make no progress. Of `serve`, also one of an HTTP response.
    write_time, get_write_time: Duration;
    /// How long a client may be silent. Anything that arrives is a sign of life: a message, a part
    /// of one, a ping or a pong. (Parts cannot be seen on a socket of axum's, which
    /// [`serve_socket`](crate::Server::serve_socket) takes.) The server sends pings at least every
    /// two fifths of this time, whatever `ping_interval` is. If the server itself is delayed for
    /// more than an eighth of this time, or of `message_time` where that is less, and for at least
    /// 50 ms, both times start again: its runtime may be blocked, for example.
    idle_time, get_idle_time: Duration;
    /// How long a message may take to arrive, from its first byte to its last. Its parts are signs
    /// of life, so this is what ends a client that sends a byte now and then.
    ///
    /// It does not bound everything:
    /// - A ping or a pong between two parts is taken for 131 bytes, the most that it can have. If
    ///   no more than that has arrived of the message, the time starts again. A client that sends
    ///   its parts among pings is bounded by `message_size` and `message_rate` alone.
    /// - The time starts again when the server had stopped reading because the client's
    ///   [`inbox`](Self::inbox) was full, or was itself delayed (see
    ///   [`idle_time`](Self::idle_time)).
    /// - On a socket of axum's, which [`serve_socket`](crate::Server::serve_socket) takes, parts
    ///   cannot be seen: there it has no effect, and a client that sends only parts is ended by
    ///   [`idle_time`](Self::idle_time).
    message_time, get_message_time: Duration;
    /// The time between pings. With each ping goes an unsolicited pong, which keeps Go clients
    /// alive; so it should be well under 60 s.
    ping_interval, get_ping_interval: Duration;
    /// Messages of one client that wait for their handler. The inbox is full when it has so many,
    /// or 256 KiB, or a [`message_size`](Self::message_size) where that is more.
    ///
    /// Past a full inbox, the server reads 64 KiB more, in which a message counts 512 bytes at
    /// least: so it sees pings, answers to questions and a close frame that come behind the
    /// messages. Then it stops reading from that client until there is room. Meanwhile the client
    /// is not taken for silent, and gets a pong with each ping of the server, but its own pings and
    /// answers wait. The inbox, and what is read past it, may each be exceeded by one message: by
    /// default the messages of a client take up to 448 KiB.
    inbox, get_inbox: usize;
    /// Messages of one client that are handled at the same time. With 1, they are handled in order.
    concurrency, get_concurrency: usize;
    /// How long a close handshake may take, how long the messages of a client are handled after its
    /// connection has ended, and how long a client that asked to leave waits for the answers to its
    /// messages. The messages of one client share this time. Those that are left after it are
    /// dropped, counted ([`abandoned`](crate::ServerStats::abandoned)) and told
    /// ([`ServerEvent::Abandoned`](crate::ServerEvent::Abandoned)).
    close_time, get_close_time: Duration;
    /// Bytes of an error message, including its newline. A larger one is sent without the body of
    /// the message that failed. Go clients accept 512 bytes by default.
    error_size, get_error_size: usize;
}
