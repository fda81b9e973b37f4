#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod address;
mod bell;
mod command;
mod config;
mod entry;
mod fault;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inbound;
mod names;
mod outbound;
mod pace;
mod position;
mod pubsub;
mod reply;
mod shared;
mod subscription;
mod transport;
mod waiter;
mod wire;

pub use config::{Config, Mode};
pub use fanfeed_broker::driver::Tls;
pub use transport::{connect, driver};
