//! The mux's own channel: bounded, many senders, one receiver.
//!
//! A feed's own channel belongs to one subscription of one feed, and ends with it. A subscription
//! of a mux has one subscription for each type, and one order of events over all of them. So this
//! channel is a carrier, and each type's feed gets one handle of it. One lock protects the whole
//! channel, and is held for a few instructions. The channel is built only on `sync`, so that loom
//! sees through it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crossbeam_utils::Backoff;

use super::event::Event;
use crate::carrier::{Carrier, Room, Sealed};
use crate::error::{RecvTimeoutError, TrySendError};
use crate::sync::{AtomicUsize, MODELLED, Mutex, Ordering, mutant};
use crate::wait::{Identity, Parker, Ticket, WakerSet, identity, wake};

struct Shared {
    capacity: usize,
    /// How many events there are. Written under the lock; read without the lock where it need not
    /// be exact.
    len: AtomicUsize,
    queue: Mutex<Queue>,
    /// The line of posts that wait for room, first come, first woken, one for each event that is
    /// taken.
    room: WakerSet,
    /// The places in that line, by the wakers of the posts. Each post has its own waker.
    blocked: Mutex<BTreeMap<Identity, Ticket>>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    /// Set when the receiver is gone, or all senders are gone, or one of them was disconnected.
    closed: bool,
    /// The receiver's waker, while it waits for an event.
    receiver: Option<Waker>,
}

impl Shared {
    fn close(&self) {
        let receiver = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            queue.receiver.take()
        };
        receiver.into_iter().for_each(wake);
        self.room.wake_all();
    }

    /// Whether a post need not wait: there is room, or the channel has ended.
    fn is_ready(&self) -> bool {
        let queue = self.queue.lock();
        queue.closed || queue.events.len() < self.capacity
    }
}

/// Makes a channel that holds `capacity` events. It ends when its receiver is dropped, or the last
/// clone of its sender, or when any of these clones is disconnected.
pub(super) fn bounded(capacity: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        capacity,
        len: AtomicUsize::new(0),
        queue: Mutex::new(Queue::default()),
        room: WakerSet::new(),
        blocked: Mutex::new(BTreeMap::new()),
    });
    let sender = Sender(Arc::new(Sending(Arc::clone(&shared))));
    (sender, Receiver(shared))
}

#[derive(Clone)]
pub(super) struct Sender(Arc<Sending>);

/// Shared by all clones of a sender. The channel ends when it is dropped.
struct Sending(Arc<Shared>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Carrier<Event> for Sender {
    fn try_send(&self, event: Event) -> Result<(), TrySendError<Event>> {
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
        let shared = &*self.0.0;
        if shared.is_ready() {
            return Room::Ready;
        }
        let identity = identity(waker);
        let held = shared.blocked.lock().remove(&identity);
        // A thread makes the post, and a thread acts on each wake-up.
        let mut ticket = held.unwrap_or_else(Ticket::of_thread);
        shared.room.join(&mut ticket, waker);
        shared.blocked.lock().insert(identity, ticket);
        // The post tries once more after this. If it finds the channel full again, the queue's lock
        // orders its place in line before the check for waiters in `take`.
        Room::Waking
    }

    fn forget_waker(&self, waker: &Waker) {
        let shared = &*self.0.0;
        let ticket = shared.blocked.lock().remove(&identity(waker));
        if let Some(mut ticket) = ticket {
            shared.room.leave(&mut ticket, || shared.is_ready());
        }
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.0.len.load(Ordering::Relaxed))
    }

    /// Ends the channel for all clones: the end of the subscription to one type is the end for all
    /// types. The drop of the last clone wakes the receiver and the waiting posts, because wakers
    /// are user code. All of these see the end if they look earlier.
    fn disconnect(&self, _: Sealed) {
        if !mutant!("mux_channel_ends_with_its_drop") {
            self.0.0.queue.lock().closed = true;
        }
    }
}

pub(super) struct Receiver(Arc<Shared>);

impl Receiver {
    /// The next event, if there is one now; `None` once the channel has ended and every event is
    /// taken.
    pub(super) fn try_recv(&mut self) -> Poll<Option<Event>> {
        self.take(None)
    }

    /// The next event, if there is one now. Otherwise registers the task's waker.
    pub(super) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.take(Some(context.waker()))
    }

    fn take(&mut self, waker: Option<&Waker>) -> Poll<Option<Event>> {
        // Cloned and dropped outside the lock, because that runs user code.
        let mut waker = waker.cloned();
        let event = {
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
            event
        };
        if self.0.room.is_waited_on() && !mutant!("mux_event_wakes_no_post") {
            self.0.room.wake(1);
        }
        Poll::Ready(Some(event))
    }

    /// Waits for the next event, until `deadline` if there is one.
    pub(super) fn recv(&mut self, deadline: Option<Instant>) -> Result<Event, RecvTimeoutError> {
        // An event that comes in the next few microseconds is received without parking, and without
        // taking the lock from the thread that posts it.
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
        // Outside the lock, because an event's drop is user code.
        drop(events);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Carrier, Event, Room, bounded};

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
    fn room_for_one_wakes_one_post_and_the_end_wakes_all() {
        let (sender, mut receiver) = bounded(1);
        let posts = [(); 4].map(|()| waker());
        let woken = || posts.each_ref().map(|(woken, _)| times(woken));
        let full = || sender.try_send(Event::new(1)).unwrap_err().is_full();
        assert_eq!(sender.poll_room(&posts[0].1), Room::Ready);
        sender.try_send(Event::new(0)).unwrap();
        assert!(full());
        for (_, waker) in &posts {
            assert_eq!(sender.poll_room(waker), Room::Waking);
            assert_eq!(sender.poll_room(waker), Room::Waking);
        }
        assert!(receiver.try_recv().is_ready());
        assert_eq!(woken(), [1, 0, 0, 0], "the first in line alone");

        // Another post has taken the place. The first keeps its own place in line.
        sender.try_send(Event::new(0)).unwrap();
        assert_eq!(sender.poll_room(&posts[0].1), Room::Waking);
        assert!(receiver.try_recv().is_ready());
        assert_eq!(woken(), [1, 0, 0, 0], "the first in line alone");

        // The first post gives up, and leaves room for the next.
        sender.forget_waker(&posts[0].1);
        assert_eq!(woken(), [0, 1, 0, 0]);
        // The second post is served, and leaves no room.
        sender.try_send(Event::new(0)).unwrap();
        sender.forget_waker(&posts[1].1);
        assert_eq!(woken(), [0; 4]);
        // A post that was not woken has no wake-up to pass on.
        sender.forget_waker(&posts[2].1);
        assert_eq!(woken(), [0; 4]);

        drop(receiver);
        assert_eq!(woken(), [0, 0, 0, 1]);
        assert!(sender.try_send(Event::new(3)).unwrap_err().is_closed());
        assert_eq!(sender.poll_room(&posts[0].1), Room::Ready);
        sender.forget_waker(&posts[3].1);
        assert!(sender.0.0.blocked.lock().is_empty());
        // No waker is kept.
        assert!(posts.iter().all(|(woken, _)| Arc::strong_count(woken) == 2));
    }

    #[test]
    fn a_waiting_receiver_is_woken_by_an_event_and_by_the_end() {
        let (sender, mut receiver) = bounded(2);
        let (woken, waker) = waker();
        let mut context = Context::from_waker(&waker);
        assert!(receiver.poll_recv(&mut context).is_pending());
        sender.try_send(Event::new(0)).unwrap();
        sender.try_send(Event::new(1)).unwrap();
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
