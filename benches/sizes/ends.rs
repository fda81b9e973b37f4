//! Tasks that wait for an end.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::thread;

use fanfeed::Feed;
use tokio::sync::watch;

use crate::executor::Executor;
use crate::plan::Plan;
use crate::scatter::scattered;
use crate::series::{Contender, Peers, Series};
use crate::stopwatch::Stopwatch;

pub(crate) const SERIES: Series = Series {
    key: "ends",
    title: "tasks that wait for an end",
    note: "Each task awaits the end of the same subscription, or of the same tokio watch channel, on an executor of one \
           thread that does nothing else. A task that gives up drops its pending future and begins another.",
    measures: &[
        "wait: a task is made, and polled for the first time",
        "give up and wait again, in scattered order: a task",
        "end, and tell all: a task",
        "drop the pending tasks, in scattered order: a task",
    ],
    sizes: |plan| plan.tasks,
    core: 0,
    contenders,
};

const TOKIO: &str = "tokio watch";

fn contenders(plan: Plan) -> Vec<Contender> {
    vec![
        contender(plan, "Subscription::closed", Peers::of(&[TOKIO]), || {
            let feed = Feed::<u64>::new();
            let subscription = Rc::new(feed.subscribe_fn(|_| {}));
            let watched = Rc::clone(&subscription);
            let wait = move || watched.closed();
            // The feed goes with the end; before it keeps the subscription.
            let end = move || {
                subscription.unsubscribe();
                drop(feed);
            };
            (Box::new(wait), Box::new(end))
        }),
        contender(plan, TOKIO, Peers::NONE, || {
            let (sender, receiver) = watch::channel(0);
            let wait = move || {
                let mut receiver = receiver.clone();
                async move { assert!(receiver.changed().await.is_err()) }
            };
            (Box::new(wait), Box::new(move || drop(sender)))
        }),
    ]
}

/// Makes one wait.
type Wait<F> = Box<dyn Fn() -> F>;
/// Ends what is waited for.
type End = Box<dyn FnOnce()>;

/// What all tasks of a run share.
#[derive(Debug, Default)]
struct Shared {
    /// How many have seen the end.
    ended: Cell<usize>,
    /// How often they were told to give up.
    given_up: Cell<u64>,
}

fn contender<F: Future<Output = ()> + 'static>(
    plan: Plan,
    name: &'static str,
    peers: Peers,
    make: impl Fn() -> (Wait<F>, End) + 'static,
) -> Contender {
    Contender::new(name, peers, move |size| {
        let [mut wait, mut give_up, mut end, mut leave] =
            std::array::from_fn(|_| Stopwatch::default());
        for _ in 0..plan.repeats(size) {
            let (waits, ends) = make();
            let waits = Rc::new(waits);
            let shared = Rc::new(Shared::default());
            let start = || {
                let task = |_| task(Rc::clone(&waits), Rc::clone(&shared));
                Executor::new((0..size).map(task))
            };
            // With the making of the tasks: a waiter of tokio's lies in its task, and one of a
            // subscription in the subscription.
            let mut executor = wait.time(size, || {
                let mut executor = start();
                executor.poll_all(0..size);
                executor
            });
            leave.time(size, || executor.drop_all(scattered(size)));

            let mut executor = start();
            executor.poll_all(0..size);
            shared.given_up.set(1);
            give_up.time(size, || executor.poll_all(scattered(size)));
            assert_eq!(shared.ended.get(), 0);
            end.time(size, || {
                ends();
                while shared.ended.get() < size {
                    if executor.woken() == 0 {
                        thread::yield_now();
                    }
                    executor.poll_woken();
                }
            });
        }
        [wait, give_up, end, leave].map(|it| it.per_item()).to_vec()
    })
}

fn task<F: Future<Output = ()> + 'static>(
    waits: Rc<Wait<F>>,
    shared: Rc<Shared>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        loop {
            let given_up = shared.given_up.get();
            let mut wait = pin!(waits());
            let ended = poll_fn(|context| {
                if shared.given_up.get() > given_up {
                    return Poll::Ready(false);
                }
                wait.as_mut().poll(context).map(|()| true)
            });
            if ended.await {
                shared.ended.set(shared.ended.get() + 1);
                return;
            }
        }
    })
}
