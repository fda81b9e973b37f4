//! Longer pages.

#[cfg(feature = "nodes")]
#[cfg_attr(docsrs, doc(cfg(feature = "nodes")))]
#[doc = include_str!("docs/nodes.md")]
pub mod nodes {}
