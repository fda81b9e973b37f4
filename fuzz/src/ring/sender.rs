//! The sending end, of either kind.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fanfeed::{ExclusiveRingFeed, RingFeed, TrySendError, WeakRingFeed, ring};

use super::program::{BatchForm, Form};
use crate::value::{Value, panic_on_purpose};

pub(crate) enum Sender {
    Shared(Vec<RingFeed<Value>>, WeakRingFeed<Value>),
    Exclusive(Option<ExclusiveRingFeed<Value>>),
}

macro_rules! with_ring {
    ($sender:expr, $ring:ident => $do:expr) => {
        match $sender {
            Sender::Shared(rings, _) => rings.last_mut().map(|$ring| $do),
            Sender::Exclusive(ring) => ring.as_mut().map(|$ring| $do),
        }
    };
}

impl Sender {
    pub(crate) fn new(is_exclusive: bool, capacity: usize) -> Self {
        let message = "the capacity is small and not 0";
        if is_exclusive {
            Self::Exclusive(Some(ExclusiveRingFeed::new(capacity).expect(message)))
        } else {
            let ring = RingFeed::new(capacity).expect(message);
            let weak = ring.downgrade();
            Self::Shared(vec![ring], weak)
        }
    }

    pub(crate) fn is_exclusive(&self) -> bool {
        matches!(self, Self::Exclusive(_))
    }

    pub(crate) fn handle(&mut self) -> Option<ring::Handle<Value>> {
        with_ring!(self, ring => ring.handle())
    }

    /// Capacity, position, subscriptions, and whether it was closed.
    pub(crate) fn figures(&mut self) -> Option<(u64, u64, usize, bool)> {
        with_ring!(self, ring => (
            ring.capacity() as u64,
            ring.position(),
            ring.subscriber_count(),
            ring.is_closed(),
        ))
    }

    pub(crate) fn close(&mut self) -> bool {
        with_ring!(self, ring => ring.close()).is_some()
    }

    pub(crate) fn try_send(&mut self, value: Value) -> Option<Result<u64, TrySendError<Value>>> {
        with_ring!(self, ring => ring.try_send(value))
    }

    pub(crate) fn send(
        &mut self,
        form: Form,
        value: Value,
    ) -> Option<Result<u64, TrySendError<Value>>> {
        let number = value.number();
        if matches!(form, Form::Async) {
            return self.send_async(value);
        }
        with_ring!(self, ring => match form {
            Form::Send => Ok(ring.send(value)),
            Form::Try | Form::Async => ring.try_send(value),
            Form::Timeout => ring.send_timeout(value, Duration::ZERO),
            Form::Deadline => ring.send_deadline(value, Instant::now()),
            Form::InPlace => Ok(ring.send_with(|slot| slot.renumber(number))),
            Form::InPlacePanicking => Ok(ring.send_with(|slot| {
                slot.renumber(number);
                panic_on_purpose()
            })),
        })
    }

    /// Polls a send until it has completed, or waits; on an exclusive ring a send that does not
    /// wait. What is dropped while it waits is as good as given back.
    fn send_async(&mut self, value: Value) -> Option<Result<u64, TrySendError<Value>>> {
        let ring = match self {
            Self::Shared(rings, _) => rings.last()?,
            Self::Exclusive(ring) => return Some(ring.as_mut()?.try_send(value)),
        };
        let back = Value::new(value.number());
        let mut send = ring.send_async(value);
        let mut context = Context::from_waker(Waker::noop());
        // The first poll may give way to other tasks.
        for _ in 0..2 {
            if let Poll::Ready(position) = Pin::new(&mut send).poll(&mut context) {
                let is_closed = ring.is_closed();
                return Some(if is_closed {
                    Err(TrySendError::Closed(back))
                } else {
                    Ok(position)
                });
            }
        }
        Some(Err(TrySendError::Full(back)))
    }

    pub(crate) fn send_batch(&mut self, values: impl Iterator<Item = Value>) -> Option<u64> {
        with_ring!(self, ring => ring.send_batch(values))
    }

    /// Sends them without waiting, and gives back those that found no room.
    pub(crate) fn try_send_batch(
        &mut self,
        form: BatchForm,
        values: impl Iterator<Item = Value>,
    ) -> Option<Result<u64, TrySendError<Vec<Value>>>> {
        with_ring!(self, ring => match form {
            BatchForm::Timeout => ring.send_batch_timeout(values, Duration::ZERO),
            BatchForm::Deadline => ring.send_batch_deadline(values, Instant::now()),
            _ => ring.try_send_batch(values),
        })
    }

    pub(crate) fn send_slice(&mut self, values: &[Value]) -> Option<u64> {
        with_ring!(self, ring => ring.send_slice(values))
    }
}
