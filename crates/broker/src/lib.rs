//! Keyed publish and subscribe with consumer groups: one API from one process to a fleet.
//!
//! A [`Message`] is published under a [`Key`]. Each plain subscription of that key gets it, and so
//! does one member of each group. A driver carries the messages, and a URL chooses the driver:
//! [`Drivers`]. `memory:`, the [`MemoryBroker`], is in this crate. The other drivers are separate
//! crates, written with [`driver`].
//!
//! ```
//! use fanfeed_broker::{Broker, Drivers, Message, Publisher, SubscriberExt};
//!
//! let broker = Drivers::new().connect("memory:")?;
//! let (tx, rx) = crossbeam_channel::unbounded();
//! let subscription = broker.subscribe("chat.42", move |message, _context| Ok(tx.send(message.clone())?))?;
//! broker.publish(Message::new("chat.42", "hello").name("MessagePosted"))?;
//! assert_eq!(rx.recv()?.event_name(), Some("MessagePosted"));
//! assert_eq!(subscription.dropped(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to find what
//!
//! | you want | use |
//! |---|---|
//! | to publish | [`Publisher`]: `publish`, `try_publish`, `publish_timeout`, `publish_confirmed`, `flush` |
//! | to subscribe with a closure | [`SubscriberExt`]: `subscribe`, `subscribe_group` |
//! | to subscribe with options | [`Subscriber::subscribe_with`] and [`SubscribeOptions`] |
//! | values instead of bytes | `BrokerExt`, and `JsonHandler` with options or middleware, feature `serde`; `AsyncBrokerExt` and `AsyncJsonHandler`, with `tokio` too |
//! | async code | `AsyncBroker` and `AsyncHandler`, feature `tokio` |
//! | dead letters, deduplication | [`middleware`] |
//! | to see what happens | [`Broker::events`], [`Broker::stats`], [`Broker::health`], a logger in the options |
//! | options next to a URL: logger, pool, queue, timeouts | [`Drivers::connect_with`] and [`driver::EngineOptions`] |
//! | to choose a driver, and to know what it loses | [`docs::choosing`] |
//! | to run it in production | [`docs::production`] |
//! | the names of a `Broadcaster`, or of an event source | [`docs::names`] |
//! | to write a driver | [`docs::writing`], [`driver`], and `conformance` for its tests |
//!
//! [`MemoryBroker`] maps the names of a `Broadcaster`. The names of an event source are the same
//! here: `Publisher`, `Subscriber`, `subscribe_group`, [`namespace`], `unsubscribe`.
//!
//! # Handlers
//!
//! A handler gets a message and a [`Context`] and returns an [`Outcome`]. `Ok` acknowledges the
//! message. A handler that fails or panics is called again, before the messages behind it and after
//! growing waits; after [`attempts`](SubscribeOptions::attempts) calls the message is given up and
//! reported. Handlers run on a pool that grows when they block ([`PoolOptions`]), so that blocked
//! handlers do not delay others until its limit is reached. A handler inherits neither the timeout
//! nor the cancellation of the publisher. If a handler takes longer than its
//! [`timeout`](SubscribeOptions::timeout), its token is cancelled and the overrun is reported, but
//! its thread cannot be stopped.
//!
//! A handler that publishes to its own subscription under [`Overflow::Block`] waits for itself once
//! the buffer is full: use [`try_publish`](Publisher::try_publish) there, or
//! [`publish_timeout`](Publisher::publish_timeout).
//!
//! # Order
//!
//! Messages that one thread publishes under one key reach each plain subscription in that order,
//! and also a group of one member. Several members of a group begin the messages in order, but
//! handle them at the same time. With [`concurrency`](SubscribeOptions::concurrency) above 1, or
//! with [`Redelivery::Requeue`], there is no order.
//!
//! # Trade-offs
//!
//! - The memory driver keeps the messages of a key in a log that its plain subscriptions share. It
//!   keeps the messages of groups, and of subscriptions that fell behind, in queues. It does not
//!   use the channels of a [`Feed`](fanfeed::Feed): a feed takes 0.8 KiB for each key, and its
//!   channels allocate their slots at once. That is more than the kibibyte that an idle
//!   subscription may request here (without its handle and the allocator's overhead).
//! - The table of keys is read without a lock. A publish takes the lock of its key, so publishers
//!   to one key take turns.
//! - The crate has no atomic protocol of its own: shared state is under a lock, behind an
//!   arc-swapped snapshot, or in slots that are filled once. So there is no loom model. Programs
//!   under shuttle (`shuttle-tests/tests/broker.rs`) run its locks in random schedules.
//! - An async handler inside a [`middleware`] occupies a thread of the pool while its task runs.
//!   Elsewhere it occupies none.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arrived;
#[cfg(feature = "tokio")]
mod asynchronous;
mod broker;
mod capabilities;
mod clock;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
mod context;
mod dispatch;
pub mod docs;
pub mod driver;
mod drivers;
mod error;
mod event;
mod handler;
mod headers;
mod id;
#[cfg(feature = "serde")]
mod json;
mod key;
mod memory;
mod message;
pub mod middleware;
mod observe;
mod options;
mod publisher;
mod receipt;
mod stats;
mod subscriber;
mod subscription;
#[cfg(not(fanfeed_shuttle))]
mod sync;
#[cfg(fanfeed_shuttle)]
#[doc(hidden)]
pub mod sync;

pub use arrived::Arrived;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use asynchronous::{AsyncBroker, AsyncHandler};
pub use broker::Broker;
pub use capabilities::{Capabilities, Delivery, WithoutMember};
pub use context::Context;
pub use dispatch::PoolOptions;
pub use driver::Driver;
pub use drivers::Drivers;
pub use error::{
    BadKey, CloseError, ConnectError, FlushError, PublishError, ReadyError, SubscribeError,
};
pub use event::Event;
pub use handler::{Handler, HandlerError, Outcome};
pub use headers::Headers;
pub use id::MessageId;
#[cfg(all(feature = "serde", feature = "tokio"))]
#[cfg_attr(docsrs, doc(cfg(all(feature = "serde", feature = "tokio"))))]
pub use json::{AsyncBrokerExt, AsyncJsonHandler};
#[cfg(feature = "serde")]
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
pub use json::{BrokerExt, JsonHandler, PublishJsonError};
pub use key::{Key, namespace};
pub use memory::{MemoryBroker, MemoryOptions};
pub use message::Message;
pub use options::{Overflow, Redelivery, Start, SubscribeOptions};
pub use publisher::Publisher;
pub use receipt::Receipt;
pub use stats::{BrokerStats, Connection, Health};
pub use subscriber::{Subscribe, Subscriber, SubscriberExt};
pub use subscription::BrokerSubscription;

pub use bytes::Bytes;
pub use fanfeed::CancelToken;

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
