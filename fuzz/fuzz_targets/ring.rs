//! A ring with readers of every kind, against a model of it.

#![no_main]

use fanfeed_fuzz::ring::{Program, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|program: Program| run(program));
