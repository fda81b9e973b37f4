//! Tasks that wait for values.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::thread;

use fanfeed::{Feed, Receiver, RingFeed, ring};

use crate::executor::Executor;
use crate::peers::{CAPACITY, RING};
use crate::plan::Plan;
use crate::scatter::scattered;
use crate::series::{Contender, Peers, Series};
use crate::stopwatch::Stopwatch;

pub(crate) const SERIES: Series = Series {
    key: "tasks",
    title: "tasks that receive",
    note: "u64 values. Each task awaits the next value of its own receiver, on an executor of one thread that does nothing \
           else. The channels have a capacity of 2, the rings of 8. A task that gives up drops its pending receive and \
           begins another. A reader of a RingFeed gets every value, and holds the senders if it is slow, as the receivers of \
           bounded channels do; so those are its peers. It has memory of its own for that: a seat, a handle and a place in \
           the list of waiters. A receiver of tokio broadcast does other work: it loses values instead, and has all of its \
           memory in its task. A receiver that is dropped ends its subscription: of a Feed it leaves the chunk and waits for \
           deliveries under way, of a RingFeed it hands back its seat; in \"tokio mpsc, bare\" its sender stays in the list.",
    measures: &[
        "wait: the first poll of a task",
        "send, which wakes all: a task",
        "receive, and wait again: a task",
        "give up and wait again, in scattered order: a task",
        "drop the task and its receiver, in scattered order: a task",
    ],
    sizes: |plan| plan.tasks,
    core: 0,
    contenders,
};

const MPSC: &str = "tokio mpsc, bare";
const BROADCAST: &str = "tokio broadcast";
const RING_PEERS: Peers = Peers {
    same: &[MPSC],
    other: &[BROADCAST],
};

fn contenders(plan: Plan) -> Vec<Contender> {
    vec![
        contender(plan, "Feed, own channels", Peers::of(&[MPSC]), |size| {
            let feed = Feed::new();
            let receivers = (0..size).map(|_| feed.channel(CAPACITY).expect("a fair capacity"));
            let receivers = receivers.collect();
            let send = move |value| assert_eq!(feed.send(value), size);
            (Box::new(send), receivers)
        }),
        contender(plan, "RingFeed", RING_PEERS, |size| {
            let ring = RingFeed::new(RING).expect("a fair capacity");
            let readers = (0..size).map(|_| ring.subscribe()).collect();
            let send = move |value| {
                ring.send(value);
            };
            (Box::new(send), readers)
        }),
        contender(plan, MPSC, Peers::NONE, |size| {
            let channels = (0..size).map(|_| tokio::sync::mpsc::channel(CAPACITY));
            let (senders, receivers): (Vec<_>, Vec<_>) = channels.unzip();
            let send = move |value| {
                for sender in &senders {
                    sender.try_send(value).expect("there is room");
                }
            };
            (Box::new(send), receivers)
        }),
        contender(plan, BROADCAST, Peers::NONE, |size| {
            let (sender, _) = tokio::sync::broadcast::channel(RING);
            let receivers = (0..size).map(|_| sender.subscribe()).collect();
            let send = move |value| assert_eq!(sender.send(value).ok(), Some(size));
            (Box::new(send), receivers)
        }),
    ]
}

/// Something that is received from.
trait Receives: 'static {
    /// The next value.
    async fn next(&mut self) -> u64;
}

impl Receives for Receiver<u64> {
    async fn next(&mut self) -> u64 {
        self.recv_async().await.expect("the feed is open")
    }
}

impl Receives for ring::Receiver<u64> {
    async fn next(&mut self) -> u64 {
        self.recv_async().await.expect("the ring is open")
    }
}

impl Receives for tokio::sync::mpsc::Receiver<u64> {
    async fn next(&mut self) -> u64 {
        self.recv().await.expect("there is a sender")
    }
}

impl Receives for tokio::sync::broadcast::Receiver<u64> {
    async fn next(&mut self) -> u64 {
        self.recv().await.expect("there is a sender")
    }
}

/// Sends one value to all receivers.
type Send = Box<dyn Fn(u64)>;

/// What all tasks of a run share.
#[derive(Debug, Default)]
struct Shared {
    /// How many values all tasks have received.
    received: Cell<u64>,
    /// How often they were told to give up.
    given_up: Cell<u64>,
}

/// How many values are sent.
const VALUES: u64 = 3;

fn contender<R: Receives>(
    plan: Plan,
    name: &'static str,
    peers: Peers,
    make: impl Fn(usize) -> (Send, Vec<R>) + 'static,
) -> Contender {
    Contender::new(name, peers, move |size| {
        let [mut wait, mut wake, mut receive, mut give_up, mut leave] =
            std::array::from_fn(|_| Stopwatch::default());
        for _ in 0..plan.repeats(size) {
            let shared = Rc::new(Shared::default());
            let (send, receivers) = make(size);
            let mut executor = Executor::new(
                receivers
                    .into_iter()
                    .map(|receiver| task(receiver, Rc::clone(&shared))),
            );
            wait.time(size, || executor.poll_all(0..size));
            for value in 1..=VALUES {
                // The second value comes after all have given up once.
                if value == 2 {
                    shared.given_up.set(1);
                    give_up.time(size, || executor.poll_all(scattered(size)));
                }
                wake.time(size, || send(value));
                receive.time(size, || {
                    while shared.received.get() < value * size as u64 {
                        if executor.woken() == 0 {
                            thread::yield_now();
                        }
                        executor.poll_woken();
                    }
                });
            }
            leave.time(size, || executor.drop_all(scattered(size)));
            // Each task counted each value, having asserted that it was the next.
            assert_eq!(shared.received.get(), VALUES * size as u64);
        }
        [wait, wake, receive, give_up, leave]
            .map(|it| it.per_item())
            .to_vec()
    })
}

fn task(mut receiver: impl Receives, shared: Rc<Shared>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let mut next = 1;
        loop {
            let given_up = shared.given_up.get();
            let mut receive = pin!(receiver.next());
            let value = poll_fn(|context| {
                if shared.given_up.get() > given_up {
                    return std::task::Poll::Ready(None);
                }
                receive.as_mut().poll(context).map(Some)
            });
            if let Some(value) = value.await {
                assert_eq!(value, next);
                next += 1;
                shared.received.set(shared.received.get() + 1);
            }
        }
    })
}
