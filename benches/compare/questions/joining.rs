//! Readers that join and leave while a sender sends.

use super::{Chart, Question};
use crate::field::{EXCLUSIVE, OWN, SHARED, SHARED_PARK};
use crate::handler::Checking;
use crate::link::{CAPACITY, Reads, Sends};
use crate::peers::{feed, ring, tokio};
use crate::plan::Plan;
use crate::rounds::{Case, Contender};
use crate::sizer::Sizer;
use crate::stream;

/// The cost of readers that come and go, for the others.
pub(crate) const QUESTION: Question = Question {
    key: "joining",
    title: "a sender with 1,000 readers, while others join and leave",
    note: "u64, capacity 1,024. The draining thread has one more reader join, and leave, each time it has looked at all of \
           the 1,000. The pairs hold the sender against its quiet self.",
    columns: &["million sends/s", "thousand joined/s"],
    chart: Chart::None,
    shown: &[],
    ask,
};

const READERS: usize = 1000;

const EXCLUSIVE_JOINED: &str = "RingFeed exclusive, Spin, joined";
const SHARED_JOINED: &str = "RingFeed shared, Spin, joined";
const SHARED_PARK_JOINED: &str = "RingFeed shared, Park, joined";
const OWN_JOINED: &str = "Feed, own channels, joined";
const TOKIO: &str = "tokio broadcast (loses)";
const TOKIO_JOINED: &str = "tokio broadcast (loses), joined";

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    let n = READERS;
    let entry = Entry { plan };

    let exclusive = ring::exclusive(n);
    let handle = exclusive.0.handle();
    let join_exclusive = move || {
        count(
            handle
                .subscriber()
                .wait_strategy(fanfeed::ring::WaitStrategy::Spin)
                .subscribe(),
        )
    };
    let shared = ring::shared(n);
    let handle = shared.0.handle();
    let join_shared = move || {
        count(
            handle
                .subscriber()
                .wait_strategy(fanfeed::ring::WaitStrategy::Spin)
                .subscribe(),
        )
    };
    let parking = ring::shared_waiting(n, fanfeed::ring::WaitStrategy::Park);
    let handle = parking.0.handle();
    let join_parking = move || count(handle.subscribe());
    let own = feed::own_channels(n);
    let feed = own.0.clone();
    let join_own = move || count(feed.channel(CAPACITY).expect("a fair capacity"));
    let broadcast = tokio::broadcast(n);
    let sender = broadcast.0.clone();
    let join_broadcast = move || count(sender.subscribe());

    let (polled, park, never) = ("parks, polled", "parks, Park", "never, polled");
    next(Case {
        label: format!("n = {n}"),
        readers: None,
        contenders: vec![
            entry.take(EXCLUSIVE, polled, ring::exclusive(n), nobody),
            entry.take(EXCLUSIVE_JOINED, polled, exclusive, join_exclusive),
            entry.take(SHARED, polled, ring::shared(n), nobody),
            entry.take(SHARED_JOINED, polled, shared, join_shared),
            entry.take(
                SHARED_PARK,
                park,
                ring::shared_waiting(n, fanfeed::ring::WaitStrategy::Park),
                nobody,
            ),
            entry.take(SHARED_PARK_JOINED, park, parking, join_parking),
            entry.take(OWN, polled, feed::own_channels(n), nobody),
            entry.take(OWN_JOINED, polled, own, join_own),
            entry.take(TOKIO, never, tokio::broadcast(n), nobody),
            entry.take(TOKIO_JOINED, never, broadcast, join_broadcast),
        ],
        pairs: vec![
            (EXCLUSIVE_JOINED, EXCLUSIVE),
            (SHARED_JOINED, SHARED),
            (SHARED_PARK_JOINED, SHARED_PARK),
            (OWN_JOINED, OWN),
            (TOKIO_JOINED, TOKIO),
        ],
        ..Case::default()
    });
}

/// Nobody joins.
fn nobody() -> u64 {
    0
}

/// Somebody has joined, and leaves.
fn count<R>(reader: R) -> u64 {
    drop(reader);
    1
}

struct Entry {
    plan: Plan,
}

impl Entry {
    fn take<S, R, J>(
        &self,
        name: &'static str,
        waits: &'static str,
        (mut sender, mut readers): (S, R),
        mut join_and_leave: J,
    ) -> Contender
    where
        S: Sends<u64>,
        R: Reads<u64>,
        J: FnMut() -> u64 + Send + 'static,
    {
        let mut sizer = Sizer::new(self.plan);
        let mut sent = 0;
        Contender::new(name, waits, move || {
            let mut joined = 0;
            let mut values = 0;
            let outcome = sizer.run(|count| {
                let numbers = sent..sent + count;
                (sent, values, joined) = (numbers.end, count, 0);
                let sending = numbers.clone();
                let send = || sending.for_each(|number| sender.put(number));
                stream::run(send, &mut readers, numbers, Checking, || {
                    joined += join_and_leave();
                })
            });
            let seconds = outcome.took.as_secs_f64();
            vec![values as f64 / seconds / 1e6, joined as f64 / seconds / 1e3]
        })
    }
}
