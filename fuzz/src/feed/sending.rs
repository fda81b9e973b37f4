//! Sends that wait at most until a deadline: first the model runs, then the library, then the
//! results are compared.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fanfeed::{Cause, Feed, Undelivered};

use super::frame::{Frame, Waits};
use super::program::{Act, Form};
use super::world::{Held, Subscriber, World, with};
use crate::trace::{ensure, expect};
use crate::value::{self, Value};

pub(crate) type Outcome = Result<usize, Undelivered<Value>>;

/// Makes one send. In a closure, one that does not wait.
pub(crate) fn send(form: Form) {
    let begun = with(|world| {
        let feed = world.feeds.last()?.clone();
        let would_block = world
            .subscribers
            .iter()
            .any(|one| one.sketch.would_block(1));
        let form = match form {
            Form::Send if would_block => Form::TrySend,
            form => form,
        };
        let number = world.number();
        let armed = world.take_armed();
        world.begin(vec![number], armed > 0);
        Some((feed, form, number, armed))
    });
    let Some((feed, form, number, armed)) = begun else {
        return;
    };
    let value = Value::new(number);
    value::arm(armed);
    let outcome = catch_unwind(AssertUnwindSafe(|| send_as(&feed, form, value)));
    let panicked = value::disarm(armed);
    drop(feed);
    with(|world| {
        let frame = world.end();
        match outcome {
            Ok(outcome) => {
                ensure(!panicked, || {
                    "a clone panicked, and the send did not".into()
                });
                world.sent(form, number, frame, outcome);
            }
            Err(_) => {
                ensure(panicked, || "a send panicked, and no clone did".into());
                let waiting = matches!(form, Form::Timeout | Form::Deadline);
                world.after_panic(&frame, waiting);
            }
        }
        world.is_quiet = false;
    });
}

fn send_as(feed: &Feed<Value>, form: Form, value: Value) -> Outcome {
    match form {
        Form::Send => Ok(feed.send(value)),
        Form::TrySend => feed.try_send(value),
        Form::Timeout => feed.send_timeout(value, Duration::ZERO),
        Form::Deadline => feed.send_deadline(value, Instant::now()),
    }
}

/// Sends a batch, if none of it would wait.
pub(crate) fn batch(count: u8) {
    let begun = with(|world| {
        let feed = world.feeds.last()?.clone();
        // Acts come between two blocks of a batch, and between two sends: one block is what the
        // model knows.
        let acts = |one: &Subscriber| !matches!(one.act, Act::Nothing) && one.sketch.live;
        let limit = if world.subscribers.iter().any(acts) {
            32
        } else {
            70
        };
        let count = usize::from(count) % limit;
        if world
            .subscribers
            .iter()
            .any(|one| one.sketch.would_block(count))
        {
            return None;
        }
        let numbers: Vec<u64> = (0..count).map(|_| world.number()).collect();
        let armed = world.take_armed();
        world.begin(numbers.clone(), armed > 0);
        Some((feed, numbers, armed))
    });
    let Some((feed, numbers, armed)) = begun else {
        return;
    };
    let values: Vec<Value> = numbers.iter().map(|number| Value::new(*number)).collect();
    value::arm(armed);
    let outcome = catch_unwind(AssertUnwindSafe(|| feed.send_batch(values)));
    let panicked = value::disarm(armed);
    drop(feed);
    with(|world| {
        let frame = world.end();
        expect("panic of a batch", &outcome.is_err(), &panicked);
        match outcome {
            Ok(delivered) => expect("deliveries of a batch", &delivered, &frame.delivered),
            Err(_) => world.after_panic(&frame, false),
        }
        world.is_quiet = false;
    });
}

impl World {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn take_armed(&mut self) -> u64 {
        // Only the figures show which subscriber a clone was for.
        let seen = |one: &Subscriber| !one.sketch.live || one.subscription().is_some();
        if !self.frames.is_empty() || !self.subscribers.iter().all(seen) {
            return 0;
        }
        let armed = std::mem::take(&mut self.armed);
        self.is_quiet = armed > 0;
        armed
    }

    /// Compares what a send of one value returned.
    fn sent(&mut self, form: Form, number: u64, frame: Frame, outcome: Outcome) {
        let Frame {
            mut waits,
            mut delivered,
            ..
        } = frame;
        let waiting = matches!(form, Form::Timeout | Form::Deadline);
        if waiting {
            self.count_blocked(&waits);
            self.offer_again(&mut waits, number, &mut delivered);
        }
        self.settle(outcome, waiting, number, waits, delivered);
    }

    pub(crate) fn settle(
        &mut self,
        outcome: Outcome,
        waiting: bool,
        number: u64,
        waits: Waits,
        delivered: usize,
    ) {
        match outcome {
            Ok(reached) => {
                expect("subscribers without room", &Waits::new(), &waits);
                expect("reached", &reached, &delivered);
            }
            Err(undelivered) => {
                let cause = if waiting { Cause::Timeout } else { Cause::Full };
                expect("cause", &undelivered.cause(), &cause);
                expect("value", &undelivered.value().number(), &number);
                expect("delivered", &undelivered.delivered(), &delivered);
                let missed = undelivered.missed().iter();
                let mut seen: Vec<_> = missed.map(|one| (one.id, one.name.as_deref())).collect();
                let waiting = waits.iter().map(|(index, _)| &self.subscribers[*index]);
                let mut expected: Vec<_> = waiting.map(|one| (one.id, one.name)).collect();
                seen.sort_unstable();
                expected.sort_unstable();
                expect("missed", &seen, &expected);
                self.held.push(Held {
                    undelivered,
                    number,
                    waits,
                    delivered,
                });
            }
        }
    }
}
