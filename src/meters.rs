//! Floor 4: the figures of feeds and rings, exported by the facade `metrics`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::feed::Feed;
use crate::ring;
use crate::subscription::{Stats, SubscriptionId};
use crate::traits::debug_struct;

const DELIVERED: &str = "fanfeed_delivered_total";
const DROPPED: &str = "fanfeed_dropped_total";
const BLOCKED: &str = "fanfeed_blocked_sends_total";
const BLOCKED_FOR: &str = "fanfeed_blocked_milliseconds_total";
const SUBSCRIBERS: &str = "fanfeed_subscribers";
const DEPTH: &str = "fanfeed_depth";
const CAPACITY: &str = "fanfeed_capacity";
const BLOCKED_NOW: &str = "fanfeed_blocked_now_seconds";

/// Exports the figures of a feed or a ring by the facade [`metrics`]. Each feed, and each ring, has
/// an exporter of its own.
///
/// Nothing is exported until [`export_feed`](Self::export_feed) or
/// [`export_ring`](Self::export_ring) is called, so sends pay nothing. Call it at intervals: every
/// few seconds, or before the metrics are scraped.
///
/// All metrics have the label `feed`, with the name that the exporter was made with. All but
/// `fanfeed_subscribers` have the label `subscriber`, with the name of the subscription. The
/// figures of subscribers of the same name are added up, and so are those of subscribers without a
/// name, under `unnamed`. So the number of time series stays bounded if the number of names does.
///
/// | metric | kind | value |
/// |---|---|---|
/// | `fanfeed_delivered_total` | counter | values that were put on the channel or passed to the closure; for a reader of a ring, values that were sent to it and not missed ([`Stats::delivered`]) |
/// | `fanfeed_dropped_total` | counter | values that were missed ([`Stats::dropped`]) |
/// | `fanfeed_blocked_sends_total` | counter | sends that had to wait ([`Stats::blocked`]) |
/// | `fanfeed_blocked_milliseconds_total` | counter | how long they have waited in all, in milliseconds, including the waits under way ([`Stats::blocked_for`]) |
/// | `fanfeed_subscribers` | gauge | subscriptions that have not ended |
/// | `fanfeed_depth` | gauge | values in the channel, if it can tell; for a reader of a ring, its lag |
/// | `fanfeed_capacity` | gauge | the most values that the channel, or the ring, holds, if it is bounded and can tell |
/// | `fanfeed_blocked_now_seconds` | gauge | how long the send that has waited longest has been waiting, in seconds; 0 if none waits. The greatest value among subscribers of the same name |
///
/// What was counted between the last export and the end of a subscription is not exported.
///
/// ```
/// use fanfeed::{Feed, MetricsExporter};
///
/// let feed = Feed::new();
/// let _audit = feed.subscriber().name("audit").channel()?;
/// let mut exporter = MetricsExporter::new("prices");
/// feed.send(101);
/// // `fanfeed_delivered_total{feed="prices", subscriber="audit"}` grows by 1.
/// exporter.export_feed(&feed);
/// # Ok::<(), fanfeed::CapacityError>(())
/// ```
pub struct MetricsExporter {
    feed: Arc<str>,
    /// What was exported of each subscription that had not ended at the last export.
    exported: HashMap<SubscriptionId, Stats>,
    /// The gauges that the last export set, by the names of the subscribers.
    gauges: BTreeMap<Arc<str>, Gauges>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Gauges {
    depth: Option<usize>,
    capacity: Option<usize>,
    blocked_now: f64,
}

/// What is exported of one subscriber: its id, its name, its capacity and its figures.
type Subscriber = (SubscriptionId, Option<Arc<str>>, Option<usize>, Stats);

impl MetricsExporter {
    /// Creates an exporter. `feed` is the value of the label `feed`. It also describes the metrics
    /// to the recorder that is installed now.
    pub fn new(feed: impl Into<Arc<str>>) -> Self {
        let count = |name, text| describe_counter!(name, Unit::Count, text);
        count(DELIVERED, "Values that reached the subscriber.");
        count(DROPPED, "Values that the subscriber missed.");
        count(BLOCKED, "Sends that had to wait for the subscriber.");
        let text = "How long sends have waited for the subscriber.";
        describe_counter!(BLOCKED_FOR, Unit::Milliseconds, text);
        let gauge = |name, text| describe_gauge!(name, Unit::Count, text);
        gauge(SUBSCRIBERS, "Subscriptions that have not ended.");
        gauge(DEPTH, "Values that the subscriber has not received yet.");
        gauge(
            CAPACITY,
            "The most values that the subscriber's channel holds.",
        );
        let text = "How long the send that has waited longest for the subscriber has been waiting.";
        describe_gauge!(BLOCKED_NOW, Unit::Seconds, text);
        Self {
            feed: feed.into(),
            exported: HashMap::new(),
            gauges: BTreeMap::new(),
        }
    }

    /// Exports the figures of all subscribers of the feed, as
    /// [`Feed::subscriptions`](crate::Feed::subscriptions) lists them.
    ///
    /// # Panics
    ///
    /// If the recorder panics. What it did not take is not exported again.
    pub fn export_feed<T: Send + 'static>(&mut self, feed: &Feed<T>) {
        let all = feed.subscriptions().into_iter();
        self.export(all.map(|one| (one.id, one.name, one.capacity, one.stats)));
    }

    /// Exports the figures of all readers of the ring, as
    /// [`ring::Handle::readers`](crate::ring::Handle::readers) lists them.
    ///
    /// # Panics
    ///
    /// If the recorder panics. What it did not take is not exported again.
    ///
    /// ```
    /// use fanfeed::{ExclusiveRingFeed, MetricsExporter};
    ///
    /// let mut ring = ExclusiveRingFeed::new(64)?;
    /// let _screen = ring.subscriber().name("screen").subscribe();
    /// let handle = ring.handle();
    /// let mut exporter = MetricsExporter::new("quotes");
    /// ring.send(7);
    /// exporter.export_ring(&handle);
    /// # Ok::<(), fanfeed::CapacityError>(())
    /// ```
    pub fn export_ring<T>(&mut self, ring: &ring::Handle<T>) {
        let capacity = Some(ring.capacity());
        let all = ring.readers().into_iter();
        self.export(all.map(|one| (one.id, one.name, capacity, one.stats)));
    }

    fn export(&mut self, subscribers: impl ExactSizeIterator<Item = Subscriber>) {
        let feed = &self.feed;
        gauge!(SUBSCRIBERS, "feed" => Arc::clone(feed)).set(subscribers.len() as f64);
        let mut listed = HashSet::with_capacity(subscribers.len());
        let mut named: BTreeMap<Arc<str>, Gauges> = BTreeMap::new();
        for (id, name, capacity, now) in subscribers {
            let name = name.unwrap_or_else(|| Arc::from("unnamed"));
            let before = self.exported.get(&id).copied().unwrap_or_default();
            // A figure can fall for a moment: that of the values delivered does so while a sender
            // pushes a value out. What was exported must not be exported again when it rises.
            let most = Stats {
                delivered: now.delivered.max(before.delivered),
                dropped: now.dropped.max(before.dropped),
                blocked: now.blocked.max(before.blocked),
                blocked_for: now.blocked_for.max(before.blocked_for),
                ..now
            };
            // Noted before the recorder is called: if it panics, what it did not take is lost, and
            // nothing is exported twice.
            self.exported.insert(id, most);
            listed.insert(id);
            for (metric, before, now) in [
                (DELIVERED, before.delivered, now.delivered),
                (DROPPED, before.dropped, now.dropped),
                (BLOCKED, before.blocked, now.blocked),
                (BLOCKED_FOR, milliseconds(before), milliseconds(now)),
            ] {
                let more = now.saturating_sub(before);
                counter!(metric, "feed" => Arc::clone(feed), "subscriber" => Arc::clone(&name))
                    .increment(more);
            }
            let gauges = named.entry(name).or_default();
            gauges.depth = sum(gauges.depth, now.depth);
            gauges.capacity = sum(gauges.capacity, capacity);
            let blocked_now = now.blocked_now.unwrap_or_default().as_secs_f64();
            gauges.blocked_now = gauges.blocked_now.max(blocked_now);
        }
        // A gauge that is no longer known is set to 0, once.
        for (name, last) in std::mem::replace(&mut self.gauges, named.clone()) {
            let gauges = named.entry(name).or_default();
            gauges.depth = gauges.depth.or(last.depth.map(|_| 0));
            gauges.capacity = gauges.capacity.or(last.capacity.map(|_| 0));
        }
        for (name, gauges) in named {
            let set = |metric, value| {
                gauge!(metric, "feed" => Arc::clone(feed), "subscriber" => Arc::clone(&name))
                    .set(value);
            };
            for (metric, value) in [(DEPTH, gauges.depth), (CAPACITY, gauges.capacity)] {
                if let Some(value) = value {
                    set(metric, value as f64);
                }
            }
            set(BLOCKED_NOW, gauges.blocked_now);
        }
        self.exported.retain(|id, _| listed.contains(id));
    }
}

/// The time that sends have waited. Counters are integers; no part of a millisecond is lost,
/// because the difference of two totals is exported.
fn milliseconds(stats: Stats) -> u64 {
    u64::try_from(stats.blocked_for.as_millis()).unwrap_or(u64::MAX)
}

/// Adds two numbers. An unknown number counts as 0, unless both are unknown.
fn sum(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

debug_struct!(MetricsExporter, |this| MetricsExporter { feed: this.feed });
