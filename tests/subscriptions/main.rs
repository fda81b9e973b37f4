//! Subscriptions that no feed or ring makes: producers, sources, scopes, joined subscriptions and
//! retries.

#[cfg(target_os = "linux")]
#[path = "../common/child.rs"]
mod child;
#[path = "../deadline/mod.rs"]
mod deadline;

mod backoff;
mod handle;
mod join;
mod resubscribe;
mod scope;
mod source;
mod spawn;
