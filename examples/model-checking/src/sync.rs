//! The only module that names threads and atomics. In a model they are loom's, so that loom sees
//! what this crate does with them.

#[cfg(fanfeed_loom)]
pub(crate) use loom::{
    sync::atomic::{AtomicU64, Ordering},
    thread::{JoinHandle, spawn},
};
#[cfg(not(fanfeed_loom))]
pub(crate) use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread::{JoinHandle, spawn},
};
