//! Subscribers that come, receive and go.

use crate::peers::bare::{Bare, Crossbeam, Tokio};
use crate::peers::broadcast::Broadcast;
use crate::peers::feed::{Closures, OverCrossbeam, OwnChannels};
use crate::peers::ring::Ring;
use crate::plan::Plan;
use crate::scatter::scattered;
use crate::series::{Contender, Peers, Series};
use crate::stopwatch::Stopwatch;

pub(crate) const SERIES: Series = Series {
    key: "subscribers",
    title: "subscribers",
    note: "u64 values. Each subscriber has a channel of capacity 2, or reads a ring of 8. \"bare\" is a list of senders \
           and a loop over it: no locks, and no unsubscribing while another thread sends. The list stays dense when most have \
           left; the subscribers of a feed keep their seats, here one in each chunk. A Feed over crossbeam is compared with crossbeam, because each of its values goes \
           through a channel of crossbeam's; another channel is other work. A reader of a RingFeed gets every value, and \
           holds the sender if it is slow, as the receivers of bounded channels do; so those are its peers. It has a seat that \
           senders look at, a handle with figures, and can be ended by any thread. A receiver of tokio broadcast does other \
           work: it loses values instead, and has no memory of its own but a position in its handle. So nothing of it leaves \
           the caches as their number grows.",
    measures: &[
        "subscribe: a subscriber",
        "send, and receive by all: a delivery",
        "one more comes and goes at a multiple of 64: a pair",
        "close, and drop everything: a subscriber",
        "unsubscribe 63 of each 64, in scattered order: a subscriber",
        "send to those left, one of 64, and receive: a delivery",
    ],
    sizes: |plan| plan.subscribers,
    core: 0,
    contenders,
};

const CROSSBEAM: &str = "crossbeam, bare";
const MPSC: &str = "tokio mpsc, bare";
const BROADCAST: &str = "tokio broadcast";
const CHANNELS: Peers = Peers::of(&[CROSSBEAM, MPSC]);
/// What goes over channels of crossbeam's cannot be better than they are.
const OVER_CROSSBEAM: Peers = Peers {
    same: &[CROSSBEAM],
    other: &[MPSC],
};
const RING_PEERS: Peers = Peers {
    same: &[CROSSBEAM, MPSC],
    other: &[BROADCAST],
};

fn contenders(plan: Plan) -> Vec<Contender> {
    vec![
        contender::<OwnChannels>(plan, "Feed, own channels", CHANNELS),
        contender::<OverCrossbeam>(plan, "Feed over crossbeam", OVER_CROSSBEAM),
        contender::<Closures>(plan, "Feed, closures", CHANNELS),
        contender::<Ring>(plan, "RingFeed", RING_PEERS),
        contender::<Bare<Crossbeam>>(plan, CROSSBEAM, Peers::NONE),
        contender::<Bare<Tokio>>(plan, MPSC, Peers::NONE),
        contender::<Broadcast>(plan, BROADCAST, Peers::NONE),
    ]
}

/// One sender, and the subscribers that it has.
pub(crate) trait Crowd: Default {
    /// One more subscriber, whose number is how many there were before.
    fn join(&mut self);

    /// Unsubscribes that one.
    fn leave(&mut self, number: usize);

    /// Forgets the places of those that left: not measured, and nobody's number counts any more.
    fn compact(&mut self);

    /// How many receivers there are.
    fn count(&self) -> usize;

    /// Sends a value to all. It asserts that it has reached `count`, where the sender is told.
    fn send(&mut self, value: u64);

    /// Receives by all, and asserts that each gets this value.
    fn receive(&mut self, value: u64);

    /// Closes, with all subscribers subscribed.
    fn close(&mut self);

    /// Asserts that all receivers are at their end, without a value left.
    fn assert_closed(&mut self);
}

/// How many values are sent to each crowd.
const VALUES: u64 = 3;
/// How many come and go, and as many before, which are not measured.
const PAIRS: usize = 100;
/// How many subscribers a chunk of the feed has.
const CHUNK: usize = 64;

fn contender<C: Crowd>(plan: Plan, name: &'static str, peers: Peers) -> Contender {
    Contender::new(name, peers, move |size| {
        let [
            mut subscribe,
            mut send,
            mut pair,
            mut close,
            mut unsubscribe,
            mut sparse,
        ] = std::array::from_fn(|_| Stopwatch::default());
        for _ in 0..plan.repeats(size) {
            let mut crowd = C::default();
            subscribe.time(size, || join(&mut crowd, size));
            deliver(&mut crowd, &mut send);

            let more = size.next_multiple_of(CHUNK) - size;
            join(&mut crowd, more);
            let mut pairs = |count| {
                for _ in 0..count {
                    crowd.join();
                    crowd.leave(size + more);
                }
            };
            // What the first pairs pay for is not theirs: memory that no cache has after the values
            // above, blocks that the allocator merges, and this program's list of receivers, which
            // is full at 1,024.
            pairs(PAIRS);
            pair.time(PAIRS, || pairs(PAIRS));
            (0..more).for_each(|number| crowd.leave(number));
            crowd.compact();
            assert_eq!(crowd.count(), size);
            deliver(&mut crowd, &mut Stopwatch::default());

            close.time(size, || crowd.close());
            crowd.assert_closed();
            // The same subscribers again: their time is added, and they are not.
            close.time(0, || drop(crowd));

            let mut crowd = C::default();
            join(&mut crowd, size);
            // The first send of a thread allocates, and the kernel may clear a huge page for that.
            deliver(&mut crowd, &mut Stopwatch::default());
            let leaving = || scattered(size).filter(|number| number % CHUNK > 0);
            unsubscribe.time(leaving().count(), || {
                leaving().for_each(|number| crowd.leave(number));
            });
            crowd.compact();
            assert_eq!(crowd.count(), size.div_ceil(CHUNK));
            deliver(&mut crowd, &mut sparse);
            crowd.close();
            crowd.assert_closed();
        }
        [subscribe, send, pair, close, unsubscribe, sparse]
            .map(|it| it.per_item())
            .to_vec()
    })
}

fn join(crowd: &mut impl Crowd, count: usize) {
    for _ in 0..count {
        crowd.join();
    }
}

fn deliver(crowd: &mut impl Crowd, stopwatch: &mut Stopwatch) {
    for value in 1..=VALUES {
        stopwatch.time(crowd.count(), || {
            crowd.send(value);
            crowd.receive(value);
        });
    }
}
