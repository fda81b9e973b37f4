//! Readers that join and leave while a sender sends.

use fanfeed::Waiting;

use super::{Chart, Question};
use crate::link::{CAPACITY, Reads, Sends};
use crate::peers::{feed, ring, tokio};
use crate::plan::Plan;
use crate::rounds::{Case, Contender};
use crate::sizer::Sizer;
use crate::stream;

/// What those who come and go cost the others.
pub(crate) const QUESTION: Question = Question {
    key: "joining",
    title: "a sender with 1,000 readers, while others join and leave",
    note: "u64, capacity 1,024. The draining thread has one more reader join, and leave, each time it has looked at all of \
           the 1,000. The pairs hold the sender against its quiet self.",
    columns: &["million sends/s", "thousand joined/s"],
    chart: Chart::None,
    ask,
};

const READERS: usize = 1000;

const RING: &str = "RingFeed shared, Spin";
const RING_JOINED: &str = "RingFeed shared, Spin, joined";
const PARK: &str = "RingFeed shared, Park";
const PARK_JOINED: &str = "RingFeed shared, Park, joined";
const FEED: &str = "Feed, own channels";
const FEED_JOINED: &str = "Feed, own channels, joined";
const TOKIO: &str = "tokio broadcast (loses)";
const TOKIO_JOINED: &str = "tokio broadcast (loses), joined";

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    let n = READERS;
    let (spin, spin_readers) = ring::shared(n);
    let spun = spin.clone();
    let join_spin = move || count(spun.subscriber().waiting(Waiting::Spin).subscribe());
    let (park, park_readers) = ring::shared_waiting(n, Waiting::Park);
    let parked = park.clone();
    let join_park = move || count(parked.subscribe());
    let (own, own_readers) = feed::own_channels(n);
    let fed = own.clone();
    let join_own = move || count(fed.channel(CAPACITY).expect("a fair capacity"));
    let (broadcast, broadcast_readers) = tokio::broadcast(n);
    let heard = broadcast.clone();
    let join_broadcast = move || count(heard.subscribe());

    let entry = Entry { plan };
    next(Case {
        label: format!("n = {n}"),
        readers: None,
        contenders: vec![
            entry.take(RING, "parks, polled", ring::shared(n), nobody),
            entry.take(
                RING_JOINED,
                "parks, polled",
                (spin, spin_readers),
                join_spin,
            ),
            entry.take(
                PARK,
                "parks, Park",
                ring::shared_waiting(n, Waiting::Park),
                nobody,
            ),
            entry.take(PARK_JOINED, "parks, Park", (park, park_readers), join_park),
            entry.take(FEED, "parks, polled", feed::own_channels(n), nobody),
            entry.take(FEED_JOINED, "parks, polled", (own, own_readers), join_own),
            entry.take(TOKIO, "never, polled", tokio::broadcast(n), nobody),
            entry.take(
                TOKIO_JOINED,
                "never, polled",
                (broadcast, broadcast_readers),
                join_broadcast,
            ),
        ],
        pairs: vec![
            (RING_JOINED, RING),
            (PARK_JOINED, PARK),
            (FEED_JOINED, FEED),
            (TOKIO_JOINED, TOKIO),
        ],
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
                stream::run(send, &mut readers, numbers, || joined += join_and_leave())
            });
            let seconds = outcome.took.as_secs_f64();
            vec![values as f64 / seconds / 1e6, joined as f64 / seconds / 1e3]
        })
    }
}
