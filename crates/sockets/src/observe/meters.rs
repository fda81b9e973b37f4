//! The feature `metrics`: gauges and histograms by the facade `metrics`.
//!
//! A server or a client asks the recorder for its metrics once, when it is built. The recorder is
//! the program's code: if it panics, that value is lost.

#[cfg(feature = "metrics")]
mod on {
    use std::time::Instant;

    use metrics::{Unit, describe_gauge, describe_histogram, gauge, histogram};

    use super::super::quietly;

    /// A number that goes up and down.
    pub(crate) struct Gauge(metrics::Gauge);

    impl Gauge {
        pub(crate) fn registered(name: &'static str, text: &'static str) -> Self {
            describe_gauge!(name, text);
            Self(gauge!(name))
        }

        /// Adds one until the returned value is dropped. Neither is done under a lock, as with
        /// [`Counter::add`](super::super::Counter::add).
        pub(crate) fn hold(&self) -> Held {
            quietly(|| self.0.increment(1));
            Held(self.0.clone())
        }
    }

    /// One that a gauge counts.
    pub(crate) struct Held(metrics::Gauge);

    impl Drop for Held {
        fn drop(&mut self) {
            quietly(|| self.0.decrement(1));
        }
    }

    /// Times of calls.
    #[derive(Clone)]
    pub(crate) struct Histogram(metrics::Histogram);

    impl Histogram {
        pub(crate) fn registered(name: &'static str, text: &'static str) -> Self {
            describe_histogram!(name, Unit::Seconds, text);
            Self(histogram!(name))
        }

        /// Records the time until the returned value is dropped.
        pub(crate) fn start(&self) -> Watch {
            Watch {
                histogram: self.0.clone(),
                began: Instant::now(),
            }
        }
    }

    pub(crate) struct Watch {
        histogram: metrics::Histogram,
        began: Instant,
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            quietly(|| self.histogram.record(self.began.elapsed()));
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod off {
    pub(crate) struct Gauge;

    impl Gauge {
        pub(crate) fn registered(_name: &'static str, _text: &'static str) -> Self {
            Self
        }

        pub(crate) fn hold(&self) -> Held {
            Held
        }
    }

    pub(crate) struct Held;

    #[derive(Clone)]
    pub(crate) struct Histogram;

    impl Histogram {
        pub(crate) fn registered(_name: &'static str, _text: &'static str) -> Self {
            Self
        }

        #[cfg(feature = "tracing")]
        pub(crate) fn start(&self) -> Watch {
            Watch
        }
    }

    #[cfg(feature = "tracing")]
    pub(crate) struct Watch;
}

#[cfg(all(not(feature = "metrics"), feature = "tracing"))]
pub(crate) use off::Watch;
#[cfg(not(feature = "metrics"))]
pub(crate) use off::{Gauge, Held, Histogram};
#[cfg(feature = "metrics")]
pub(crate) use on::{Gauge, Held, Histogram, Watch};
