//! Tools that the tests of several crates share. Nothing here is published.
//!
//! | module | what it has |
//! |---|---|
//! | [`wait`] | waiting for a condition, with a deadline that fails loudly |
//! | [`tally`] | which of `n` numbered messages arrived, how often, and in what order |
//! | [`numbers`] | publishing numbered messages, and handlers that count them |
//! | [`scenario`] | faults that every driver has to survive in the same way |
//! | [`refusal`] | servers that cannot be used, and the errors that drivers report |
//! | [`autobahn`] | the cases of the Autobahn test suite, against a server or a client |
//! | [`counted`] | values that count themselves, wakers that count their wakes |
//! | [`server`] | a server as a child process on a free port, which can be killed and restarted |
//! | [`redis`], [`nats`] | the servers, old and new |
//! | [`kafka`] | a server that speaks Kafka's protocol |
//! | [`proxy`] | a TCP proxy that cuts, delays, stalls and half-closes connections |
//! | [`program`] | programs in Python and JavaScript, and Autobahn's cases |
//! | [`folder`] | a temporary folder |
//! | [`front`] | a TLS front for a server that has no TLS |
//! | [`tls`] | a private certificate authority, and its certificates for servers and clients |
//!
//! A test whose server is not installed fails, and its message says how to install the server. It
//! is never skipped: a skipped test looks like one that passed.

pub mod autobahn;
pub mod counted;
pub mod folder;
pub mod front;
pub mod kafka;
pub mod nats;
pub mod numbers;
pub mod program;
pub mod proxy;
pub mod redis;
pub mod refusal;
pub mod scenario;
pub mod server;
pub mod tally;
pub mod tls;
pub mod wait;

pub use counted::{Counted, CountingWaker, Population};
pub use folder::Folder;
pub use front::TlsFront;
pub use kafka::KafkaServer;
pub use nats::NatsServer;
pub use program::Program;
pub use proxy::{Line, Proxy, Way};
pub use redis::RedisServer;
pub use server::{Release, Server};
pub use tally::Tally;
pub use tls::Authority;
pub use wait::{PATIENCE, wait_for, wait_until, wait_until_within};
