//! The feature `metrics`: counters, a gauge and a histogram by the facade `metrics`.
//!
//! A bus asks the recorder for its metrics once, when it is made. The recorder is user code: if it
//! panics, that value is lost.

#[cfg(feature = "metrics")]
mod on {
    use std::time::Instant;

    use metrics::{Counter, Gauge, Histogram, Unit};
    use metrics::{
        counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
    };

    use crate::quietly::quietly;

    pub(crate) struct Meters {
        dispatched: Counter,
        handled: Histogram,
        failed: Counter,
        pending: Gauge,
    }

    impl Meters {
        pub(crate) fn new() -> Self {
            let (dispatched, failed) = ("fanfeed_bus_dispatched_total", "fanfeed_bus_errors_total");
            let handled = "fanfeed_bus_listener_seconds";
            describe_counter!(dispatched, "Events that were dispatched.");
            describe_counter!(failed, "Errors that were reported on the bus.");
            let pending = "fanfeed_bus_pending";
            describe_gauge!(
                pending,
                "Dispatches whose asynchronous listeners have not all returned."
            );
            describe_histogram!(
                handled,
                Unit::Seconds,
                "The time that a call of a listener took."
            );
            Self {
                dispatched: counter!(dispatched),
                handled: histogram!(handled),
                failed: counter!(failed),
                pending: gauge!(pending),
            }
        }

        #[inline]
        pub(crate) fn dispatched(&self) {
            quietly(|| self.dispatched.increment(1));
        }

        #[inline]
        pub(crate) fn handled(&self, watch: Watch) {
            quietly(|| self.handled.record(watch.0.elapsed()));
        }

        pub(crate) fn failed(&self) {
            quietly(|| self.failed.increment(1));
        }

        pub(crate) fn begun(&self) {
            quietly(|| self.pending.increment(1));
        }

        pub(crate) fn ended(&self) {
            quietly(|| self.pending.decrement(1));
        }
    }

    /// When the call of a listener began.
    pub(crate) struct Watch(Instant);

    impl Watch {
        #[inline]
        pub(crate) fn start() -> Self {
            Self(Instant::now())
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod on {
    pub(crate) struct Meters;

    impl Meters {
        pub(crate) fn new() -> Self {
            Self
        }

        #[inline]
        pub(crate) fn dispatched(&self) {}

        #[inline]
        pub(crate) fn handled(&self, _watch: Watch) {}

        pub(crate) fn failed(&self) {}

        pub(crate) fn begun(&self) {}

        pub(crate) fn ended(&self) {}
    }

    pub(crate) struct Watch;

    impl Watch {
        #[inline]
        pub(crate) fn start() -> Self {
            Self
        }
    }
}

pub(crate) use on::{Meters, Watch};
