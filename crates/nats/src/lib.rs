#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

mod address;
mod api;
mod config;
mod entry;
mod fault;
mod hearing;
mod link;
mod names;
mod publishing;
mod reading;
mod receiving;
mod shared;
mod signs;
mod stream;
mod transport;

pub use config::{Config, Mode};
pub use fanfeed_broker::driver::Tls;
pub use transport::{BATCH, connect, driver};
