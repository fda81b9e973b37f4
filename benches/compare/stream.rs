//! A stream on two cores: one thread sends at full speed, another drains all readers and checks
//! every value.

use std::ops::Range;
use std::time::Duration;

use crate::handler::{Checking, Handler};
use crate::link::{BATCH, Reads, Sends, SendsBatches};
use crate::payload::Payload;
use crate::threads::{self, Job};

/// The core of the sending thread.
pub(crate) const SENDING_CORE: usize = 0;
/// The core of the thread that drains.
pub(crate) const DRAINING_CORE: usize = 1;

/// What came of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// From the first send until every reader had the last value.
    pub(crate) took: Duration,
    /// How much of that went by until the last send was done.
    pub(crate) sending: Duration,
    /// Values received, by all readers together.
    pub(crate) received: u64,
    /// Values missed, by all readers together.
    pub(crate) missed: u64,
}

/// Sends the numbers one by one.
pub(crate) fn one_by_one<T: Payload>(
    sender: &mut impl Sends<T>,
    readers: &mut impl Reads<T>,
    numbers: Range<u64>,
    handler: impl Handler,
) -> Outcome {
    let sending = numbers.clone();
    let send = || sending.for_each(|number| sender.put(T::numbered(number)));
    run(send, readers, numbers, handler, || {})
}

/// Sends the numbers in batches.
pub(crate) fn in_batches(
    sender: &mut impl SendsBatches,
    readers: &mut impl Reads<u64>,
    numbers: Range<u64>,
) -> Outcome {
    let (mut at, end) = (numbers.start, numbers.end);
    let send = || {
        while at < end {
            let next = (at + BATCH).min(end);
            sender.put_all(at..next);
            at = next;
        }
    };
    run(send, readers, numbers, Checking, || {})
}

/// Sends as `send` does, and drains; `between` is called whenever all readers have been looked at
/// once.
pub(crate) fn run<T: Payload>(
    send: impl FnOnce() + Send,
    readers: &mut impl Reads<T>,
    numbers: Range<u64>,
    handler: impl Handler,
    between: impl FnMut() + Send,
) -> Outcome {
    let mut counts = (0, 0);
    let [sending, draining] = threads::run([
        Job::new(SENDING_CORE, send),
        Job::new(DRAINING_CORE, || {
            counts = drain(readers, numbers, handler, between);
        }),
    ]);
    let (received, missed) = counts;
    Outcome {
        took: draining.ended - sending.begun,
        sending: sending.length(),
        received,
        missed,
    }
}

/// Drains until every reader has received or missed all of the numbers.
fn drain<T: Payload>(
    readers: &mut impl Reads<T>,
    numbers: Range<u64>,
    mut handler: impl Handler,
    mut between: impl FnMut(),
) -> (u64, u64) {
    let mut expected = vec![numbers.start; readers.readers()];
    let due = (numbers.end - numbers.start) * expected.len() as u64;
    let (mut received, mut missed, mut found) = (0, 0, false);
    while received + missed < due {
        readers.wait(found);
        let before = received + missed;
        for (reader, expected) in expected.iter_mut().enumerate() {
            let mut next = *expected;
            let lost = readers.take_due(reader, numbers.end - next, |value: &T| {
                handler.handle(value.number(), next);
                next += 1;
            });
            received += next - *expected;
            missed += lost;
            *expected = next + lost;
        }
        found = received + missed != before;
        between();
    }
    assert_eq!(received + missed, due, "values came that nobody sent");
    (received, missed)
}
