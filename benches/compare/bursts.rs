//! Bursts on one core: one thread sends some values, then drains all readers, and so on.

use std::ops::Range;
use std::time::Instant;

use fanfeed_benches::pin;

use crate::link::{Reads, Sends};
use crate::payload::Payload;
use crate::stream::{Outcome, SENDING_CORE};

/// Values that are sent before the readers are drained: fewer than there is room for.
const BURST: u64 = 128;

/// Sends the numbers in bursts, and checks every value.
pub(crate) fn run<T: Payload>(
    sender: &mut impl Sends<T>,
    readers: &mut impl Reads<T>,
    numbers: Range<u64>,
) -> Outcome {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin::to_core(SENDING_CORE);
            burst_by_burst(sender, readers, numbers)
        });
        thread.join().expect("every value is in its place")
    })
}

fn burst_by_burst<T: Payload>(
    sender: &mut impl Sends<T>,
    readers: &mut impl Reads<T>,
    numbers: Range<u64>,
) -> Outcome {
    let (mut received, mut wrong) = (0, 0);
    let start = Instant::now();
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
                    wrong |= value.number() ^ next;
                    next += 1;
                });
                assert_eq!(missed, 0, "there was room for all");
            }
            received += next - first;
        }
        first = end;
    }
    let took = start.elapsed();
    assert_eq!(wrong, 0, "a value was lost, doubled or out of order");
    Outcome {
        took,
        sending: took,
        received,
        missed: 0,
    }
}
