//! The far end of a subscribed channel, of any kind.

use std::future::Future;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use fanfeed::{Receiver, RecvTimeoutError, TryRecvError, ring};

use crate::random::Random;
use crate::shelf::Shelf;
use crate::value::Value;

/// What came.
pub(crate) enum Got<'a> {
    Value(&'a Value),
    Missed(u64),
    /// The clone of a value panicked, which had been received.
    Panicked,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing for now.
    Open,
    Closed,
    Overflowed,
}

pub(crate) enum Inbox {
    Own(Receiver<Value>),
    Ring(ring::Receiver<Value>),
    Crossbeam(crossbeam_channel::Receiver<Value>),
    Std(mpsc::Receiver<Value>),
    Tokio(tokio::sync::mpsc::Receiver<Value>),
    Shelf(Arc<Shelf<Value>>),
}

/// How many values are taken before others get their turn.
const AT_ONCE: usize = 256;

impl Inbox {
    /// Takes some of what is there, and waits for something for about so long if there is nothing.
    pub(crate) fn read(
        &mut self,
        wait: Duration,
        random: &mut Random,
        f: &mut dyn FnMut(Got<'_>),
    ) -> Rest {
        match self {
            Self::Own(receiver) => read_own(receiver, wait, random, f),
            Self::Ring(receiver) => read_ring(receiver, wait, random, f),
            Self::Crossbeam(receiver) => {
                for _ in 0..AT_ONCE {
                    match receiver.recv_timeout(wait) {
                        Ok(value) => f(Got::Value(&value)),
                        Err(crossbeam_channel::RecvTimeoutError::Timeout) => break,
                        Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                            return Rest::Closed;
                        }
                    }
                }
                Rest::Open
            }
            Self::Std(receiver) => {
                for _ in 0..AT_ONCE {
                    match receiver.recv_timeout(wait) {
                        Ok(value) => f(Got::Value(&value)),
                        Err(mpsc::RecvTimeoutError::Timeout) => break,
                        Err(mpsc::RecvTimeoutError::Disconnected) => return Rest::Closed,
                    }
                }
                Rest::Open
            }
            Self::Tokio(receiver) => {
                for _ in 0..AT_ONCE {
                    match poll_for(wait, receiver.recv()) {
                        Some(Some(value)) => f(Got::Value(&value)),
                        Some(None) => return Rest::Closed,
                        None => break,
                    }
                }
                Rest::Open
            }
            Self::Shelf(shelf) => {
                // It goes without a way to wait, and without an end of its own: that the feed has
                // dropped its own end tells.
                let mut is_empty = true;
                while let Some(value) = shelf.take() {
                    is_empty = false;
                    f(Got::Value(&value));
                }
                if is_empty && Arc::strong_count(shelf) == 1 {
                    return Rest::Closed;
                }
                if is_empty {
                    thread::sleep(wait);
                }
                Rest::Open
            }
        }
    }
}

fn read_own(
    receiver: &mut Receiver<Value>,
    wait: Duration,
    random: &mut Random,
    f: &mut dyn FnMut(Got<'_>),
) -> Rest {
    let outcome = match random.below(4) {
        0 => receiver
            .recv_timeout(wait)
            .map(|value| f(Got::Value(&value))),
        1 => match poll_for(wait, receiver.recv_async()) {
            Some(outcome) => outcome
                .map(|value| f(Got::Value(&value)))
                .map_err(RecvTimeoutError::from),
            None => Ok(()),
        },
        way => {
            let limit = if way == 2 { AT_ONCE } else { 5 };
            match receiver.drain(limit, |value| f(Got::Value(&value))) {
                Err(TryRecvError::Empty) => receiver
                    .recv_timeout(wait)
                    .map(|value| f(Got::Value(&value))),
                other => other.map(drop).map_err(without_empty),
            }
        }
    };
    rest(outcome, f)
}

fn read_ring(
    receiver: &mut ring::Receiver<Value>,
    wait: Duration,
    random: &mut Random,
    f: &mut dyn FnMut(Got<'_>),
) -> Rest {
    let way = random.below(6);
    if way == 5 {
        let outcome = match read_batch(receiver, random.below(40), f) {
            Err(TryRecvError::Empty) => receiver.wait_timeout(wait),
            other => other.map_err(without_empty),
        };
        return rest(outcome, f);
    }
    if way < 3 {
        let limit = [usize::MAX, 3, AT_ONCE][way as usize];
        let outcome = match receiver.drain_up_to(limit, |value| f(Got::Value(value))) {
            Err(TryRecvError::Empty) => receiver.wait_timeout(wait),
            other => other.map(drop).map_err(without_empty),
        };
        return rest(outcome, f);
    }
    let cloned = catch_unwind(AssertUnwindSafe(|| {
        if way == 3 {
            receiver.recv_timeout(wait)
        } else {
            poll_for(wait, receiver.recv_async())
                .map_or(Err(RecvTimeoutError::Timeout), |outcome| {
                    outcome.map_err(RecvTimeoutError::from)
                })
        }
    }));
    match cloned {
        Ok(outcome) => rest(outcome.map(|value| f(Got::Value(&value))), f),
        Err(_) => {
            f(Got::Panicked);
            Rest::Open
        }
    }
}

/// Reads a batch, and stops at one of its values.
fn read_batch(
    receiver: &mut ring::Receiver<Value>,
    stop: u64,
    f: &mut dyn FnMut(Got<'_>),
) -> Result<(), TryRecvError> {
    let begin = receiver.position();
    let mut count = 0;
    let mut has_ended = false;
    receiver
        .drain_with(|event| {
            assert!(!has_ended, "a value came after the last of its batch");
            assert_eq!(event.position(), begin + count, "position of a value");
            f(Got::Value(event.value()));
            count += 1;
            has_ended = event.is_last();
            if count > stop {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map(|_| ())
}

fn rest(outcome: Result<(), RecvTimeoutError>, f: &mut dyn FnMut(Got<'_>)) -> Rest {
    match outcome {
        Ok(()) | Err(RecvTimeoutError::Timeout) => Rest::Open,
        Err(RecvTimeoutError::Lagged(missed)) => {
            f(Got::Missed(missed));
            Rest::Open
        }
        Err(RecvTimeoutError::Closed) => Rest::Closed,
        Err(RecvTimeoutError::Overflowed) => Rest::Overflowed,
    }
}

fn without_empty(error: TryRecvError) -> RecvTimeoutError {
    match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Lagged(missed) => RecvTimeoutError::Lagged(missed),
        TryRecvError::Closed => RecvTimeoutError::Closed,
        TryRecvError::Overflowed => RecvTimeoutError::Overflowed,
    }
}

/// Polls a future until it is ready, or for so long, and drops it. One that has woken its task
/// meanwhile is polled again at once, whatever the time: it may only have given way to other tasks.
pub(crate) fn poll_for<F: Future>(wait: Duration, future: F) -> Option<F::Output> {
    struct Unpark {
        thread: Thread,
        is_woken: AtomicBool,
    }
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.is_woken.store(true, Ordering::SeqCst);
            self.thread.unpark();
        }
    }
    let unpark = Arc::new(Unpark {
        thread: thread::current(),
        is_woken: AtomicBool::new(false),
    });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let deadline = Instant::now() + wait;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        if unpark.is_woken.swap(false, Ordering::SeqCst) {
            continue;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
