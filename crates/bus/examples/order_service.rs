//! An order service in one process.
//!
//! A payment is waited for, because the answer depends on it. Mail and analytics are not. Errors
//! are collected on the bus. A feature flag unregisters the analytics while orders are placed.
//!
//! ```text
//! cargo run -p fanfeed-bus --example order_service
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fanfeed_bus::{
    AnyEvent, BusOptions, Context, Event, EventBus, Listener, Map, Outcome, Register, Subscription,
};

struct OrderPlaced {
    order: u64,
    cents: u64,
}

impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed";

    fn payload(&self) -> Map {
        Map::from([
            ("order".to_owned(), self.order.into()),
            ("cents".to_owned(), self.cents.into()),
        ])
    }
}

struct OrderPaid {
    order: u64,
}

impl Event for OrderPaid {
    const NAME: &'static str = "order.paid";
}

/// Takes the money.
#[derive(Clone, Default)]
struct Payments {
    paid: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl Listener<OrderPlaced> for Payments {
    fn handle(&self, event: &OrderPlaced, context: &Context<'_>) -> Outcome {
        if event.cents > 10_000 {
            return Err(format!("order {} is above the limit of the card", event.order).into());
        }
        self.paid.lock().unwrap().insert(event.order, event.cents);
        // What follows is the business of others.
        context.bus().dispatch(OrderPaid { order: event.order });
        Ok(())
    }
}

/// Counts events of all kinds, and does not know them.
fn analytics(counts: &Arc<Mutex<BTreeMap<String, u64>>>) -> Register {
    let counts = Arc::clone(counts);
    let listener = move |event: &dyn AnyEvent, _: &Context| {
        *counts
            .lock()
            .unwrap()
            .entry(event.name().to_owned())
            .or_default() += 1;
        Ok(())
    };
    Register::all(listener).name("analytics").asynchronous()
}

/// Places an order: its payment has succeeded or failed when this returns.
fn place(bus: &EventBus, order: u64, cents: u64) -> bool {
    bus.dispatch(OrderPlaced { order, cents })
        .errors()
        .is_empty()
}

fn main() -> Result<(), Box<dyn Error>> {
    let bus = BusOptions::new()
        .logger(|event| println!("log: {event}"))
        .build();

    let payments = Payments::default();
    let _payments = bus.register_with(Register::event(payments.clone()).name("payments"))?;

    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let mail = Register::event(move |event: &OrderPaid, _: &Context| {
        thread::sleep(Duration::from_millis(1));
        if event.order == 7 {
            return Err("the mailbox is full".into());
        }
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let mail = mail
        .name("mail")
        .asynchronous()
        .timeout(Duration::from_secs(5));
    let _mail = bus.register_with(mail)?;

    let counts = Arc::<Mutex<BTreeMap<_, _>>>::default();
    let flag: Subscription = bus.register_with(analytics(&counts))?;

    let placed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for shop in 0..2 {
            let (bus, placed) = (&bus, &placed);
            scope.spawn(move || {
                for order in (shop..20).step_by(2) {
                    thread::sleep(Duration::from_millis(1));
                    // One order is too dear.
                    let cents = if order == 13 { 20_000 } else { 100 * order };
                    placed.fetch_add(usize::from(place(bus, order, cents)), Ordering::Relaxed);
                }
            });
        }
        // The flag is turned off while orders are placed. Afterwards the analytics get nothing
        // more.
        let counts = &counts;
        scope.spawn(move || {
            while counts.lock().unwrap().is_empty() {
                thread::yield_now();
            }
            flag.unsubscribe();
        });
    });

    assert_eq!(placed.load(Ordering::Relaxed), 19);
    assert_eq!(payments.paid.lock().unwrap().len(), 19);

    // The mails are on their way. A shutdown waits for them.
    bus.close_timeout(Duration::from_secs(10))?;
    assert_eq!(sent.load(Ordering::Relaxed), 18);
    let errors = bus.errors();
    for error in &errors {
        println!("{error}");
    }
    assert_eq!(errors.len(), 2, "the dear order and the full mailbox");
    println!(
        "{} mails, counted {:?}",
        sent.load(Ordering::Relaxed),
        counts.lock().unwrap()
    );
    Ok(())
}
