//! Handlers that wrap other handlers.
//!
//! Retries, backoff and timeouts are options of a subscription
//! ([`attempts`](crate::SubscribeOptions::attempts), [`backoff`](crate::SubscribeOptions::backoff),
//! [`timeout`](crate::SubscribeOptions::timeout)). The handlers here wrap another handler, and can
//! be nested:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use fanfeed_broker::middleware::{DeadLetter, Deduplicate};
//! use fanfeed_broker::{HandlerError, MemoryBroker, Message, Publisher, Subscribe, Subscriber, SubscriberExt};
//!
//! let broker = MemoryBroker::new();
//! let (tx, rx) = crossbeam_channel::unbounded();
//! let _dead = broker.subscribe("orders.dead", move |message, _| Ok(tx.send(message.clone())?))?;
//!
//! let handler = |_: &Message, _: &fanfeed_broker::Context| Err(HandlerError::failed("no stock"));
//! let handler = DeadLetter::new(Arc::new(broker.clone()), "orders.dead", 1, handler);
//! let handler = Deduplicate::new(10_000, Duration::from_secs(60), handler);
//! let _orders = broker.subscribe_with(Subscribe::new("orders", handler))?;
//!
//! broker.publish(Message::new("orders", "42"))?;
//! let dead = rx.recv()?;
//! assert_eq!(dead.payload(), &b"42"[..]);
//! assert_eq!(dead.headers().get("fanfeed-dead-error"), Some("no stock"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dead_letter;
mod deduplicate;

pub use dead_letter::DeadLetter;
pub use deduplicate::Deduplicate;
