//! Tasks that are blocked in a send.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::thread;

use fanfeed::{Feed, Receiver, TryRecvError};
use tokio::sync::mpsc;

use crate::executor::Executor;
use crate::plan::Plan;
use crate::scatter::scattered;
use crate::series::{Contender, Peers, Series};
use crate::stopwatch::Stopwatch;

pub(crate) const SERIES: Series = Series {
    key: "sends",
    title: "tasks that send",
    note: "u64 values. All tasks send two values each on one channel, which is full, on an executor of one thread that does \
           nothing else; then the values are received on the same thread. A task that gives up drops its pending send and \
           begins another. A send of a Feed may wait for any number of subscribers; the receiver is told of each value that \
           was given up, in its place, and figures say how long a send was blocked, for which a clock is read twice.",
    measures: &[
        "capacity 1, wait: the first poll of a task",
        "capacity 1, give up and wait again, in scattered order: a task",
        "capacity 1, send and receive: a value",
        "capacity 64, send and receive: a value",
        "capacity 1, drop the pending tasks, in scattered order: a task",
    ],
    sizes: |plan| plan.tasks,
    core: 0,
    contenders,
};

const TOKIO: &str = "tokio mpsc";

fn contenders(plan: Plan) -> Vec<Contender> {
    vec![
        contender(plan, "Feed, own channel", Peers::of(&[TOKIO]), |capacity| {
            let feed = Feed::new();
            let receiver = feed.channel(capacity).expect("a fair capacity");
            (feed, receiver)
        }),
        contender(
            plan,
            "Feed over tokio mpsc",
            Peers::of(&[TOKIO]),
            |capacity| {
                let feed = Feed::new();
                let (sender, receiver) = mpsc::channel(capacity);
                feed.subscribe(sender).detach();
                (feed, receiver)
            },
        ),
        contender(plan, TOKIO, Peers::NONE, mpsc::channel),
    ]
}

/// Something that tasks send on.
trait Sends: Clone + 'static {
    async fn put(&self, value: u64);
}

impl Sends for Feed<u64> {
    async fn put(&self, value: u64) {
        assert_eq!(self.send_async(value).await, 1);
    }
}

impl Sends for mpsc::Sender<u64> {
    async fn put(&self, value: u64) {
        self.send(value).await.expect("there is a receiver");
    }
}

/// Where the values arrive.
trait Arrives: 'static {
    /// The next value, if there is one.
    fn next(&mut self) -> Option<u64>;
}

impl Arrives for Receiver<u64> {
    fn next(&mut self) -> Option<u64> {
        loop {
            return match self.try_recv() {
                Ok(value) => Some(value),
                Err(TryRecvError::Empty) => None,
                // A task has given up a send.
                Err(TryRecvError::Lagged(_)) => continue,
                Err(error) => panic!("the feed is open: {error}"),
            };
        }
    }
}

impl Arrives for mpsc::Receiver<u64> {
    fn next(&mut self) -> Option<u64> {
        self.try_recv().ok()
    }
}

/// How many values a task sends.
const EACH: u64 = 2;
/// What fills the channel before the tasks begin.
const FILLER: u64 = u64::MAX;

fn contender<S: Sends, R: Arrives>(
    plan: Plan,
    name: &'static str,
    peers: Peers,
    make: impl Fn(usize) -> (S, R) + 'static,
) -> Contender {
    Contender::new(name, peers, move |size| {
        let mut of_one = Watches::default();
        let mut of_64 = Watches::default();
        for _ in 0..plan.repeats(size) {
            let (sender, receiver) = make(1);
            of_one.run(size, 1, sender, receiver);
            let (sender, receiver) = make(64);
            of_64.run(size, 64, sender, receiver);
        }
        [
            &of_one.wait,
            &of_one.give_up,
            &of_one.value,
            &of_64.value,
            &of_one.leave,
        ]
        .map(Stopwatch::per_item)
        .to_vec()
    })
}

#[derive(Debug, Default)]
struct Watches {
    wait: Stopwatch,
    give_up: Stopwatch,
    value: Stopwatch,
    leave: Stopwatch,
}

impl Watches {
    fn run(
        &mut self,
        size: usize,
        capacity: usize,
        sender: impl Sends,
        mut receiver: impl Arrives,
    ) {
        let given_up = Rc::new(Cell::new(0));
        let start = || {
            // The channel has room, so a send waits only where it gives way to other tasks.
            let fill = |_| task(sender.clone(), vec![FILLER], Rc::clone(&given_up));
            let mut fillers = Executor::new((0..capacity).map(fill));
            fillers.poll_all(0..capacity);
            while fillers.woken() != 0 {
                fillers.poll_woken();
            }
            let tasks = (0..size as u64).map(|number| {
                let values = (0..EACH).map(|value| number * EACH + value).collect();
                task(sender.clone(), values, Rc::clone(&given_up))
            });
            Executor::new(tasks)
        };

        let mut executor = start();
        self.wait.time(size, || executor.poll_all(0..size));
        given_up.set(1);
        self.give_up
            .time(size, || executor.poll_all(scattered(size)));
        for _ in 0..capacity {
            assert_eq!(receiver.next(), Some(FILLER));
        }
        let mut next = vec![0; size];
        self.value.time(size * EACH as usize, || {
            let mut left = size as u64 * EACH;
            while left > 0 {
                match receiver.next() {
                    Some(value) => {
                        let task = (value / EACH) as usize;
                        assert_eq!(value % EACH, next[task]);
                        next[task] += 1;
                        left -= 1;
                    }
                    None => {
                        if executor.woken() == 0 {
                            thread::yield_now();
                        }
                        executor.poll_woken();
                    }
                }
            }
        });
        executor.poll_woken();
        assert_eq!(receiver.next(), None);

        let mut executor = start();
        executor.poll_all(0..size);
        self.leave.time(size, || executor.drop_all(scattered(size)));
        for _ in 0..capacity {
            assert_eq!(receiver.next(), Some(FILLER));
        }
        assert_eq!(receiver.next(), None);
    }
}

/// Sends the values one after the other. Told to give up, it drops the pending send and sends that
/// value anew.
fn task(
    sender: impl Sends,
    values: Vec<u64>,
    given_up: Rc<Cell<u64>>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        for value in values {
            loop {
                let begun = given_up.get();
                let mut send = pin!(sender.put(value));
                let sent = poll_fn(|context| {
                    if given_up.get() > begun {
                        return Poll::Ready(false);
                    }
                    send.as_mut().poll(context).map(|()| true)
                });
                if sent.await {
                    break;
                }
            }
        }
    })
}
