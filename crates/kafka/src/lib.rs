#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod address;
mod client;
mod config;
mod counted;
mod inbound;
mod names;
mod outbound;
mod position;
mod record;
mod refusal;
mod shared;
mod transport;

pub use config::{Config, Mechanism};
pub use fanfeed_broker::driver::Tls;
pub use transport::{BATCH, connect, driver};
