//! Bursts on one core: one thread sends some values, then drains all readers, and so on.

use std::ops::Range;

use crate::handler::Handler;
use crate::link::{Reads, Sends};
use crate::payload::Payload;
use crate::stream::{Outcome, SENDING_CORE};
use crate::threads::{self, Job};

/// Values that are sent before the readers are drained: fewer than there is room for.
const BURST: u64 = 128;

/// Sends the numbers in bursts, and has every value handled.
pub(crate) fn run<T: Payload>(
    sender: &mut impl Sends<T>,
    readers: &mut impl Reads<T>,
    numbers: Range<u64>,
    handler: impl Handler,
) -> Outcome {
    let mut received = 0;
    let [span] = threads::run([Job::new(SENDING_CORE, || {
        received = burst_by_burst(sender, readers, numbers, handler);
    })]);
    Outcome {
        took: span.length(),
        sending: span.length(),
        received,
        missed: 0,
    }
}

fn burst_by_burst<T: Payload>(
    sender: &mut impl Sends<T>,
    readers: &mut impl Reads<T>,
    numbers: Range<u64>,
    mut handler: impl Handler,
) -> u64 {
    let mut received = 0;
    let mut first = numbers.start;
    while first < numbers.end {
        let end = (first + BURST).min(numbers.end);
        (first..end).for_each(|number| sender.put(T::numbered(number)));
        readers.wait(true);
        for reader in 0..readers.readers() {
            let mut next = first;
            // One look need not show all that is there.
            while next < end {
                let missed = readers.take(reader, |value: &T| {
                    handler.handle(value.number(), next);
                    next += 1;
                });
                assert_eq!(missed, 0, "there was room for all");
            }
            received += next - first;
        }
        first = end;
    }
    received
}
