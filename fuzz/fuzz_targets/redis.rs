//! What a Redis server and other writers send: answers, entries, doorbells.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| match bytes.split_first() {
    Some((0, answer)) => fanfeed_redis::fuzzing::answer(answer),
    Some((_, keys)) => fanfeed_redis::fuzzing::ring(keys),
    None => {}
});
