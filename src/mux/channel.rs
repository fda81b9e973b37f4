//! The mux's own channel: bounded, many senders, one receiver.
//!
//! A feed's own channel belongs to one subscription of one feed, and ends with it; a subscription of a mux has one for
//! each type, and one order of events over all of them. So this is a carrier, one handle of which goes to each type's
//! feed. All of it is under one lock, which is held for a few instructions; it is built on `sync` alone, so that loom
//! sees through it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crossbeam_utils::Backoff;

use super::event::TypeMuxEvent;
use crate::carrier::{Carrier, Room, Sealed};
use crate::error::{RecvTimeoutError, TrySendError};
use crate::sync::{AtomicUsize, MODELLED, Mutex, Ordering, mutant};
use crate::wait::{Parker, wake};

struct Shared {
    capacity: usize,
    /// How many events there are; written under the lock, and read without it where it need not be exact.
    len: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<TypeMuxEvent>,
    /// The receiver is gone, or all senders are, or one of them was disconnected.
    closed: bool,
    /// The receiver, while it waits for an event.
    receiver: Option<Waker>,
    /// Posts that wait for room.
    blocked: Vec<Waker>,
}

impl Shared {
    fn close(&self) {
        let (receiver, blocked) = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            (queue.receiver.take(), std::mem::take(&mut queue.blocked))
        };
        receiver.into_iter().chain(blocked).for_each(wake);
    }
}

/// A channel that holds so many events. It ends when its receiver is dropped, or the last clone of
/// its sender, or when any of these clones is disconnected.
pub(super) fn bounded(capacity: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        capacity,
        len: AtomicUsize::new(0),
        queue: Mutex::new(Queue::default()),
    });
    let sender = Sender(Arc::new(Sending(Arc::clone(&shared))));
    (sender, Receiver(shared))
}

#[derive(Clone)]
pub(super) struct Sender(Arc<Sending>);

/// What all clones of a sender share: its end is theirs.
struct Sending(Arc<Shared>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Carrier<TypeMuxEvent> for Sender {
    fn try_send(&self, event: TypeMuxEvent) -> Result<(), TrySendError<TypeMuxEvent>> {
        let shared = &*self.0.0;
        let receiver = {
            let mut queue = shared.queue.lock();
            if queue.closed {
                return Err(TrySendError::Closed(event));
            }
            if queue.events.len() >= shared.capacity {
                return Err(TrySendError::Full(event));
            }
            queue.events.push_back(event);
            shared.len.store(queue.events.len(), Ordering::Relaxed);
            queue.receiver.take()
        };
        if let Some(receiver) = receiver {
            wake(receiver);
        }
        Ok(())
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        // Cloned and dropped outside the lock, because that runs user code.
        let clone = waker.clone();
        let mut queue = self.0.0.queue.lock();
        if queue.closed || queue.events.len() < self.0.0.capacity {
            return Room::Ready;
        }
        if !queue.blocked.iter().any(|held| held.will_wake(waker)) {
            queue.blocked.push(clone);
        }
        Room::Waking
    }

    fn forget_waker(&self, waker: &Waker) {
        // As above.
        let _forgotten = {
            let mut queue = self.0.0.queue.lock();
            let held = queue.blocked.iter().position(|held| held.will_wake(waker));
            held.map(|index| queue.blocked.swap_remove(index))
        };
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.0.len.load(Ordering::Relaxed))
    }

    /// Ends the channel for all clones: the end of the subscription to one type is its end for all
    /// types. The drop of the last clone wakes the receiver and the posts that wait, because wakers
    /// are user code. All of these see the end if they look earlier.
    fn disconnect(&self, _: Sealed) {
        if !mutant!("mux_channel_ends_with_its_drop") {
            self.0.0.queue.lock().closed = true;
        }
    }
}

pub(super) struct Receiver(Arc<Shared>);

impl Receiver {
    /// The next event, if there is one now; `None` once the channel has ended and all events were taken.
    pub(super) fn try_recv(&mut self) -> Poll<Option<TypeMuxEvent>> {
        self.take(None)
    }

    /// The next event, if there is one now; else the waker is woken when there may be.
    pub(super) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<TypeMuxEvent>> {
        self.take(Some(context.waker()))
    }

    fn take(&mut self, waker: Option<&Waker>) -> Poll<Option<TypeMuxEvent>> {
        // Cloned and dropped outside the lock: that runs code of others.
        let mut waker = waker.cloned();
        let (event, blocked) = {
            let mut queue = self.0.queue.lock();
            let Some(event) = queue.events.pop_front() else {
                if queue.closed {
                    return Poll::Ready(None);
                }
                if waker.is_some() {
                    std::mem::swap(&mut queue.receiver, &mut waker);
                }
                return Poll::Pending;
            };
            self.0.len.store(queue.events.len(), Ordering::Relaxed);
            (event, std::mem::take(&mut queue.blocked))
        };
        // All of them, because one of them may have been served by then, and would keep the wake-up to itself.
        blocked.into_iter().for_each(wake);
        Poll::Ready(Some(event))
    }

    /// Waits for the next event, until the deadline if there is one.
    pub(super) fn recv(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<TypeMuxEvent, RecvTimeoutError> {
        // An event that comes in the next few microseconds is had without parking, and without taking the lock from
        // whoever posts it.
        let backoff = Backoff::new();
        while self.is_empty() && !backoff.is_completed() && !MODELLED {
            backoff.snooze();
        }
        let parker = Parker::current();
        let mut context = Context::from_waker(parker.waker());
        loop {
            match self.poll_recv(&mut context) {
                Poll::Ready(Some(event)) => return Ok(event),
                Poll::Ready(None) => return Err(RecvTimeoutError::Closed),
                Poll::Pending => {}
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(RecvTimeoutError::Timeout);
            }
            parker.park(deadline);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len.load(Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.close();
        let events = std::mem::take(&mut self.0.queue.lock().events);
        self.0.len.store(0, Ordering::Relaxed);
        // Outside the lock: an event's drop is code of others.
        drop(events);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Carrier, Room, TypeMuxEvent, bounded};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    fn times(woken: &Woken) -> usize {
        woken.0.swap(0, Ordering::SeqCst)
    }

    #[test]
    fn whoever_waits_for_room_is_woken_by_room_and_by_the_end() {
        let (sender, mut receiver) = bounded(1);
        let [(one, waker), (other, other_waker)] = [waker(), waker()];
        assert_eq!(sender.poll_room(&waker), Room::Ready);
        sender.try_send(TypeMuxEvent::new(0)).unwrap();
        assert!(sender.try_send(TypeMuxEvent::new(1)).unwrap_err().is_full());
        for waker in [&waker, &waker, &other_waker] {
            assert_eq!(sender.poll_room(waker), Room::Waking);
        }
        assert!(receiver.try_recv().is_ready());
        assert_eq!((times(&one), times(&other)), (1, 1));

        sender.try_send(TypeMuxEvent::new(2)).unwrap();
        assert_eq!(sender.poll_room(&other_waker), Room::Waking);
        assert_eq!(sender.poll_room(&waker), Room::Waking);
        sender.forget_waker(&other_waker);
        drop(receiver);
        assert_eq!((times(&one), times(&other)), (1, 0));
        assert!(
            sender
                .try_send(TypeMuxEvent::new(3))
                .unwrap_err()
                .is_closed()
        );
        assert_eq!(sender.poll_room(&waker), Room::Ready);
    }

    #[test]
    fn whoever_waits_for_an_event_is_woken_by_it_and_by_the_end() {
        let (sender, mut receiver) = bounded(2);
        let (woken, waker) = waker();
        let mut context = Context::from_waker(&waker);
        assert!(receiver.poll_recv(&mut context).is_pending());
        sender.try_send(TypeMuxEvent::new(0)).unwrap();
        sender.try_send(TypeMuxEvent::new(1)).unwrap();
        assert_eq!(times(&woken), 1, "once");
        assert!(receiver.poll_recv(&mut context).is_ready());
        assert!(receiver.try_recv().is_ready());
        assert!(receiver.poll_recv(&mut context).is_pending());
        let clone = sender.clone();
        drop(sender);
        assert_eq!(times(&woken), 0);
        drop(clone);
        assert_eq!(times(&woken), 1);
        assert!(matches!(
            receiver.poll_recv(&mut context),
            Poll::Ready(None)
        ));
    }
}
