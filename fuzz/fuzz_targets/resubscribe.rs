//! The waits between attempts, against the documented table.

#![no_main]

use fanfeed_fuzz::resubscribe::{Program, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|program: Program| run(program));
