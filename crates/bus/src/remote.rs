//! Events between processes: the bus over a broker.
//!
//! The [`Outlet`] is what a bus has besides, if it is over a broker. A dispatch publishes the event
//! through it, and it holds the broker's subscriptions: one for each name that has listeners.
//! [`arrivals`] decodes what comes back.

mod arrivals;
mod bus;
pub(crate) mod codec;
#[cfg(feature = "redis")]
mod config;
mod confirmed;
mod envelope;
mod goevent;
mod groups;
mod options;
mod outlet;
mod publish;
mod registry;
mod seen;
#[cfg(feature = "tokio")]
mod twins;
mod watcher;

pub use codec::Codec;
#[cfg(feature = "redis")]
pub use config::{BusConfig, RedisConfig, Wire};
pub use goevent::GoEvent;
pub use groups::GroupOptions;
pub use options::RemoteOptions;
pub(crate) use outlet::Outlet;
pub(crate) use publish::dispatch;
pub use registry::EventRegistry;
