//! An own channel that several feeds send to, for one subscription to all of them.
//!
//! A feed's own channel belongs to one subscription of one feed. This one is a carrier, and each
//! feed gets one handle of it. The queue is the same, but it has no sole sender: a thread that is
//! alone on its feed may meet the senders of the other feeds here.

use std::sync::Arc;
use std::task::Waker;

use crossbeam_utils::CachePadded;

use super::builder::check_capacity;
use super::receiver::Receiver;
use super::refusal::End;
use super::slots::Share;
use super::sole::Sole;
use crate::carrier::{Carrier, Room, Sealed};
use crate::error::{CapacityError, TrySendError};
use crate::overflow::Overflow;
use crate::subscription::Subscription;
use crate::sync::mutant;
use crate::wait::{Ticket, Tickets};

/// The sending half. The channel ends when the last clone is dropped, or when any clone is
/// disconnected.
pub(crate) struct JointSender<T>(Arc<Joint<T>>);

struct Joint<T> {
    share: Share<T>,
    /// The sends that wait for room.
    blocked: Tickets,
}

/// Makes a channel that holds `capacity` values and makes senders wait. `subscribe` subscribes the
/// sender, and returns the subscription that ends with the receiver.
pub(crate) fn joint_channel<T: Send + 'static>(
    capacity: usize,
    subscribe: impl FnOnce(JointSender<T>) -> Subscription,
) -> Result<Receiver<T>, CapacityError> {
    check_capacity(capacity)?;
    let sole = Arc::new(CachePadded::new(Sole::many()));
    let share = Share::new(capacity, Overflow::Block, sole);
    let subscription = subscribe(JointSender(Arc::new(Joint {
        share: share.clone(),
        blocked: Tickets::new(),
    })));
    Ok(Receiver::new(share, subscription))
}

impl<T> Joint<T> {
    /// Whether a send need not wait: there is room, or the channel has ended.
    fn is_ready(&self) -> bool {
        !self.share.is_full() || self.share.is_closed()
    }

    fn leave(&self, ticket: &mut Ticket) {
        self.share.room().leave(ticket, || self.is_ready());
    }
}

impl<T> Drop for Joint<T> {
    fn drop(&mut self) {
        self.share.close(End::Closed);
        self.share.wake_all();
    }
}

impl<T> Clone for JointSender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Carrier<T> for JointSender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let share = &self.0.share;
        match share.offer_now(value, None) {
            Ok(receiver_waits) => {
                if receiver_waits {
                    share.ring();
                }
                Ok(())
            }
            Err(value) if share.is_closed() => Err(TrySendError::Closed(value)),
            Err(value) => Err(TrySendError::Full(value)),
        }
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        let joint = &*self.0;
        if joint.is_ready() {
            return Room::Ready;
        }
        let leave = |ticket: &mut Ticket| joint.leave(ticket);
        // A thread makes the send, and a thread acts on each wake-up.
        joint
            .blocked
            .with(waker, Ticket::of_thread(), leave, |ticket| {
                if !mutant!("blocked_send_joins_no_line") {
                    joint.share.room().join(ticket, waker);
                }
            });
        Room::Waking
    }

    fn forget_waker(&self, waker: &Waker) {
        if let Some(mut ticket) = self.0.blocked.take(waker) {
            self.0.leave(&mut ticket);
        }
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.share.len())
    }

    /// Ends the channel for all clones: the end of the subscription to one feed is the end for all.
    /// The drop of the last clone wakes the receiver and the waiting sends, because wakers are user
    /// code. All of these see the end if they look earlier.
    fn disconnect(&self, _: Sealed) {
        if !mutant!("joint_channel_ends_with_its_drop") {
            self.0.share.close(End::Closed);
        }
    }

    /// The receiver makes room without a fence: see `WakerSet`. The sends in its line are not those
    /// in the line of one subscription, so a send that is not the first there may be the first
    /// here.
    fn may_overlook(&self, _: Sealed) -> bool {
        true
    }
}

#[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use super::super::delivery::Delivery;
    use super::super::pending::Waiter;
    use super::{Carrier, JointSender, Receiver, Room, Subscription, joint_channel};
    use crate::Feed;
    use crate::wait::{Again, Count};

    fn channel(capacity: usize) -> (JointSender<u32>, Receiver<u32>) {
        let mut sender = None;
        let receiver = joint_channel(capacity, |made| {
            sender = Some(made);
            Subscription::join([])
        });
        (sender.unwrap(), receiver.unwrap())
    }

    #[test]
    fn room_for_one_wakes_one_send_and_the_end_wakes_all() {
        let (sender, mut receiver) = channel(1);
        let sends = [(); 4].map(|()| {
            let woken = Arc::new(Count::default());
            (Arc::clone(&woken), Waker::from(woken))
        });
        let woken = || {
            let sends = sends.each_ref();
            sends.map(|(woken, _)| woken.take())
        };
        assert_eq!(sender.poll_room(&sends[0].1), Room::Ready);
        sender.try_send(0).unwrap();
        assert!(sender.try_send(1).unwrap_err().is_full());
        assert_eq!(sender.depth(), Some(1));
        for (_, waker) in &sends {
            assert_eq!(sender.poll_room(waker), Room::Waking);
            assert_eq!(sender.poll_room(waker), Room::Waking);
        }
        assert_eq!(receiver.try_recv(), Ok(0));
        assert_eq!(woken(), [1, 0, 0, 0], "the first in line alone");

        // Another send has taken the place. The first keeps its own place in line.
        sender.try_send(1).unwrap();
        assert_eq!(sender.poll_room(&sends[0].1), Room::Waking);
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(woken(), [1, 0, 0, 0], "the first in line alone");

        // The first send gives up, and leaves room for the next.
        sender.forget_waker(&sends[0].1);
        assert_eq!(woken(), [0, 1, 0, 0]);
        // The second send is served, and leaves no room.
        sender.try_send(2).unwrap();
        sender.forget_waker(&sends[1].1);
        assert_eq!(woken(), [0; 4]);
        // A send that was not woken has no wake-up to pass on.
        sender.forget_waker(&sends[2].1);
        assert_eq!(woken(), [0; 4]);

        let clone = sender.clone();
        drop(sender);
        assert!(!receiver.is_closed());
        clone.disconnect(super::Sealed);
        assert!(receiver.is_closed());
        assert!(clone.try_send(3).unwrap_err().is_closed());
        assert_eq!(clone.poll_room(&sends[0].1), Room::Ready);
        let blocked = &clone.0.blocked;
        assert!(!blocked.is_empty());
        clone.forget_waker(&sends[3].1);
        assert!(blocked.is_empty());
        // No waker is kept.
        assert!(sends.iter().all(|(woken, _)| Arc::strong_count(woken) == 2));
        drop(clone);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn every_send_that_waits_looks_again_and_not_only_the_first() {
        let feed = Feed::new();
        let receiver = joint_channel(1, |sender| feed.subscribe(sender)).unwrap();
        feed.send(0);
        let mut sends = [1, 2, 3].map(Delivery::new);
        let again = sends.each_mut().map(|send| {
            send.serve(&feed.core);
            assert!(send.has_pending());
            let listening = send.listen(&feed.core, Waker::noop(), Waiter::Thread);
            listening.again
        });
        assert_eq!(again, [Again::Repeatedly; 3]);
        drop(receiver);
    }
}
