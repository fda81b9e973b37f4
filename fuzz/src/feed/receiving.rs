//! All kinds of receives.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fanfeed::{Receiver, RecvError, RecvTimeoutError, TryRecvError};
use futures_core::Stream;

use super::awaiting;
use super::far_end::FarEnd;
use super::program::Receive;
use super::sketch::Sketch;
use super::world::{World, with};
use crate::trace::expect;
use crate::value::{Value, panic_on_purpose};

/// Has one subscriber receive.
pub(crate) fn receive(who: u8, form: Receive, count: u8) {
    let is_awaited = with(|world| {
        let index = world.choose(who)?;
        let one = &mut world.subscribers[index];
        match &mut one.far_end {
            FarEnd::Own(receiver) => own(receiver, &mut one.sketch, form, usize::from(count % 12)),
            far_end => {
                for _ in 0..=count % 8 {
                    let Some(seen) = far_end.try_recv() else {
                        break;
                    };
                    let expected = one.sketch.receive();
                    expect("received", &number(seen), &expected);
                    if expected.is_err() {
                        break;
                    }
                    let waits = world.sending.as_ref().map(|sending| &sending.waits);
                    if matches!(far_end, FarEnd::Tokio(_))
                        && waits.is_some_and(|waits| waits.iter().any(|(one, _)| *one == index))
                    {
                        // Tokio has promised the room to that send, until it is polled.
                        return Some(true);
                    }
                }
            }
        }
        Some(false)
    });
    if is_awaited == Some(true) {
        awaiting::poll();
    }
}

impl World {
    /// Has every other subscriber receive everything that is left, from the first or from the
    /// second on. What is left to the rest is dropped with them.
    pub(crate) fn receive_rest(&mut self, from: usize) {
        for one in self.subscribers.iter_mut().skip(from).step_by(2) {
            while let Some(seen) = one.far_end.try_recv() {
                let seen = number(seen);
                expect("what was left", &seen, &one.sketch.receive());
                if !matches!(seen, Ok(_) | Err(TryRecvError::Lagged(_))) {
                    break;
                }
            }
        }
        self.check_all();
    }
}

fn number<E>(received: Result<Value, E>) -> Result<u64, E> {
    received.map(|value| value.number())
}

fn at_limit(error: TryRecvError) -> RecvTimeoutError {
    match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Lagged(missed) => RecvTimeoutError::Lagged(missed),
        TryRecvError::Closed => RecvTimeoutError::Closed,
        TryRecvError::Overflowed => RecvTimeoutError::Overflowed,
    }
}

fn own(receiver: &mut Receiver<Value>, sketch: &mut Sketch, form: Receive, count: usize) {
    let mut context = Context::from_waker(Waker::noop());
    match form {
        Receive::Wait if !sketch.would_wait() => {
            let expected = sketch.receive().map_err(at_limit);
            let seen = number(receiver.recv()).map_err(RecvTimeoutError::from);
            expect("recv", &seen, &expected);
        }
        Receive::Try | Receive::Wait => {
            expect("try_recv", &number(receiver.try_recv()), &sketch.receive());
        }
        Receive::Timeout => {
            let seen = number(receiver.recv_timeout(Duration::ZERO));
            expect("recv_timeout", &seen, &sketch.receive().map_err(at_limit));
        }
        Receive::Deadline => {
            let seen = number(receiver.recv_deadline(Instant::now()));
            expect("recv_deadline", &seen, &sketch.receive().map_err(at_limit));
        }
        Receive::Drain => {
            let mut seen = Vec::new();
            let returned = receiver.drain(count, |value| seen.push(value.number()));
            let expected = drain(sketch, count);
            expect(
                "drain",
                &returned.map(|taken| (taken, seen)),
                &expected.map(|all| (all.len(), all)),
            );
        }
        Receive::DrainInto => {
            let mut seen = Vec::new();
            let returned = receiver.drain_into(&mut seen, count);
            let seen: Vec<u64> = seen.iter().map(Value::number).collect();
            let expected = drain(sketch, count);
            expect(
                "drain_into",
                &returned.map(|taken| (taken, seen)),
                &expected.map(|all| (all.len(), all)),
            );
        }
        Receive::DrainPanicking => {
            let mut seen = Vec::new();
            let returned = catch_unwind(AssertUnwindSafe(|| {
                receiver.drain(usize::MAX, |value| {
                    seen.push(value.number());
                    if seen.len() > count {
                        panic_on_purpose();
                    }
                })
            }));
            let expected = drain(sketch, count + 1);
            match (returned, expected) {
                (Err(_), expected) => expect("a drain that panics", &Ok(seen), &expected),
                (Ok(returned), expected) => {
                    expect("a drain", &returned.map(|_| seen), &expected.clone());
                    let panics = expected.is_ok_and(|all| all.len() > count);
                    expect("a panic of a drain", &false, &panics);
                }
            }
        }
        Receive::TryIter => {
            let seen: Vec<u64> = receiver
                .try_iter()
                .take(count)
                .map(|value| value.number())
                .collect();
            let mut expected = Vec::new();
            while expected.len() < count {
                match skip(sketch) {
                    Ok(number) => expected.push(number),
                    Err(_) => break,
                }
            }
            expect("try_iter", &seen, &expected);
        }
        Receive::Iter => {
            for _ in 0..count {
                if skip(&mut sketch.clone()) == Err(TryRecvError::Empty) {
                    break;
                }
                let seen = receiver.iter().next().map(|value| value.number());
                expect("iter", &seen, &skip(sketch).ok());
            }
        }
        Receive::Stream => {
            let mut polled = Pin::new(&mut *receiver).poll_next(&mut context);
            if polled.is_pending() {
                // It may have given way to other tasks.
                polled = Pin::new(receiver).poll_next(&mut context);
            }
            let seen = polled;
            let expected = match skip(sketch) {
                Ok(number) => Poll::Ready(Some(number)),
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(_) => Poll::Ready(None),
            };
            expect(
                "poll_next",
                &seen.map(|value| value.map(|value| value.number())),
                &expected,
            );
        }
        Receive::Async => {
            let mut polled = Pin::new(&mut receiver.recv_async()).poll(&mut context);
            if polled.is_pending() {
                // As above.
                polled = Pin::new(&mut receiver.recv_async()).poll(&mut context);
            }
            let seen = polled.map(number);
            let expected = match sketch.receive() {
                Ok(number) => Poll::Ready(Ok(number)),
                Err(TryRecvError::Empty) => Poll::Pending,
                Err(TryRecvError::Lagged(missed)) => Poll::Ready(Err(RecvError::Lagged(missed))),
                Err(TryRecvError::Closed) => Poll::Ready(Err(RecvError::Closed)),
                Err(TryRecvError::Overflowed) => Poll::Ready(Err(RecvError::Overflowed)),
            };
            expect("recv_async", &seen, &expected);
        }
    }
}

/// What a drain of up to so many hands out. It looks no further than the last value that was there
/// when it began: a gap after that is left to the next receive.
fn drain(sketch: &mut Sketch, limit: usize) -> Result<Vec<u64>, TryRecvError> {
    let limit = limit.min(sketch.queue.len().max(1));
    let mut all = Vec::new();
    while all.len() < limit {
        match sketch.receive() {
            Ok(number) => all.push(number),
            Err(error) if all.is_empty() => return Err(error),
            Err(TryRecvError::Lagged(missed)) => {
                sketch.untold = missed;
                break;
            }
            Err(_) => break,
        }
    }
    Ok(all)
}

/// What the next receive returns that does not tell of misses.
fn skip(sketch: &mut Sketch) -> Result<u64, TryRecvError> {
    loop {
        match sketch.receive() {
            Err(TryRecvError::Lagged(_)) => {}
            received => return received,
        }
    }
}
