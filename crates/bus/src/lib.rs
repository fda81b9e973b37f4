//! An event bus: parts of a program react to each other's events without knowing one another.
//!
//! An [`Event`] is dispatched on an [`EventBus`]. Each listener that is registered for its type,
//! for its name, or for all events gets it: synchronous ones on the dispatching thread, in the
//! order in which they were registered; asynchronous ones on a thread of the bus, or as tasks of a
//! tokio runtime. The [`Dispatch`] says when all have returned, and what went wrong.
//!
//! ```
//! use fanfeed_bus::{Context, Event, EventBus, Register};
//!
//! struct OrderPlaced {
//!     order: u64,
//! }
//!
//! impl Event for OrderPlaced {
//!     const NAME: &'static str = "order.placed";
//! }
//!
//! let bus = EventBus::new();
//! let payment = bus.register(|event: &OrderPlaced, _: &Context| match event.order {
//!     0 => Err("no such order".into()),
//!     _ => Ok(()),
//! })?;
//! let mail = Register::event(|_: &OrderPlaced, _: &Context| Ok(())).name("mail").asynchronous();
//! let mail = bus.register_with(mail)?;
//!
//! let dispatch = bus.dispatch(OrderPlaced { order: 0 });
//! assert_eq!(dispatch.errors().len(), 1, "the payment failed, and mail was called all the same");
//! dispatch.wait()?;
//! bus.close()?;
//! # Ok::<(), fanfeed_bus::BusError>(())
//! ```
#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "tokio")]
mod asynchronous;
mod bus;
mod core;
mod dispatch;
#[cfg(feature = "broker")]
#[cfg_attr(docsrs, doc(cfg(feature = "broker")))]
pub mod docs;
mod error;
mod event;
#[cfg(all(fuzzing, feature = "broker"))]
pub mod fuzzing;
mod listener;
mod observe;
mod observer;
mod options;
mod payload;
mod quietly;
mod register;
#[cfg(feature = "broker")]
mod remote;
mod sync;
#[cfg(feature = "tokio")]
mod twins;

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use asynchronous::DispatchFuture;
pub use bus::{EventBus, WeakEventBus};
pub use dispatch::Dispatch;
pub use error::{BusError, EventError, ListenerFailure, Undelivered};
pub use event::{AnyEvent, Event};
pub use fanfeed_broker::Arrived;
pub use listener::{Context, Listener, Outcome};
pub use observer::BusEvent;
pub use options::BusOptions;
pub use payload::{Map, Value};
pub use register::Register;
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use remote::{BusConfig, RedisConfig, Wire};
#[cfg(feature = "broker")]
#[cfg_attr(docsrs, doc(cfg(feature = "broker")))]
pub use remote::{Codec, EventRegistry, GoEvent, GroupOptions, RemoteOptions};

pub use fanfeed::{CancelToken, Subscription};

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
