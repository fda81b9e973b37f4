//! Messages whose payload is their number, and handlers that count them on a [`Tally`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{Broker, BrokerSubscription, Context, Message, Outcome, SubscriberExt};

use crate::tally::Tally;
use crate::wait::{PATIENCE, wait_until};

/// Options of a broker that reconnects soon.
pub fn options() -> EngineOptions {
    EngineOptions::new().reconnect(Duration::from_millis(200))
}

/// A handler that records the number of each message.
pub fn count(
    tally: &Arc<Tally>,
) -> impl Fn(&Message, &Context) -> Outcome + Send + Sync + 'static + use<> {
    let tally = Arc::clone(tally);
    move |message, _| {
        tally.saw(number(message));
        Ok(())
    }
}

/// The number of a message.
///
/// # Panics
/// If its payload is not a number.
pub fn number(message: &Message) -> usize {
    let text = std::str::from_utf8(message.payload()).expect("the payload is text");
    text.parse().expect("the payload is a number")
}

/// Publishes these numbers.
///
/// # Panics
/// If one of them is refused.
pub fn publish(broker: &Arc<dyn Broker>, key: &str, numbers: Range<usize>) {
    for number in numbers {
        let message = Message::new(key, number.to_string());
        broker.publish(message).expect("the message is published");
    }
}

/// Publishes `0..all`, and calls `disturb` with 1, 2 and 3 when that many quarters have been
/// published.
pub fn under_load(writer: &Arc<dyn Broker>, key: &str, all: usize, mut disturb: impl FnMut(usize)) {
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..all {
                publish(writer, key, number..number + 1);
                sent.store(number + 1, Ordering::Release);
            }
        });
        for quarter in 1..=3 {
            wait_until("another part is sent", || {
                sent.load(Ordering::Acquire) >= quarter * all / 4
            });
            disturb(quarter);
        }
    });
}

/// A plain subscription and a group `g` on the key `k`. Both have to get every message.
#[derive(Debug)]
pub struct Census {
    /// The messages of the plain subscription.
    pub plain: Arc<Tally>,
    /// The messages of the group.
    pub group: Arc<Tally>,
    _subscriptions: Vec<BrokerSubscription>,
}

impl Census {
    /// Subscribes the plain subscription with the first of these brokers, and a member of the group
    /// with each.
    ///
    /// # Panics
    /// If there is no broker, or a broker refuses.
    pub fn start(brokers: &[&Arc<dyn Broker>], all: usize) -> Self {
        let (plain, group) = (Arc::new(Tally::new(all)), Arc::new(Tally::new(all)));
        let member = |broker: &&Arc<dyn Broker>| broker.subscribe_group("k", "g", count(&group));
        let mut subscriptions = vec![brokers[0].subscribe("k", count(&plain))];
        subscriptions.extend(brokers.iter().map(member));
        let made = subscriptions.into_iter().map(Result::unwrap).collect();
        Census {
            plain,
            group,
            _subscriptions: made,
        }
    }

    /// Waits until both have got every message. Returns how many messages came more than once.
    ///
    /// # Panics
    /// If messages are missing after [`PATIENCE`], or one came that was not published.
    #[track_caller]
    pub fn complete(&self) {
        let repeated = [("plain", &self.plain), ("group", &self.group)].map(|(name, tally)| {
            tally.wait_complete(PATIENCE);
            let report = tally.report();
            assert!(report.is_complete(), "{name}: {report}");
            report.repeated.len()
        });
        println!("repeated: plain {}, group {}", repeated[0], repeated[1]);
    }
}
