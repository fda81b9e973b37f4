//! The JSON on the wire, held against texts that were written by hand from the description of the
//! protocol.

mod decoding;
mod fixtures;
mod headers;
mod messages;
mod properties;
mod timestamps;
