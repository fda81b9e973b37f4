//! The bus beside what a program would write by hand, in one run.
//!
//! `cargo bench -p fanfeed-bus` prints, for each line, the median of the rounds and their spread
//! (the quartiles), with the rounds of both candidates interleaved, on pinned threads.
//!
//! - `table`: a virtual call of a closure that downcasts, found in a
//!   `RwLock<HashMap<String, Vec<Box<dyn Fn(&dyn Any)>>>>`.
//! - `pair`: a request to a thread through a crossbeam channel, and its answer through another.
//!
//! Then it dispatches a million events with a listener registered and unregistered for each, and
//! prints the memory before and after; it fails if that has grown by more than a mebibyte.
//!
//! `-- --test` runs everything once, briefly. `-- --churn N` does only the last, with N events.
//! `-- --profile` dispatches for a profiler.

use std::any::Any;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Barrier, OnceLock, RwLock};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use crossbeam_channel::bounded;
use fanfeed_bus::{AnyEvent, BusOptions, Context, Event, EventBus, Register, Subscription};

struct OrderPlaced {
    order: u64,
}

impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";
}

type Closure = Box<dyn Fn(&dyn Any) + Send + Sync>;

/// What a program would write by hand.
#[derive(Default)]
struct Table(RwLock<HashMap<String, Vec<Closure>>>);

impl Table {
    fn register<E: 'static>(&self, name: &str, call: impl Fn(&E) + Send + Sync + 'static) {
        let call = move |event: &dyn Any| {
            if let Some(event) = event.downcast_ref() {
                call(event);
            }
        };
        let mut table = self.0.write().unwrap();
        table
            .entry(name.to_owned())
            .or_default()
            .push(Box::new(call));
    }

    fn dispatch<E: Event>(&self, event: E) {
        let table = self.0.read().unwrap();
        for call in table.get(E::NAME).into_iter().flatten() {
            call(&event);
        }
    }
}

/// Other names, so that the table has more than one.
const NAMES: [&str; 15] = [
    "order.paid",
    "order.sent",
    "order.cancelled",
    "order.returned",
    "user.created",
    "user.renamed",
    "user.deleted",
    "user.signed_in",
    "stock.low",
    "stock.out",
    "stock.counted",
    "mail.sent",
    "mail.bounced",
    "page.viewed",
    "page.left",
];

fn table(listeners: usize) -> Table {
    let table = Table::default();
    for name in NAMES {
        table.register(name, |event: &OrderPlaced| {
            black_box(event.order);
        });
    }
    for _ in 0..listeners {
        table.register(OrderPlaced::NAME, |event: &OrderPlaced| {
            black_box(event.order);
        });
    }
    table
}

fn bus(listeners: usize) -> (EventBus, Vec<Subscription>) {
    let bus = EventBus::new();
    let mut subscriptions = Vec::new();
    for name in NAMES {
        let listener = Register::named(name, |_: &dyn AnyEvent, _: &Context| Ok(()));
        subscriptions.push(bus.register_with(listener).unwrap());
    }
    for _ in 0..listeners {
        let listener = |event: &OrderPlaced, _: &Context| {
            black_box(event.order);
            Ok(())
        };
        subscriptions.push(bus.register(listener).unwrap());
    }
    (bus, subscriptions)
}

fn pin(core: usize) {
    // Asked for once, by a thread that is not pinned.
    static CORES: OnceLock<Vec<CoreId>> = OnceLock::new();
    let cores = CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    if let Some(core) = cores.get(core) {
        core_affinity::set_for_current(*core);
    }
}

/// The longest time that one of `threads` threads takes for `count` calls, each on a core of its
/// own.
fn timed(threads: usize, count: usize, call: impl Fn(u64) + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let run = |core| {
            let (barrier, call) = (&barrier, &call);
            scope.spawn(move || {
                pin(core);
                barrier.wait();
                let started = Instant::now();
                (0..count as u64).for_each(call);
                started.elapsed()
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        let each = threads.into_iter().map(|thread| thread.join().unwrap());
        each.max().unwrap_or_default()
    })
}

/// Nanoseconds per dispatch of each round.
struct Rounds(Vec<f64>);

impl Rounds {
    fn at(&mut self, part: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        self.0[((self.0.len() - 1) as f64 * part) as usize]
    }

    fn told(&mut self) -> String {
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| self.at(part));
        format!("{middle:>8.1} ({low:.1}-{high:.1})")
    }
}

/// Runs both in turn and prints a line.
fn compare(
    name: &str,
    rounds: usize,
    count: usize,
    peer: impl Fn(usize) -> Duration,
    own: impl Fn(usize) -> Duration,
) {
    let each = |took: Duration| took.as_nanos() as f64 / count as f64;
    let (mut peers, mut owns) = (Rounds(Vec::new()), Rounds(Vec::new()));
    for _ in 0..rounds {
        peers.0.push(each(peer(count)));
        owns.0.push(each(own(count)));
    }
    let ratio = owns.at(0.5) / peers.at(0.5);
    println!(
        "{name:<44} {:>28} {:>28} {ratio:>6.2}",
        peers.told(),
        owns.told()
    );
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    if let Some(count) = argument("--churn") {
        return churn(count);
    }
    if std::env::args().any(|argument| argument == "--profile") {
        let (bus, subscriptions) = bus(1);
        for n in 0..50_000_000 {
            bus.dispatch(OrderPlaced {
                order: black_box(n),
            });
        }
        return drop(subscriptions);
    }
    let (rounds, count) = if is_test { (1, 2000) } else { (21, 400_000) };
    println!(
        "{:<44} {:>28} {:>28} {:>6}",
        "ns per dispatch", "peer", "bus", "ratio"
    );
    for (threads, listeners) in [(1, 1), (2, 1), (1, 100), (2, 100)] {
        let (table, (bus, subscriptions)) = (table(listeners), bus(listeners));
        let name = format!("table: {listeners} listeners, {threads} threads");
        compare(
            &name,
            rounds,
            (count / listeners).max(20),
            |count| {
                timed(threads, count, |order| {
                    table.dispatch(OrderPlaced { order })
                })
            },
            |count| {
                timed(threads, count, |order| {
                    drop(bus.dispatch(OrderPlaced { order }))
                })
            },
        );
        drop(subscriptions);
    }
    asynchronous(rounds, (count / 40).max(50));
    churn(if is_test { 2000 } else { 1_000_000 });
}

/// A dispatch to one asynchronous listener, and the wait for it.
fn asynchronous(rounds: usize, count: usize) {
    let (requests, received) = bounded::<u64>(1);
    let (answers, answered) = bounded::<u64>(1);
    let thread = std::thread::spawn(move || {
        for request in received {
            let _ = answers.send(request);
        }
    });
    // One thread, as the peer has.
    let bus = BusOptions::new().threads(1).limit(1).build();
    let listener = Register::event(|event: &OrderPlaced, _: &Context| {
        black_box(event.order);
        Ok(())
    });
    let subscription = bus.register_with(listener.asynchronous()).unwrap();
    // From this thread, which is not pinned, so that the thread of the bus is not: a thread has the
    // cores of the one that starts it.
    bus.dispatch(OrderPlaced { order: 0 }).wait().unwrap();
    compare(
        "pair: asynchronous, dispatch and wait",
        rounds,
        count,
        |count| {
            timed(1, count, |order| {
                requests.send(order).unwrap();
                answered.recv().unwrap();
            })
        },
        |count| {
            timed(1, count, |order| {
                bus.dispatch(OrderPlaced { order }).wait().unwrap()
            })
        },
    );
    drop((requests, subscription));
    thread.join().unwrap();
}

/// So many dispatches, each with a listener that is registered before it and unregistered after it;
/// then some beside 10,000 other names.
fn churn(count: u64) {
    let (bus, subscriptions) = bus(1);
    let run = |count: u64| {
        let started = Instant::now();
        for order in 0..count {
            let own = bus.register(|_: &OrderPlaced, _: &Context| Ok(())).unwrap();
            bus.dispatch(OrderPlaced { order });
            drop(own);
        }
        started.elapsed().as_nanos() as f64 / count as f64
    };
    run(count / 10);
    let before = resident();
    let each = run(count);
    let after = resident();
    println!(
        "churn: {count} listeners come and go, {each:.0} ns each, memory {before} -> {after} KiB"
    );
    assert!(after <= before + 1024, "the memory grows");
    let names = (0..count.min(10_000)).map(|n| format!("other.{n}"));
    let others: Vec<_> = names
        .map(|name| {
            bus.register_named(name, |_: &dyn AnyEvent, _| Ok(()))
                .unwrap()
        })
        .collect();
    let each = run(count / 1000 + 1) / 1000.0;
    println!(
        "churn: beside {} other names {each:.0} us each",
        others.len()
    );
    // Unregistered one by one they would take as long as they took to register.
    bus.close().unwrap();
    drop(subscriptions);
}

/// The memory of this process in KiB, where the system says it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What follows this argument on the command line.
fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).and_then(|value| value.parse().ok())
}
