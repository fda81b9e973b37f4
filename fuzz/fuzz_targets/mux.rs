//! A mux of several types of events, against a model of it.

#![no_main]

use fanfeed_fuzz::mux::{Program, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|program: Program| run(program));
