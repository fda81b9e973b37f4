//! Contenders for throughput: values a second on two cores, nanoseconds a delivery on one.

use crate::field::Probe;
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
pub(crate) const BURST_COLUMNS: &[&str] = &["ns a delivery"];

/// Streams, one by one.
pub(crate) struct Stream {
    pub(crate) plan: Plan,
    pub(crate) name: &'static str,
    pub(crate) waits: &'static str,
}

impl<T: Payload> Probe<T> for Stream {
    type Taken = Contender;

    fn take<S: Sends<T>, R: Reads<T>>(self, (mut sender, mut readers): (S, R)) -> Contender {
        streaming(self, move |first, count| {
            stream::one_by_one(&mut sender, &mut readers, first..first + count)
        })
    }
}

impl Stream {
    /// Streams, in batches.
    pub(crate) fn take_batches(
        self,
        (mut sender, mut readers): (impl SendsBatches, impl Reads<u64>),
    ) -> Contender {
        streaming(self, move |first, count| {
            stream::in_batches(&mut sender, &mut readers, first..first + count)
        })
    }

    /// Streams in a way of its own, that counts from zero each time.
    pub(crate) fn take_own(self, mut run: impl FnMut(u64) -> Outcome + 'static) -> Contender {
        streaming(self, move |_, count| run(count))
    }
}

fn streaming(about: Stream, mut run: impl FnMut(u64, u64) -> Outcome + 'static) -> Contender {
    let mut sizer = Sizer::new(about.plan);
    let mut sent = 0;
    Contender::new(about.name, about.waits, move || {
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

/// Bursts on one core.
pub(crate) struct Bursts {
    pub(crate) plan: Plan,
    pub(crate) name: &'static str,
    pub(crate) waits: &'static str,
}

impl<T: Payload> Probe<T> for Bursts {
    type Taken = Contender;

    fn take<S: Sends<T>, R: Reads<T>>(self, (mut sender, mut readers): (S, R)) -> Contender {
        let mut sizer = Sizer::new(self.plan);
        let mut sent = 0;
        Contender::new(self.name, self.waits, move || {
            let outcome = sizer.run(|count| {
                let first = sent;
                sent += count;
                bursts::run(&mut sender, &mut readers, first..first + count)
            });
            vec![outcome.took.as_nanos() as f64 / outcome.received as f64]
        })
    }
}
