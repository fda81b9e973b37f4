//! Longer pages: the envelope, and what became of the names of other buses.

#[doc = include_str!("docs/envelope.md")]
pub mod envelope {}

#[doc = include_str!("docs/names.md")]
pub mod names {}
