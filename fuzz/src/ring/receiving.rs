//! All kinds of receives.

use std::ops::ControlFlow::{Break, Continue};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fanfeed::{RecvError, RecvTimeoutError, TryRecvError};
use futures_core::Stream;

use super::program::{Kind, Receive};
use super::reader::Reader;
use super::track::Track;
use super::world::World;
use crate::trace::{ensure, expect, fail};
use crate::value::{self, Value, panic_on_purpose};

fn without_limit(error: RecvError) -> TryRecvError {
    TryRecvError::from(error)
}

fn in_time(error: RecvTimeoutError) -> TryRecvError {
    match error {
        RecvTimeoutError::Timeout => TryRecvError::Empty,
        RecvTimeoutError::Lagged(missed) => TryRecvError::Lagged(missed),
        RecvTimeoutError::Closed => TryRecvError::Closed,
        RecvTimeoutError::Overflowed => TryRecvError::Overflowed,
    }
}

impl World {
    pub(crate) fn receive(&mut self, who: u8, form: Receive, count: u8) {
        let Some(index) = self.choose(who) else {
            return;
        };
        self.follow(index);
        let count = usize::from(count % 40);
        if matches!(form, Receive::DrainSending) {
            return self.drain_sending(index, count % 12);
        }
        let track = &self.track;
        let reader = &mut self.readers[index];
        let mut context = Context::from_waker(Waker::noop());
        match form {
            Receive::Try => {
                let received = reader.receiver.try_recv();
                took(reader, track, received);
            }
            Receive::TryPanicking => {
                value::arm(1);
                let returned = catch_unwind(AssertUnwindSafe(|| reader.receiver.try_recv()));
                let panicked = value::disarm(1);
                expect("panic of a receive", &returned.is_err(), &panicked);
                match returned {
                    Ok(received) => took(reader, track, received),
                    Err(_) => {
                        // The value has been read.
                        let number = track.at(reader.position);
                        reader.handed(track, number.unwrap_or(u64::MAX), true);
                    }
                }
            }
            Receive::Wait => {
                reader.look(track);
                if reader.is_ready(track) {
                    let received = reader.receiver.recv().map_err(without_limit);
                    took(reader, track, received);
                }
            }
            Receive::Timeout => {
                let received = reader
                    .receiver
                    .recv_timeout(Duration::ZERO)
                    .map_err(in_time);
                took(reader, track, received);
            }
            Receive::Deadline => {
                let received = reader
                    .receiver
                    .recv_deadline(Instant::now())
                    .map_err(in_time);
                took(reader, track, received);
            }
            Receive::WaitTimeout => match reader.receiver.wait_timeout(Duration::ZERO) {
                Ok(()) => {
                    let received = reader.receiver.try_recv();
                    ensure(received != Err(TryRecvError::Empty), || {
                        "a wait ended, and there is nothing".into()
                    });
                    took(reader, track, received);
                }
                Err(error) => reader.told(track, in_time(error)),
            },
            Receive::Drain | Receive::DrainUpTo => {
                let limit = if matches!(form, Receive::Drain) {
                    usize::MAX
                } else {
                    count
                };
                let mut seen = Vec::new();
                let hand = |value: &Value| seen.push(value.number());
                let returned = match form {
                    Receive::Drain => reader.receiver.drain(hand),
                    _ => reader.receiver.drain_up_to(limit, hand),
                };
                let has_lagged = drained(reader, track, &seen, returned, limit);
                // A shared ring's drain may stop at what another reader has seen.
                if returned.is_ok()
                    && self.sender.is_exclusive()
                    && seen.len() < limit
                    && !has_lagged
                {
                    let left = reader.until(track).saturating_sub(reader.position);
                    let may_lag =
                        reader.kind == Kind::Lossy && reader.position < track.may_be_gone();
                    ensure(may_lag || left == 0, || {
                        format!("a drain has left {left} values")
                    });
                }
            }
            Receive::DrainPanicking => {
                let mut seen = Vec::new();
                let returned = catch_unwind(AssertUnwindSafe(|| {
                    reader.receiver.drain(|value| {
                        seen.push(value.number());
                        if seen.len() > count {
                            panic_on_purpose();
                        }
                    })
                }));
                expect(
                    "panic of a drain",
                    &returned.is_err(),
                    &(seen.len() > count),
                );
                match returned {
                    Ok(returned) => {
                        drained(reader, track, &seen, returned, usize::MAX);
                    }
                    Err(_) => seen
                        .iter()
                        .for_each(|number| reader.handed(track, *number, true)),
                }
            }
            Receive::Batch => batch(reader, track, count),
            Receive::BatchUnsubscribing => {
                let mut seen = Vec::new();
                let id = reader.receiver.subscription().id();
                let (receiver, former) = (&mut reader.receiver, reader.handle.take());
                let returned = receiver.drain_with(|event| {
                    seen.push(event.value().number());
                    if seen.len() > count
                        && let Some(handle) = &former
                    {
                        expect("its handle", &handle.id(), &id);
                        handle.unsubscribe();
                    }
                    Continue::<()>(())
                });
                for number in &seen {
                    reader.handed(track, *number, true);
                }
                let has_ended = former.is_some() && seen.len() > count;
                if has_ended {
                    expect("values until it unsubscribed", &seen.len(), &(count + 1));
                    reader.cancelled.get_or_insert(track.next());
                }
                reader.handle = former;
                match returned {
                    Ok(flow) => expect("flow", &flow, &Continue(seen.len())),
                    Err(error) => reader.told(track, error),
                }
            }
            Receive::Skip => match reader.receiver.skip_to_newest() {
                Ok(skipped) => {
                    let newest = reader.position + skipped;
                    expect("the newest", &newest, &(reader.until(track) - 1));
                    reader.position = newest;
                    reader.skipped += skipped;
                }
                Err(error) => reader.told(track, error),
            },
            Receive::TryPosition => {
                let position = reader.position;
                let received = reader.receiver.try_recv_with_position();
                let received = received.map(|(at, value)| {
                    expect("position of a value", &at, &position);
                    value
                });
                took(reader, track, received);
            }
            Receive::TryIter => {
                let seen: Vec<u64> = reader
                    .receiver
                    .try_iter()
                    .take(count)
                    .map(|value| value.number())
                    .collect();
                skipping(reader, track, &seen);
            }
            Receive::Stream => {
                match twice(|| Pin::new(&mut reader.receiver).poll_next(&mut context)) {
                    Poll::Ready(Some(value)) => skipping(reader, track, &[value.number()]),
                    Poll::Pending => {
                        skipping(reader, track, &[]);
                        reader.told(track, TryRecvError::Empty);
                    }
                    Poll::Ready(None) => {
                        skipping(reader, track, &[]);
                        reader.look(track);
                        let error = if reader.is_overflowed {
                            TryRecvError::Overflowed
                        } else {
                            TryRecvError::Closed
                        };
                        reader.told(track, error);
                    }
                }
            }
            Receive::Async => {
                match twice(|| Pin::new(&mut reader.receiver.recv_async()).poll(&mut context)) {
                    Poll::Ready(received) => took(reader, track, received.map_err(without_limit)),
                    Poll::Pending => reader.told(track, TryRecvError::Empty),
                }
            }
            Receive::DrainSending => unreachable!("dealt with above"),
        }
    }

    /// Has everybody receive all that is left.
    pub(crate) fn receive_all(&mut self) {
        // A follower may stand before its leaders: by the last round all have read everything.
        for index in (0..self.readers.len())
            .cycle()
            .take(self.readers.len().pow(2))
        {
            self.follow(index);
            let reader = &mut self.readers[index];
            loop {
                let received = reader.receiver.try_recv();
                let goes_on = matches!(received, Ok(_) | Err(TryRecvError::Lagged(_)));
                took(reader, &self.track, received);
                if !goes_on {
                    break;
                }
            }
        }
        self.check();
    }

    /// A drain whose closure sends on the same ring.
    fn drain_sending(&mut self, index: usize, count: usize) {
        let Self {
            sender,
            track,
            readers,
            number,
            ..
        } = self;
        let others = |one: &(usize, &Reader)| {
            one.0 != index && one.1.kind == Kind::Strict && one.1.cancelled.is_none()
        };
        let others = readers.iter().enumerate().filter(others);
        let slowest = others
            .map(|(_, one)| track.next() - one.receiver.lag())
            .min();
        let reader = &mut readers[index];
        let is_strict = reader.kind == Kind::Strict;
        let mut seen = Vec::new();
        let returned = reader.receiver.drain(|value| {
            seen.push(value.number());
            if seen.len() > 20 {
                return;
            }
            for _ in 0..count {
                *number += 1;
                let next = track.next();
                match sender.try_send(Value::new(*number)) {
                    None => return,
                    Some(Ok(position)) => {
                        expect("position", &position, &next);
                        ensure(!track.is_closed, || {
                            "a value was sent on a closed ring".into()
                        });
                        let own = is_strict.then(|| reader.position + seen.len() as u64);
                        let room = slowest
                            .iter()
                            .chain(&own)
                            .all(|slowest| next < slowest + track.capacity);
                        ensure(room, || "a value was sent where there was no room".into());
                        // It says in its seat how far it is when it has read half of the ring.
                        let own = own.map(|at| {
                            let mut said = reader.position;
                            let mut end = (said + 1).next_multiple_of(track.eighth);
                            while end < at {
                                if end - said >= track.capacity / 2 {
                                    said = end;
                                }
                                end += track.eighth;
                            }
                            said
                        });
                        track.push(*number, slowest.into_iter().chain(own).min());
                    }
                    Some(Err(fanfeed::TrySendError::Closed(_))) => {
                        ensure(track.is_closed, || "Closed, and the ring is not".into());
                        return;
                    }
                    Some(Err(fanfeed::TrySendError::Full(_))) => {
                        let may_be = is_strict || slowest.is_some();
                        ensure(may_be, || "Full, and nobody holds up senders".into());
                        track.reach = track.reach.max(next + 1);
                        return;
                    }
                }
            }
        });
        for number in &seen {
            reader.handed(track, *number, false);
        }
        if !seen.is_empty() {
            reader.look_since(track, reader.position - 1);
        }
        match returned {
            Ok(taken) => expect("taken", &taken, &seen.len()),
            Err(error) => reader.told(track, error),
        }
    }
}

fn took(reader: &mut Reader, track: &Track, received: Result<Value, TryRecvError>) {
    match received {
        Ok(value) => {
            reader.look(track);
            reader.handed(track, value.number(), true);
        }
        Err(error) => reader.told(track, error),
    }
}

/// Drains a batch, and stops after `count` values.
fn batch(reader: &mut Reader, track: &Track, count: usize) {
    let begin = reader.position;
    let mut seen = Vec::new();
    let mut last = None;
    let returned = reader.receiver.drain_with(|event| {
        expect("no value after the last", &last, &None);
        expect("position", &event.position(), &(begin + seen.len() as u64));
        seen.push(event.value().number());
        if event.is_last() {
            last = Some(event.position());
        }
        if seen.len() > count {
            Break(event.position())
        } else {
            Continue(())
        }
    });
    for number in &seen {
        reader.handed(track, *number, true);
    }
    match returned {
        Ok(Break(at)) => expect("where it stopped", &at, &(begin + count as u64)),
        Ok(Continue(taken)) => {
            expect("taken", &taken, &seen.len());
            expect("the last", &last, &Some(reader.position - 1));
        }
        Err(error) => {
            ensure(seen.is_empty(), || format!("{error:?} after {seen:?}"));
            reader.told(track, error);
        }
    }
}

/// Whether it has stopped where values were missed.
fn drained(
    reader: &mut Reader,
    track: &Track,
    seen: &[u64],
    returned: Result<usize, TryRecvError>,
    limit: usize,
) -> bool {
    ensure(seen.len() <= limit, || {
        format!("a drain of up to {limit} handed out {}", seen.len())
    });
    if limit > 0 {
        ensure(returned != Ok(0), || {
            "a drain says that it has handed out nothing".into()
        });
    }
    for number in seen {
        reader.handed(track, *number, true);
    }
    match returned {
        Ok(taken) => {
            expect("taken", &taken, &seen.len());
            false
        }
        Err(error) => {
            ensure(seen.is_empty(), || {
                format!("{error:?} after {} values", seen.len())
            });
            reader.told(track, error);
            true
        }
    }
}

/// It was handed these values, and misses between them were not told.
fn skipping(reader: &mut Reader, track: &Track, seen: &[u64]) {
    for number in seen {
        let Some(position) = track.sent.iter().position(|sent| sent == number) else {
            fail(&format!("{number} was received, and never sent"));
        };
        let position = position as u64;
        ensure(position >= reader.position, || {
            format!("{number} was received again, or too late")
        });
        if position > reader.position {
            reader.lagged(track, position - reader.position);
        }
        reader.handed(track, *number, true);
    }
    let missed = reader.receiver.missed() - reader.told;
    if missed > 0 {
        reader.lagged(track, missed);
    }
}

/// Polls again what may have given way to other tasks.
fn twice<R>(mut poll: impl FnMut() -> Poll<R>) -> Poll<R> {
    match poll() {
        Poll::Pending => poll(),
        ready => ready,
    }
}
