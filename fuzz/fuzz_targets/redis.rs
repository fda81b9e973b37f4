//! Data that a Redis server and other writers send: answers, entries, doorbells, messages on
//! channels.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(
    |bytes: &[u8]| if let Some((first, rest)) = bytes.split_first() {
        match first % 3 {
            0 => fanfeed_redis::fuzzing::answer(rest),
            1 => fanfeed_redis::fuzzing::ring(rest),
            _ => fanfeed_redis::fuzzing::frame(rest),
        }
    }
);
