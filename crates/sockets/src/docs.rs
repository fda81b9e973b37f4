//! Longer pages: what goes over the wire, the names of other libraries, production, and many nodes.

#[doc = include_str!("docs/names.md")]
pub mod names {}

#[cfg(feature = "nodes")]
#[cfg_attr(docsrs, doc(cfg(feature = "nodes")))]
#[doc = include_str!("docs/nodes.md")]
pub mod nodes {}

#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
#[doc = include_str!("docs/production.md")]
pub mod production {}

#[doc = include_str!("docs/wire.md")]
pub mod wire {}
