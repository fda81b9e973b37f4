//! Sends: what the model says of them first, then the library, then whether they agree.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fanfeed::{Cause, Feed, Overflow, Undelivered};

use super::program::{Act, Form, Kind, RetryForm};
use super::sketch::{Failure, Offer};
use super::subscribing;
use super::world::{Call, Frame, Held, Sending, World, with};
use crate::trace::{ensure, expect, fail};
use crate::value::{self, Value, panic_on_purpose};

type Outcome = Result<usize, Undelivered<Value>>;

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
                world.after_panic(frame);
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
        // Acts come between two blocks of a batch, and between two sends: one block is what the model knows.
        let acts =
            |one: &super::world::Subscriber| !matches!(one.act, Act::Nothing) && one.sketch.live;
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
            Err(_) => world.after_panic_in_batch(&frame),
        }
        world.is_quiet = false;
    });
}

/// Offers again what was not delivered to all.
pub(crate) fn retry(which: u8, form: RetryForm) {
    let begun = with(|world| {
        let index = usize::from(which).checked_rem(world.held.len())?;
        let held = world.held.swap_remove(index);
        Some((held, world.take_armed()))
    });
    let Some((held, armed)) = begun else { return };
    let Held {
        undelivered,
        number,
        mut waits,
        mut delivered,
    } = held;
    let waiting = !matches!(form, RetryForm::Now);
    value::arm(armed);
    let outcome = catch_unwind(AssertUnwindSafe(|| match form {
        RetryForm::Now => undelivered.retry(),
        RetryForm::Timeout => undelivered.retry_timeout(Duration::ZERO),
        RetryForm::Deadline => undelivered.retry_deadline(Instant::now()),
    }));
    let panicked = value::disarm(armed);
    with(|world| {
        world.is_quiet = false;
        expect("panic of a retry", &outcome.is_err(), &panicked);
        let Ok(outcome) = outcome else {
            return world.after_panic_in_retry(&waits, number, waiting);
        };
        if waiting {
            world.count_blocked(&waits);
        }
        world.offer_again(&mut waits, number, &mut delivered);
        world.settle(outcome, waiting, number, waits, delivered);
    });
}

/// Gives up what was not delivered to all.
pub(crate) fn give_up(which: u8, take: bool) {
    with(|world| {
        let Some(index) = usize::from(which).checked_rem(world.held.len()) else {
            return;
        };
        let held = world.held.swap_remove(index);
        if take {
            expect(
                "value",
                &held.undelivered.into_inner().number(),
                &held.number,
            );
        } else {
            drop(held.undelivered);
        }
        world.count_given_up(&held.waits);
    });
}

/// Makes a send that waits without blocking. Nothing is sent yet.
pub(crate) fn begin_async() {
    with(|world| {
        let (None, Some(feed)) = (&world.sending, world.feeds.last().cloned()) else {
            return;
        };
        let number = world.number();
        let future = feed.send_async(Value::new(number));
        world.sending = Some(Sending {
            future,
            number,
            is_begun: false,
            waits: Vec::new(),
            delivered: 0,
        });
    });
}

/// Polls it.
pub(crate) fn poll() {
    let begun = with(|world| {
        // What waits at channels without capacity is taken to a thread of its own, which is no part of the model.
        let meets =
            |one: &super::world::Subscriber| one.sketch.capacity == 0 && one.sketch.would_block(1);
        let meets = world.subscribers.iter().any(meets);
        let mut sending = world.sending.take()?;
        if !sending.is_begun && meets {
            world.sending = Some(sending);
            return None;
        }
        let is_first = !std::mem::replace(&mut sending.is_begun, true);
        if is_first {
            world.begin(vec![sending.number], false);
        }
        Some((sending, is_first))
    });
    let Some((mut sending, is_first)) = begun else {
        return;
    };
    let polled = Pin::new(&mut sending.future).poll(&mut Context::from_waker(Waker::noop()));
    with(|world| {
        if is_first {
            let frame = world.end();
            sending.waits = frame.waits;
            sending.delivered = frame.delivered;
            world.count_blocked(&sending.waits);
        }
        world.offer_again(&mut sending.waits, sending.number, &mut sending.delivered);
        if sending.waits.is_empty() {
            expect("poll of a send", &polled, &Poll::Ready(sending.delivered));
        } else {
            expect("poll of a send", &polled, &Poll::Pending);
            expect(
                "delivered so far",
                &sending.future.delivered(),
                &sending.delivered,
            );
            world.sending = Some(sending);
        }
    });
}

/// Drops it.
pub(crate) fn drop_async() {
    with(|world| {
        if let Some(sending) = world.sending.take() {
            drop(sending.future);
            world.count_given_up(&sending.waits);
        }
    });
}

/// A closure is called by the library.
pub(crate) fn called(closure: usize, number: u64) {
    match with(|world| world.called(closure, number)) {
        Act::Nothing => {}
        Act::Panic => panic_on_purpose(),
        Act::UnsubscribeItself => with(|world| world.unsubscribe(closure)),
        Act::Unsubscribe(who) => with(|world| {
            if let Some(index) = world.choose(who) {
                world.unsubscribe(index);
            }
        }),
        Act::SubscribeChannel { capacity, overflow } => {
            subscribing::subscribe(Kind::Own { capacity, overflow }, false);
        }
        Act::SubscribeClosure => subscribing::subscribe(Kind::Closure(Act::Nothing), false),
        Act::Send => {
            with(|world| {
                world
                    .frames
                    .last_mut()
                    .expect("a send is under way")
                    .has_nested = true
            });
            send(Form::TrySend);
        }
        Act::SendElsewhere => {
            let elsewhere = with(|world| {
                world.sent_elsewhere += 1;
                world.elsewhere.clone()
            });
            expect("sent elsewhere", &elsewhere.send(Value::new(0)), &1);
        }
        Act::Close => with(|world| {
            if let Some(feed) = world.feeds.last() {
                feed.close();
                world.close();
            }
        }),
    }
}

impl World {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn take_armed(&mut self) -> u64 {
        // Whom a clone was for is seen by the figures alone.
        let seen =
            |one: &super::world::Subscriber| !one.sketch.live || one.subscription().is_some();
        if !self.frames.is_empty() || !self.subscribers.iter().all(seen) {
            return 0;
        }
        let armed = std::mem::take(&mut self.armed);
        self.is_quiet = armed > 0;
        armed
    }

    /// Has the model send.
    fn begin(&mut self, values: Vec<u64>, may_panic: bool) {
        let before = may_panic.then(|| {
            self.subscribers
                .iter()
                .map(|one| one.sketch.clone())
                .collect()
        });
        let mut frame = Frame {
            values,
            calls: Vec::new(),
            waits: Vec::new(),
            delivered: 0,
            known: self.subscribers.len(),
            live: self.live(),
            has_nested: false,
            before,
        };
        for (index, one) in self.subscribers.iter_mut().enumerate() {
            if !one.sketch.live {
                continue;
            }
            if one.sketch.is_closure {
                frame.calls.push(Call {
                    closure: index,
                    times: 0,
                    is_due: true,
                });
                continue;
            }
            for number in &frame.values {
                match one.sketch.offer(*number) {
                    Offer::Delivered => frame.delivered += 1,
                    Offer::Missed => {}
                    Offer::Waits => frame.waits.push(index),
                    Offer::Ended => break,
                }
            }
        }
        value::take_clones();
        self.frames.push(frame);
    }

    fn called(&mut self, closure: usize, number: u64) -> Act {
        let Some(frame) = self.frames.last_mut() else {
            fail(&format!(
                "closure {closure} is called with {number} though nobody sends"
            ));
        };
        let position = frame.calls.iter().position(|call| call.closure == closure);
        let position = position.unwrap_or_else(|| {
            ensure(closure >= frame.known, || {
                format!("closure {closure} is called, and had ended")
            });
            frame.calls.push(Call {
                closure,
                times: 0,
                is_due: false,
            });
            frame.calls.len() - 1
        });
        let call = &mut frame.calls[position];
        let one = &mut self.subscribers[closure];
        ensure(one.sketch.live, || {
            format!("closure {closure} is called after it has ended")
        });
        expect(
            "the value that a closure is called with",
            &Some(&number),
            &frame.values.get(call.times),
        );
        call.times += 1;
        let act = if self.is_quiet {
            Act::Nothing
        } else {
            std::mem::replace(&mut one.act, Act::Nothing)
        };
        if matches!(act, Act::Panic) {
            one.sketch.dropped += 1;
            one.sketch.end(Some(Failure::Panicked));
        } else {
            one.sketch.delivered += 1;
            frame.delivered += 1;
        }
        act
    }

    /// The library has called all closures that it would.
    fn end(&mut self) -> Frame {
        let clones = value::take_clones();
        let frame = self.frames.pop().expect("what was begun is ended once");
        for call in &frame.calls {
            if call.is_due && self.subscribers[call.closure].sketch.live {
                let what = format!("calls of closure {}", call.closure);
                expect(&what, &call.times, &frame.values.len());
            }
        }
        if !frame.has_nested && frame.values.len() == 1 {
            let most = frame.live.saturating_sub(1) as u64;
            ensure(clones <= most, || {
                format!("clones: expected at most {most}, saw {clones}")
            });
        }
        frame
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

    fn settle(
        &mut self,
        outcome: Outcome,
        waiting: bool,
        number: u64,
        waits: Vec<usize>,
        delivered: usize,
    ) {
        match outcome {
            Ok(reached) => {
                expect("subscribers without room", &Vec::<usize>::new(), &waits);
                expect("reached", &reached, &delivered);
            }
            Err(undelivered) => {
                let cause = if waiting { Cause::Timeout } else { Cause::Full };
                expect("cause", &undelivered.cause(), &cause);
                expect("value", &undelivered.value().number(), &number);
                expect("delivered", &undelivered.delivered(), &delivered);
                let missed = undelivered.missed().iter();
                let mut seen: Vec<_> = missed.map(|one| (one.id, one.name.as_deref())).collect();
                let waiting = waits.iter().map(|index| &self.subscribers[*index]);
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

    fn count_blocked(&mut self, waits: &[usize]) {
        for index in waits {
            self.subscribers[*index].sketch.blocked += 1;
        }
    }

    fn count_given_up(&mut self, waits: &[usize]) {
        for index in waits {
            let sketch = &mut self.subscribers[*index].sketch;
            sketch.dropped += u64::from(sketch.live);
        }
    }

    fn offer_again(&mut self, waits: &mut Vec<usize>, number: u64, delivered: &mut usize) {
        waits.retain(|index| {
            let sketch = &mut self.subscribers[*index].sketch;
            let offer = if sketch.live {
                sketch.offer(number)
            } else {
                Offer::Ended
            };
            *delivered += usize::from(offer == Offer::Delivered);
            offer == Offer::Waits
        });
    }

    /// A clone panicked. Whose it was the documentation leaves open, but not that it was one subscriber's, and that all
    /// others were served.
    fn after_panic(&mut self, frame: Frame) {
        let before = frame
            .before
            .expect("a clone panics only where that was expected");
        let mut victims = 0;
        let mut may_be = !frame.waits.is_empty();
        for (index, was) in before.iter().enumerate() {
            let one = &mut self.subscribers[index];
            if !was.live || was.is_closure {
                continue;
            }
            let stats = one
                .stats()
                .expect("clones panic only where all figures can be seen");
            let is_closed = one
                .subscription()
                .is_none_or(fanfeed::Subscription::is_closed);
            let sketch = &mut one.sketch;
            if frame.waits.contains(&index) {
                sketch.dropped += 1;
                // It was waited for, unless its own clone had panicked before.
                let most = was.blocked + 1;
                ensure((was.blocked..=most).contains(&stats.blocked), || {
                    "blocked too often".into()
                });
                sketch.blocked = stats.blocked;
            } else if (stats.delivered, stats.dropped, is_closed)
                == (sketch.delivered, sketch.dropped, !sketch.live)
            {
                let missed = sketch.live && sketch.dropped == was.dropped + 1;
                may_be |= missed;
                if missed && sketch.overflow != Overflow::Block {
                    // It has missed one, but whether its receiver is told of that depends on whose clone it was.
                    one.retire();
                }
            } else {
                let expected = (was.delivered, was.dropped + 1, false);
                expect(
                    "a victim",
                    &(stats.delivered, stats.dropped, is_closed),
                    &expected,
                );
                *sketch = was.clone();
                sketch.dropped += 1;
                victims += 1;
            }
        }
        ensure(victims == 1 || victims == 0 && may_be, || {
            format!("a clone panicked, and {victims} subscribers have missed it")
        });
    }

    fn after_panic_in_batch(&mut self, frame: &Frame) {
        let before = frame
            .before
            .as_ref()
            .expect("a clone panics only where that was expected");
        let mut victims = 0;
        for (index, was) in before.iter().enumerate() {
            let one = &mut self.subscribers[index];
            if !was.live || was.is_closure {
                continue;
            }
            let stats = one
                .stats()
                .expect("clones panic only where all figures can be seen");
            let sketch = &one.sketch;
            if sketch.overflow != Overflow::Block || was.panics {
                // Which of the values it has missed is seen only by receiving.
                one.retire();
            } else if (stats.delivered, stats.dropped) != (sketch.delivered, sketch.dropped) {
                let expected = (sketch.delivered - 1, sketch.dropped + 1);
                expect("a victim", &(stats.delivered, stats.dropped), &expected);
                victims += 1;
                one.retire();
            }
        }
        ensure(victims <= 1, || {
            format!("{victims} subscribers have missed a clone that panicked")
        });
    }

    fn after_panic_in_retry(&mut self, waits: &[usize], number: u64, waiting: bool) {
        for index in waits {
            let one = &mut self.subscribers[*index];
            if !one.sketch.live {
                continue;
            }
            let stats = one
                .stats()
                .expect("clones panic only where all figures can be seen");
            if waiting {
                let most = one.sketch.blocked + 1;
                expect("blocked", &stats.blocked, &most);
                one.sketch.blocked = most;
            }
            let was_delivered = stats.delivered > one.sketch.delivered;
            let is_closed = one
                .subscription()
                .is_none_or(fanfeed::Subscription::is_closed);
            if was_delivered || is_closed {
                one.sketch.offer(number);
            } else {
                // Its clone panicked, or it had no room and the value was given up.
                one.sketch.dropped += 1;
            }
        }
    }
}
