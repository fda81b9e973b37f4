//! The codebase of the orders. It writes version 2 of an order now; its older releases wrote
//! version 1.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use fanfeed_bus::{AnyEvent, Context, Event, EventBus, Register};
use serde::{Deserialize, Serialize};

use crate::{Failure, GRACE, PATIENCE};

/// How many orders are placed at the same time.
const TILLS: usize = 4;

#[derive(Serialize, Deserialize)]
struct OrderPlacedV1 {
    order: u64,
    cents: u64,
}

impl Event for OrderPlacedV1 {
    const NAME: &'static str = "order.placed.v1";
}

#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order: u64,
    amount: Money,
    customer: String,
}

#[derive(Serialize, Deserialize)]
struct Money {
    cents: u64,
    currency: String,
}

impl Event for OrderPlaced {
    const NAME: &'static str = "order.placed.v2";
}

#[derive(Serialize, Deserialize)]
struct Paid {
    order: u64,
}

impl Event for Paid {
    const NAME: &'static str = "order.paid";
}

#[derive(Serialize, Deserialize)]
struct Refused {
    order: u64,
    reason: String,
}

impl Event for Refused {
    const NAME: &'static str = "order.refused";
}

#[derive(Clone, Copy)]
enum Answer {
    Paid,
    Refused,
}

/// The orders whose payment is waited for.
#[derive(Clone, Default)]
struct Open {
    tills: Arc<Mutex<HashMap<u64, Sender<Answer>>>>,
}

impl Open {
    /// Whether the order was open. An answer may come twice, if a billing process was killed.
    fn answer(&self, order: u64, answer: Answer) -> bool {
        let till = self.tills.lock().unwrap().remove(&order);
        till.is_some_and(|till| till.send(answer).is_ok())
    }
}

/// Places an order, and waits until it is paid or refused.
fn place(bus: &EventBus, open: &Open, order: u64, is_old: bool) -> Result<Answer, Failure> {
    let (till, answer) = bounded(1);
    open.tills.lock().unwrap().insert(order, till);
    // One order is too dear.
    let cents = if order == 13 { 20_000 } else { 990 };
    let dispatch = match is_old {
        true => bus.dispatch(OrderPlacedV1 { order, cents }),
        false => bus.dispatch(OrderPlaced {
            order,
            amount: Money {
                cents,
                currency: "EUR".to_owned(),
            },
            customer: format!("customer {order}"),
        }),
    };
    if let Some(error) = dispatch.errors().first() {
        return Err(error.clone().into());
    }
    let answer = answer.recv_timeout(PATIENCE);
    answer
        .map_err(|_| format!("nobody has billed order {order}; is `shop billing` running?").into())
}

/// Sends a mail for each paid order, and remembers for which, since a payment may be announced
/// twice.
fn mail(sent: &Arc<Mutex<BTreeSet<u64>>>, takes: Duration) -> Register {
    let sent = Arc::clone(sent);
    let mail = Register::event(move |event: &Paid, context: &Context<'_>| {
        // A mail server that is slow to answer.
        context.token().wait_timeout(takes);
        if context.is_cancelled() {
            return Err("the mail server has not answered".into());
        }
        if event.order == 7 {
            return Err("the mailbox is full".into());
        }
        sent.lock().unwrap().insert(event.order);
        Ok(())
    });
    mail.name("mail").asynchronous()
}

type Counts = BTreeMap<String, u64>;

/// Counts events of all kinds, of both processes, and does not know them.
fn analytics(counts: &Arc<Mutex<Counts>>) -> Register {
    let counts = Arc::clone(counts);
    let listener = move |event: &dyn AnyEvent, _: &Context<'_>| {
        let name = event.name().to_owned();
        *counts.lock().unwrap().entry(name).or_default() += 1;
        Ok(())
    };
    Register::all(listener).name("analytics").asynchronous()
}

/// Places orders. Each mail takes that long.
pub(crate) fn run(
    bus: &EventBus,
    count: u64,
    is_old: bool,
    mail_takes: Duration,
) -> Result<ExitCode, Failure> {
    bus.register_type::<OrderPlacedV1>()?;
    bus.register_type::<OrderPlaced>()?;
    bus.register_type::<Paid>()?;
    bus.register_type::<Refused>()?;
    let open = Open::default();
    let paid = {
        let open = open.clone();
        move |event: &Paid, _: &Context<'_>| {
            open.answer(event.order, Answer::Paid);
            Ok(())
        }
    };
    bus.register(paid)?.detach();
    let refused = {
        let open = open.clone();
        move |event: &Refused, _: &Context<'_>| match open.answer(event.order, Answer::Refused) {
            true => Err(format!("order {}: {}", event.order, event.reason).into()),
            false => Ok(()),
        }
    };
    let refused = Register::event(refused).name("payment");
    bus.register_with(refused)?.detach();

    let sent = Arc::default();
    bus.register_with(mail(&sent, mail_takes))?.detach();
    let counts = Arc::default();
    let flag = bus.register_with(analytics(&counts))?;
    let counted = || counts.lock().unwrap().clone();

    let (next, answers) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let counted_until_off = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..TILLS {
            scope.spawn(|| {
                loop {
                    let order = next.fetch_add(1, Ordering::Relaxed);
                    if order >= count {
                        return;
                    }
                    if order == count / 2 {
                        // The flag is turned off while the other tills place orders. Once this has
                        // returned, the analytics get nothing more.
                        flag.unsubscribe();
                        *counted_until_off.lock().unwrap() = Some(counted());
                    }
                    let answer = place(bus, &open, order, is_old);
                    // Without an answer, the next order would wait as long.
                    let is_over = answer.is_err();
                    answers.lock().unwrap().push(answer);
                    if is_over {
                        return;
                    }
                }
            });
        }
    });
    let (mut paid, mut refused) = (0, 0);
    for answer in answers.into_inner().unwrap() {
        match answer {
            Ok(Answer::Paid) => paid += 1,
            Ok(Answer::Refused) => refused += 1,
            Err(error) => println!("error: {error}"),
        }
    }
    println!("{paid} of {count} paid, {refused} refused");

    // The mails are on their way. A shutdown waits for them.
    let closed = bus.close_timeout(GRACE);
    println!("{} mails sent", sent.lock().unwrap().len());
    if let Some(until_off) = counted_until_off.into_inner().unwrap() {
        assert_eq!(
            counted(),
            until_off,
            "they were called though they were off"
        );
        println!("the analytics counted {until_off:?} before they were turned off");
    }
    for error in bus.errors() {
        println!("error: {error}");
    }
    if let Err(error) = &closed {
        println!("error: {error}");
    }
    let failed = closed.is_err() || paid + refused < count;
    Ok(ExitCode::from(u8::from(failed)))
}
