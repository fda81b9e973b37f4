//! The codebase of the billing. It needs less of an order, and says more about a payment.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use fanfeed_broker::Delivery;
use fanfeed_bus::{Context, Event, EventBus, Outcome, Register};
use serde::{Deserialize, Serialize};

use crate::{Failure, GRACE, PATIENCE};

#[derive(Serialize, Deserialize)]
struct Old {
    order: u64,
    cents: u64,
}

impl Event for Old {
    const NAME: &'static str = "order.placed.v1";
}

#[derive(Serialize, Deserialize)]
struct Order {
    #[serde(rename = "order")]
    number: u64,
    amount: Amount,
}

#[derive(Serialize, Deserialize)]
struct Amount {
    cents: u64,
    #[serde(default)]
    currency: Option<String>,
}

impl Event for Order {
    const NAME: &'static str = "order.placed.v2";
}

#[derive(Serialize, Deserialize)]
struct OrderPaid {
    order: u64,
    cents: u64,
    currency: String,
}

impl Event for OrderPaid {
    const NAME: &'static str = "order.paid";
}

#[derive(Serialize, Deserialize)]
struct Decline {
    order: u64,
    reason: String,
    limit: u64,
}

impl Event for Decline {
    const NAME: &'static str = "order.refused";
}

/// The most that a card pays.
const LIMIT: u64 = 10_000;

#[derive(Clone)]
struct Bank {
    takes: Duration,
    taken: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
}

impl Bank {
    fn pay(&self, order: u64, cents: u64, currency: &str, context: &Context<'_>) -> Outcome {
        if self.taken.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("the first order is here");
        }
        // A bank that is slow to answer.
        context.token().wait_timeout(self.takes);
        if context.is_cancelled() {
            return Err("the bank has not answered".into());
        }
        // When this returns, the group is done with the order. If the process is killed then, the
        // answer must be on the server, and no longer in a queue of the process.
        let bus = context.bus();
        if cents > LIMIT {
            let decline = Decline {
                order,
                reason: "it is above the limit of the card".to_owned(),
                limit: LIMIT,
            };
            bus.dispatch_confirmed(decline, PATIENCE)?;
        } else {
            let paid = OrderPaid {
                order,
                cents,
                currency: currency.to_owned(),
            };
            bus.dispatch_confirmed(paid, PATIENCE)?;
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Bills orders until SIGTERM. Each takes that long.
pub(crate) fn run(bus: &EventBus, takes: Duration) -> Result<ExitCode, Failure> {
    let (stop, stopped) = bounded(1);
    ctrlc::set_handler(move || {
        let _ = stop.try_send(());
    })?;
    bus.register_type::<Old>()?;
    bus.register_type::<Order>()?;
    bus.register_type::<OrderPaid>()?;
    bus.register_type::<Decline>()?;
    let bank = Bank {
        takes,
        taken: Arc::default(),
        answered: Arc::default(),
    };
    let of_old = bank.clone();
    let old = move |event: &Old, context: &Context<'_>| {
        of_old.pay(event.order, event.cents, "EUR", context)
    };
    let of_new = bank.clone();
    let new = move |event: &Order, context: &Context<'_>| {
        let currency = event.amount.currency.as_deref().unwrap_or("EUR");
        of_new.pay(event.number, event.amount.cents, currency, context)
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

    // One deadline for both: the listeners finish, and what they dispatched reaches the server.
    // Then the broker, which a bus made over it does not close, acknowledges the last orders.
    let deadline = Instant::now() + GRACE;
    let closed = bus.close_timeout(GRACE);
    let rest = deadline.saturating_duration_since(Instant::now());
    let broker_closed = broker.close(rest);
    let (taken, answered) = (&bank.taken, &bank.answered);
    println!("taken {taken:?}, answered {answered:?}");
    for error in bus.errors() {
        println!("error: {error}");
    }
    if let Err(error) = &closed {
        println!("{error}");
    }
    if let Err(error) = &broker_closed {
        println!("{error}");
    }
    let failed = closed.is_err() || broker_closed.is_err();
    Ok(ExitCode::from(u8::from(failed)))
}
