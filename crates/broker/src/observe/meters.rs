//! The feature `metrics`: counters, a histogram and gauges by the facade `metrics`.
//!
//! A broker registers its metrics with the recorder once, when it is made. All have the label
//! `driver`. Keys are not labels, because there may be a hundred thousand of them.

#[cfg(feature = "metrics")]
use std::time::Instant;

#[cfg(feature = "metrics")]
use crate::dispatch::quietly;

/// A counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meter {
    Published,
    Confirmed,
    PublishFailed,
    Unrouted,
    Dropped,
    Delivered,
    Redelivered,
    Failed,
    GivenUp,
    DeadLettersLost,
}

#[cfg(feature = "metrics")]
const COUNTERS: [(Meter, &str, &str); 10] = [
    (
        Meter::Published,
        "fanfeed_broker_published_total",
        "Messages that `publish` took.",
    ),
    (
        Meter::Confirmed,
        "fanfeed_broker_confirmed_total",
        "Messages that the server confirmed.",
    ),
    (
        Meter::PublishFailed,
        "fanfeed_broker_publish_failed_total",
        "Messages that failed after `publish` returned.",
    ),
    (
        Meter::Unrouted,
        "fanfeed_broker_unrouted_total",
        "Messages without a subscription.",
    ),
    (
        Meter::Dropped,
        "fanfeed_broker_dropped_total",
        "Deliveries that a full buffer, or a group without members, dropped.",
    ),
    (
        Meter::Delivered,
        "fanfeed_broker_delivered_total",
        "Deliveries that a handler acknowledged.",
    ),
    (
        Meter::Redelivered,
        "fanfeed_broker_redelivered_total",
        "Calls of handlers after a delivery's first.",
    ),
    (
        Meter::Failed,
        "fanfeed_broker_failed_total",
        "Calls of handlers that failed or panicked.",
    ),
    (
        Meter::GivenUp,
        "fanfeed_broker_given_up_total",
        "Deliveries that were rejected or given up.",
    ),
    (
        Meter::DeadLettersLost,
        "fanfeed_broker_dead_letters_lost_total",
        "Messages that were given up or could not be read, and whose dead letter the server refused.",
    ),
];

/// The metrics of a broker. The recorder is user code, and is called where a panic would end a job.
/// So its panics are caught, and the value is lost.
pub(crate) struct Meters {
    #[cfg(feature = "metrics")]
    counters: [metrics::Counter; COUNTERS.len()],
    #[cfg(feature = "metrics")]
    handler: metrics::Histogram,
    #[cfg(feature = "metrics")]
    connected: metrics::Gauge,
    #[cfg(feature = "metrics")]
    pending: metrics::Gauge,
    #[cfg(feature = "metrics")]
    outbound: metrics::Gauge,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

#[cfg(feature = "metrics")]
impl Meters {
    pub(crate) fn new(driver: &'static str) -> Self {
        use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram};
        use metrics::{gauge, histogram};

        for (_, name, text) in COUNTERS {
            describe_counter!(name, text);
        }
        let handler = "fanfeed_broker_handler_seconds";
        describe_histogram!(
            handler,
            Unit::Seconds,
            "The time that a call of a handler took."
        );
        let connected = "fanfeed_broker_connected";
        describe_gauge!(
            connected,
            "1 while there is a connection, or none is needed."
        );
        let pending = "fanfeed_broker_pending";
        describe_gauge!(
            pending,
            "Messages that wait for their handlers, at the last call of `health`."
        );
        let outbound = "fanfeed_broker_outbound";
        describe_gauge!(
            outbound,
            "Messages that wait for the server, at the last call of `health`."
        );
        Self {
            counters: COUNTERS.map(|(_, name, _)| counter!(name, "driver" => driver)),
            handler: histogram!(handler, "driver" => driver),
            connected: gauge!(connected, "driver" => driver),
            pending: gauge!(pending, "driver" => driver),
            outbound: gauge!(outbound, "driver" => driver),
        }
    }

    #[inline]
    pub(crate) fn add(&self, meter: Meter, count: u64) {
        if count > 0 {
            quietly(|| self.counters[meter as usize].increment(count));
        }
    }

    pub(crate) fn set_connected(&self, is_connected: bool) {
        quietly(|| self.connected.set(f64::from(u8::from(is_connected))));
    }

    pub(crate) fn set_waiting(&self, pending: usize, outbound: usize) {
        quietly(|| self.pending.set(pending as f64));
        quietly(|| self.outbound.set(outbound as f64));
    }

    #[inline]
    pub(crate) fn handled(&self, watch: Watch) {
        quietly(|| self.handler.record(watch.0.elapsed()));
    }
}

#[cfg(not(feature = "metrics"))]
impl Meters {
    pub(crate) fn new(_driver: &'static str) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn add(&self, _meter: Meter, _count: u64) {}

    pub(crate) fn set_connected(&self, _is_connected: bool) {}

    pub(crate) fn set_waiting(&self, _pending: usize, _outbound: usize) {}

    #[inline]
    pub(crate) fn handled(&self, _watch: Watch) {}
}

/// The time at which the call of a handler began.
#[derive(Clone, Copy)]
pub(crate) struct Watch(#[cfg(feature = "metrics")] Instant);

impl Watch {
    #[inline]
    pub(crate) fn start() -> Self {
        Self(
            #[cfg(feature = "metrics")]
            Instant::now(),
        )
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::COUNTERS;

    #[test]
    fn a_counter_is_found_at_its_number() {
        for (at, (meter, ..)) in COUNTERS.iter().enumerate() {
            assert_eq!(*meter as usize, at);
        }
    }
}
