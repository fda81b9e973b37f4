//! `fanfeed-redis` over real servers, old and new.

mod common;
mod conformance;
mod delivery;
mod faults;
mod limits;
mod pubsub;
mod refusals;
