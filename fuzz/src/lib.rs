//! Shared by the fuzz targets: programs of operations, which run on the library and on a simple
//! model of it.
//!
//! A target reads a program from the fuzzer's bytes and runs it on one thread. After each operation
//! it compares the library's result, its figures and the number of live values with the model. A
//! difference is a panic that names the operation. To see the whole program, run `cargo +nightly
//! fuzz fmt TARGET ARTIFACT`.

pub mod feed;
pub mod mux;
pub mod resubscribe;
pub mod ring;
pub mod trace;
pub mod value;
