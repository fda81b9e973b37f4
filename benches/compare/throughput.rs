//! Contenders for throughput: deliveries a second, on two cores and on one.

use crate::field::Probe;
use crate::handler::{Checking, Handler};
use crate::link::{Reads, Sends, SendsBatches};
use crate::payload::Payload;
use crate::plan::Plan;
use crate::rounds::Contender;
use crate::sizer::Sizer;
use crate::stream::Outcome;
use crate::{bursts, stream};

/// The columns of a question about a stream.
pub(crate) const STREAM_COLUMNS: &[&str] = &["million deliveries/s", "lost %"];
/// The columns of a question about bursts on one core.
pub(crate) const BURST_COLUMNS: &[&str] = &["million deliveries/s"];

/// Streams, one by one.
pub(crate) struct Stream<H = Checking> {
    pub(crate) plan: Plan,
    pub(crate) name: &'static str,
    pub(crate) waits: &'static str,
    pub(crate) handler: H,
}

impl<T: Payload, H: Handler> Probe<T> for Stream<H> {
    type Taken = Contender;

    fn take<S: Sends<T>, R: Reads<T>>(self, (mut sender, mut readers): (S, R)) -> Contender {
        let handler = self.handler;
        self.streaming(move |first, count| {
            let numbers = first..first + count;
            stream::one_by_one(&mut sender, &mut readers, numbers, handler)
        })
    }
}

impl Stream {
    /// Readers that check.
    pub(crate) fn new(plan: Plan, name: &'static str, waits: &'static str) -> Self {
        Self {
            plan,
            name,
            waits,
            handler: Checking,
        }
    }

    /// Streams, in batches.
    pub(crate) fn take_batches(
        self,
        (mut sender, mut readers): (impl SendsBatches, impl Reads<u64>),
    ) -> Contender {
        self.streaming(move |first, count| {
            stream::in_batches(&mut sender, &mut readers, first..first + count)
        })
    }

    /// Streams in a way of its own, that counts from zero each time.
    pub(crate) fn take_own(self, mut run: impl FnMut(u64) -> Outcome + 'static) -> Contender {
        self.streaming(move |_, count| run(count))
    }
}

impl<H> Stream<H> {
    fn streaming(self, mut run: impl FnMut(u64, u64) -> Outcome + 'static) -> Contender {
        let mut sizer = Sizer::new(self.plan);
        let mut sent = 0;
        Contender::new(self.name, self.waits, move || {
            let outcome = sizer.run(|count| {
                let first = sent;
                sent += count;
                run(first, count)
            });
            let (received, missed) = (outcome.received as f64, outcome.missed as f64);
            vec![
                received / outcome.took.as_secs_f64() / 1e6,
                100.0 * missed / (received + missed),
            ]
        })
    }
}

/// Bursts on one core.
pub(crate) struct Bursts<H = Checking> {
    pub(crate) plan: Plan,
    pub(crate) name: &'static str,
    pub(crate) waits: &'static str,
    pub(crate) handler: H,
}

impl<T: Payload, H: Handler> Probe<T> for Bursts<H> {
    type Taken = Contender;

    fn take<S: Sends<T>, R: Reads<T>>(self, (mut sender, mut readers): (S, R)) -> Contender {
        let mut sizer = Sizer::new(self.plan);
        let mut sent = 0;
        Contender::new(self.name, self.waits, move || {
            let outcome = sizer.run(|count| {
                let first = sent;
                sent += count;
                let numbers = first..first + count;
                bursts::run(&mut sender, &mut readers, numbers, self.handler)
            });
            vec![outcome.received as f64 / outcome.took.as_secs_f64() / 1e6]
        })
    }
}
