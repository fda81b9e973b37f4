//! disruptor with a processor: its own busy-spinning thread calls a closure for each event. The
//! thread uses a whole core while the ring is alive, so each run makes a ring and drops it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use disruptor::{
    BusySpin, ProcessorSettings, SingleConsumerBarrier, SingleProducer, build_single_producer,
};

use super::disruptor::Publisher;
use crate::handler::{Checking, Handler};
use crate::link::{BATCH, CAPACITY, SendsBatches};
use crate::stream::{DRAINING_CORE, Outcome, SENDING_CORE};
use crate::threads::{self, Job};

/// Its producer.
type Sender = Publisher<SingleProducer<u64, SingleConsumerBarrier>>;

/// Sends so many values in batches.
pub(crate) fn in_batches(count: u64) -> Outcome {
    let told = Arc::new(Told::default());
    let mut sender = connect(&told);
    // Its thread has to be up, and the ring to have been touched, before the clock runs.
    let warm = 2 * CAPACITY as u64;
    let mut took = Duration::ZERO;
    threads::run([Job::new(SENDING_CORE, || {
        send(&mut sender, 0..warm);
        told.wait_for(warm);
        let start = Instant::now();
        send(&mut sender, warm..warm + count);
        told.wait_for(warm + count);
        took = start.elapsed();
    })]);
    Outcome {
        took,
        sending: took,
        received: count,
        missed: 0,
    }
}

fn send(sender: &mut Sender, numbers: Range<u64>) {
    let mut at = numbers.start;
    while at < numbers.end {
        let next = (at + BATCH).min(numbers.end);
        sender.put_all(at..next);
        at = next;
    }
}

fn connect(told: &Arc<Told>) -> Sender {
    let mut builder = build_single_producer(CAPACITY, || 0, BusySpin);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(core) = cores.get(DRAINING_CORE) {
        builder = builder.pin_at_core(core.id);
    }
    let told = Arc::clone(told);
    let mut next = 0;
    let builder = builder.handle_events_with(move |number: &u64, _, end_of_batch| {
        Checking.handle(*number, next);
        next += 1;
        if end_of_batch {
            told.tell(next);
        }
    });
    Publisher(builder.build())
}

/// What the processor's thread tells.
#[derive(Default)]
struct Told {
    /// Values that were received, as of the end of the last batch.
    received: AtomicU64,
}

impl Told {
    fn tell(&self, received: u64) {
        // ORDERING: Release pairs with the Acquire load in `wait_for`.
        self.received.store(received, Ordering::Release);
    }

    fn wait_for(&self, received: u64) {
        while self.received.load(Ordering::Acquire) < received {
            std::hint::spin_loop();
        }
    }
}
