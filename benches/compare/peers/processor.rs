//! disruptor with a processor: its own busy-spinning thread calls a closure for each event. The thread burns its core for
//! as long as the ring lives, so that a ring is made for each run and dropped after it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use disruptor::{
    BusySpin, ProcessorSettings, SingleConsumerBarrier, SingleProducer, build_single_producer,
};
use fanfeed_benches::pin;

use super::disruptor::Publisher;
use crate::link::{BATCH, CAPACITY, Sends, SendsBatches};
use crate::stream::{DRAINING_CORE, Outcome, SENDING_CORE};

/// Its producer.
type Sender = Publisher<SingleProducer<u64, SingleConsumerBarrier>>;

/// Sends so many values one by one.
pub(crate) fn one_by_one(count: u64) -> Outcome {
    run(count, |sender, numbers| {
        numbers.for_each(|number| sender.put(number));
    })
}

/// Sends so many values in batches.
pub(crate) fn in_batches(count: u64) -> Outcome {
    run(count, |sender, numbers| {
        let mut at = numbers.start;
        while at < numbers.end {
            let next = (at + BATCH).min(numbers.end);
            sender.put_all(at..next);
            at = next;
        }
    })
}

fn run(count: u64, send: impl Fn(&mut Sender, Range<u64>) + Sync) -> Outcome {
    let told = Arc::new(Told::default());
    let mut sender = connect(&told);
    let took = std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            pin::to_core(SENDING_CORE);
            // Its thread has to be up, and the ring to have been touched, before the clock runs.
            let warm = 2 * CAPACITY as u64;
            send(&mut sender, 0..warm);
            told.wait_for(warm);
            let start = Instant::now();
            send(&mut sender, warm..warm + count);
            told.wait_for(warm + count);
            start.elapsed()
        });
        sending.join().expect("the sender does not panic")
    });
    let wrong = told.wrong.load(Ordering::Acquire);
    assert_eq!(wrong, 0, "a value was lost, doubled or out of order");
    Outcome {
        took,
        sending: took,
        received: count,
        missed: 0,
    }
}

fn connect(told: &Arc<Told>) -> Sender {
    let mut builder = build_single_producer(CAPACITY, || 0, BusySpin);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.get(DRAINING_CORE) {
        builder = builder.pin_at_core(core.id);
    }
    let told = Arc::clone(told);
    let (mut next, mut wrong) = (0, 0);
    let builder = builder.handle_events_with(move |number: &u64, _, end_of_batch| {
        wrong |= number ^ next;
        next += 1;
        if end_of_batch {
            told.tell(next, wrong);
        }
    });
    Publisher(builder.build())
}

/// What the processor's thread tells.
#[derive(Default)]
struct Told {
    /// Values that were received, as of the end of the last batch.
    received: AtomicU64,
    /// Not zero if one was not the next.
    wrong: AtomicU64,
}

impl Told {
    fn tell(&self, received: u64, wrong: u64) {
        self.wrong.store(wrong, Ordering::Relaxed);
        // ORDERING: Release, with the Acquire in `wait_for`: who sees the count sees what was wrong before it.
        self.received.store(received, Ordering::Release);
    }

    fn wait_for(&self, received: u64) {
        while self.received.load(Ordering::Acquire) < received {
            std::hint::spin_loop();
        }
    }
}
