//! An order service in two processes, which are two codebases with types of their own:
//!
//! ```text
//! cargo run -p fanfeed-examples --bin shop -- billing redis://localhost:6379
//! cargo run -p fanfeed-examples --bin shop -- orders redis://localhost:6379 20
//! cargo run -p fanfeed-examples --bin shop -- orders redis://localhost:6379 20 v1      # an older release of it
//! ```
//!
//! `nats://localhost:4222` works too. `goevent:localhost:6379` speaks with Go services, and `pubsub:localhost:6379` with
//! programs that read the envelope in `fanfeed_bus::docs::envelope`.
//!
//! Several `billing` processes share the orders, as a group, unless the broker has no groups (pub/sub): there each bills all. If one
//! is killed, the others get what it had not finished, where the broker keeps events: over Redis after 15 s, over NATS after 30 s
//! (`?heartbeat=1s`, `?ack_wait=2s`).
//!
//! `billing` ends at SIGTERM: it finishes what it has taken, for at most two seconds.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use fanfeed_broker::Delivery;
use fanfeed_bus::{BusOptions, Context, EventBus, GoEvent, RedisConfig, Register};
use fanfeed_bus::{RemoteOptions, Wire};
use fanfeed_examples::connect;

const GRACE: Duration = Duration::from_secs(2);
/// How long the server, or a payment, may be waited for. Over Redis it takes 15 s until a member that was killed counts as dead.
const PATIENCE: Duration = Duration::from_secs(30);

type Failure = Box<dyn Error + Send + Sync>;

/// The codebase of the orders. It writes version 2 now; its older releases wrote version 1.
mod orders {
    use fanfeed_bus::Event;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) struct OrderPlacedV1 {
        pub(crate) order: u64,
        pub(crate) cents: u64,
    }

    impl Event for OrderPlacedV1 {
        const NAME: &'static str = "order.placed.v1";
    }

    #[derive(Serialize, Deserialize)]
    pub(crate) struct OrderPlaced {
        pub(crate) order: u64,
        pub(crate) amount: Money,
        pub(crate) customer: String,
    }

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Money {
        pub(crate) cents: u64,
        pub(crate) currency: String,
    }

    impl Event for OrderPlaced {
        const NAME: &'static str = "order.placed.v2";
    }

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Paid {
        pub(crate) order: u64,
    }

    impl Event for Paid {
        const NAME: &'static str = "order.paid";
    }
}

/// The codebase of the billing. It needs less of an order, and says more about a payment.
mod billing {
    use fanfeed_bus::Event;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Old {
        pub(crate) order: u64,
        pub(crate) cents: u64,
    }

    impl Event for Old {
        const NAME: &'static str = "order.placed.v1";
    }

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Order {
        #[serde(rename = "order")]
        pub(crate) number: u64,
        pub(crate) amount: Amount,
    }

    #[derive(Serialize, Deserialize)]
    pub(crate) struct Amount {
        pub(crate) cents: u64,
        #[serde(default)]
        pub(crate) currency: Option<String>,
    }

    impl Event for Order {
        const NAME: &'static str = "order.placed.v2";
    }

    #[derive(Serialize, Deserialize)]
    pub(crate) struct OrderPaid {
        pub(crate) order: u64,
        pub(crate) cents: u64,
        pub(crate) currency: String,
    }

    impl Event for OrderPaid {
        const NAME: &'static str = "order.paid";
    }
}

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["orders", url, count] => place(&open(url)?, count.parse()?, false),
        ["orders", url, count, "v1"] => place(&open(url)?, count.parse()?, true),
        ["billing", url] => bill(&open(url)?, Duration::from_millis(1)),
        ["billing", url, "stuck"] => bill(&open(url)?, Duration::from_secs(3600)),
        _ => Err("shop orders URL COUNT [v1], or shop billing URL [stuck]".into()),
    }
}

/// The bus of a URL.
fn open(url: &str) -> Result<EventBus, Failure> {
    let local = BusOptions::new().logger(|event| eprintln!("{event}"));
    let options = RemoteOptions::new().bus(local);
    let redis = |address: &str, wire| {
        let config = RedisConfig::new().address(address).wire(wire);
        EventBus::from_config(config.options(options.clone()))
    };
    Ok(match url.split_once(':') {
        Some(("pubsub", address)) => redis(address, Wire::PubSub)?,
        Some(("goevent", address)) => redis(address, Wire::GoEvent(GoEvent::new()))?,
        _ => options.over(connect(url)?),
    })
}

/// Places orders, and waits until all are paid.
fn place(bus: &EventBus, count: u64, is_old: bool) -> Result<ExitCode, Failure> {
    bus.register_type::<orders::OrderPlacedV1>()?;
    bus.register_type::<orders::OrderPlaced>()?;
    bus.register_type::<orders::Paid>()?;
    let (paid, payments) = unbounded();
    let listener = move |event: &orders::Paid, _: &Context<'_>| Ok(paid.send(event.order)?);
    let _paid = bus.register(listener)?;
    for order in 0..count {
        let dispatch = match is_old {
            true => bus.dispatch(orders::OrderPlacedV1 { order, cents: 990 }),
            false => bus.dispatch(orders::OrderPlaced {
                order,
                amount: orders::Money {
                    cents: 990,
                    currency: "EUR".to_owned(),
                },
                customer: format!("customer {order}"),
            }),
        };
        if let Some(error) = dispatch.errors().first() {
            return Err(error.clone().into());
        }
    }
    println!("placed {count}");
    let mut open: Vec<_> = (0..count).collect();
    while !open.is_empty() {
        match payments.recv_timeout(PATIENCE) {
            Ok(order) => open.retain(|each| *each != order),
            Err(_) => break,
        }
    }
    println!("{} of {count} paid", count - open.len() as u64);
    bus.close_timeout(GRACE)?;
    Ok(ExitCode::from(u8::from(!open.is_empty())))
}

/// Bills orders until SIGTERM.
fn bill(bus: &EventBus, takes: Duration) -> Result<ExitCode, Failure> {
    let (stop, stopped) = bounded(1);
    ctrlc::set_handler(move || {
        let _ = stop.try_send(());
    })?;
    bus.register_type::<billing::Old>()?;
    bus.register_type::<billing::Order>()?;
    bus.register_type::<billing::OrderPaid>()?;
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let pay = {
        let counts = Arc::clone(&counts);
        move |order, cents, currency: &str, context: &Context<'_>| {
            let [taken, paid] = &*counts;
            if taken.fetch_add(1, Ordering::Relaxed) == 0 {
                println!("the first order is here");
            }
            // A bank that is slow to answer.
            context.token().wait_timeout(takes);
            if context.is_cancelled() {
                return Err("the bank has not answered".into());
            }
            let currency = currency.to_owned();
            let bus = context.bus();
            // When this returns, the group is done with the order. If the process is killed then, the payment must be on the
            // server, and no longer in a queue of the process.
            let event = billing::OrderPaid {
                order,
                cents,
                currency,
            };
            bus.dispatch_confirmed(event, PATIENCE)?;
            paid.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    let pay_old = pay.clone();
    let old = move |event: &billing::Old, context: &Context<'_>| {
        pay_old(event.order, event.cents, "EUR", context)
    };
    let new = move |event: &billing::Order, context: &Context<'_>| {
        let currency = event.amount.currency.as_deref();
        pay(
            event.number,
            event.amount.cents,
            currency.unwrap_or("EUR"),
            context,
        )
    };
    let broker = bus.broker().ok_or("the bus is in memory")?;
    let has_groups = broker.capabilities().group != Delivery::Unsupported;
    for register in [Register::event(old), Register::event(new)] {
        let register = register.name("bank").asynchronous();
        let register = match has_groups {
            true => register.group("billing"),
            false => register,
        };
        bus.register_with(register)?.detach();
    }
    println!("ready");
    stopped.recv()?;
    let closed = bus.close_timeout(GRACE);
    // The last orders are acknowledged by the broker, which a bus made over it does not close.
    let broker_closed = broker.close(GRACE);
    let [taken, paid] = &*counts;
    println!("taken {taken:?}, paid {paid:?}");
    if let Err(error) = &closed {
        println!("{error}");
    }
    if let Err(error) = &broker_closed {
        println!("{error}");
    }
    let failed = closed.is_err() || broker_closed.is_err();
    Ok(ExitCode::from(u8::from(failed)))
}
