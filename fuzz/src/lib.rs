//! What the fuzz targets share: programs of operations, run against the library and against a simple model of it.
//!
//! A target reads a program from the fuzzer's bytes and runs it on one thread. After each operation it compares what
//! the library returned, what its figures say and how many values are alive with what the model says. A difference is a
//! panic that names the operation; to see the whole program, run `cargo +nightly fuzz fmt TARGET ARTIFACT`.

pub mod feed;
pub mod mux;
pub mod resubscribe;
pub mod ring;
pub mod trace;
pub mod value;
