//! Tokio's senders as carriers.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc::error::{SendError, TrySendError as TokioTrySendError};
use tokio::sync::mpsc::{OwnedPermit, Sender, UnboundedSender};

use crate::carrier::{Carrier, Room};
use crate::error::TrySendError;
use crate::sync::{AtomicUsize, Mutex, Ordering};

impl<T: Send + 'static> Carrier<T> for Sender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        Self::try_send(self, value).map_err(|error| match error {
            TokioTrySendError::Full(value) => TrySendError::Full(value),
            TokioTrySendError::Closed(value) => TrySendError::Closed(value),
        })
    }

    fn depth(&self) -> Option<usize> {
        Some(self.max_capacity() - self.capacity())
    }
}

impl<T: Send + 'static> Carrier<T> for UnboundedSender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.send(value)
            .map_err(|error| TrySendError::Closed(error.0))
    }
}

type Reserve<T> = Pin<Box<dyn Future<Output = Result<OwnedPermit<T>, SendError<()>>> + Send>>;

/// A bounded tokio sender that wakes who waits for room.
///
/// Tokio hands room to those who stand in its queue, as permits. So each send that waits stands there by a future of
/// its own, and a permit that one of them got is put by for whichever send comes first: were it dropped to be tried for
/// again, two waiting sends could hand it to one another for ever.
pub(crate) struct TokioCarrier<T> {
    sender: Sender<T>,
    waiting: Mutex<Waiting<T>>,
    /// How many permits are put by. Written under the lock, read without it.
    permits: AtomicUsize,
}

struct Waiting<T> {
    queue: Vec<(Waker, Reserve<T>)>,
    permits: Vec<OwnedPermit<T>>,
}

impl<T: Send + 'static> TokioCarrier<T> {
    /// Wraps a carrier that is a bounded tokio sender; any other is given back.
    pub(crate) fn wrap<C: Carrier<T> + 'static>(carrier: C) -> Result<Self, C> {
        let mut carrier = Some(carrier);
        let any: &mut dyn Any = &mut carrier;
        if let Some(sender) = any
            .downcast_mut::<Option<Sender<T>>>()
            .and_then(Option::take)
        {
            let waiting = Waiting {
                queue: Vec::new(),
                permits: Vec::new(),
            };
            return Ok(Self {
                sender,
                waiting: Mutex::new(waiting),
                permits: AtomicUsize::new(0),
            });
        }
        Err(carrier.expect("a carrier that is no tokio sender was left in place"))
    }

    fn take_permit(&self) -> Option<OwnedPermit<T>> {
        let mut waiting = self.waiting.lock();
        let permit = waiting.permits.pop();
        self.permits.store(waiting.permits.len(), Ordering::Relaxed);
        permit
    }
}

impl<T: Send + 'static> Carrier<T> for TokioCarrier<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        if self.permits.load(Ordering::Relaxed) != 0
            && !self.sender.is_closed()
            && let Some(permit) = self.take_permit()
        {
            permit.send(value);
            return Ok(());
        }
        Carrier::try_send(&self.sender, value)
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        let mut waiting = self.waiting.lock();
        let index = waiting
            .queue
            .iter()
            .position(|(held, _)| held.will_wake(waker));
        let index = index.unwrap_or_else(|| {
            let reserve = self.sender.clone().reserve_owned();
            waiting.queue.push((waker.clone(), Box::pin(reserve)));
            waiting.queue.len() - 1
        });
        match waiting.queue[index]
            .1
            .as_mut()
            .poll(&mut Context::from_waker(waker))
        {
            Poll::Pending => return Room::Waking,
            Poll::Ready(Ok(permit)) => waiting.permits.push(permit),
            // Closed: the next try finds that out.
            Poll::Ready(Err(_)) => {}
        }
        drop(waiting.queue.swap_remove(index));
        self.permits.store(waiting.permits.len(), Ordering::Relaxed);
        Room::Ready
    }

    fn forget_waker(&self, waker: &Waker) {
        let (left, unused) = {
            let mut waiting = self.waiting.lock();
            let index = waiting
                .queue
                .iter()
                .position(|(held, _)| held.will_wake(waker));
            let left = index.map(|index| waiting.queue.swap_remove(index));
            // A permit that was put by for this send goes back to tokio, which hands it to the next in its queue.
            let unused = std::mem::take(&mut waiting.permits);
            self.permits.store(0, Ordering::Relaxed);
            (left, unused)
        };
        drop((left, unused));
    }

    fn depth(&self) -> Option<usize> {
        Carrier::depth(&self.sender)
    }
}
