//! Longer explanations: the internals, what checks them, advice for latency-sensitive threads, the
//! names of other libraries, model-checking your own code, and patterns.

#[doc = include_str!("docs/carriers.md")]
pub mod carriers {}

#[doc = include_str!("docs/internals.md")]
pub mod internals {}

#[doc = include_str!("docs/latency.md")]
pub mod latency {}

#[doc = include_str!("docs/model_checking.md")]
pub mod model_checking {}

#[doc = include_str!("docs/names.md")]
pub mod names {}

#[doc = include_str!("docs/ring.md")]
pub mod ring {}

#[doc = include_str!("docs/select.md")]
pub mod select {}

#[doc = include_str!("docs/trust.md")]
pub mod trust {}

/// The examples of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub mod readme {}

#[cfg(doctest)]
pub mod refusals;
