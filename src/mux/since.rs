//! Keeps a subscription from seeing events older than itself.

use std::cell::Cell;
use std::sync::Arc;
use std::task::Waker;

use super::event::Event;
use crate::carrier::{Carrier, Room, Sealed};
use crate::error::TrySendError;
use crate::subscription::OneChannel;
use crate::sync::thread_local;

thread_local! {
    /// How many carriers have passed over the event that the thread is posting. Without a
    /// destructor, so it can be used while the thread's other locals are destroyed.
    static PASSED_OVER: Cell<usize> = const { Cell::new(0) };
}

/// Runs a send, which returns how many subscribers it reached, and subtracts the subscribers that
/// passed over the event.
///
/// The whole send runs on the calling thread. A send inside a send, by a carrier, leaves the outer
/// count unchanged.
pub(super) fn count_reached(send: impl FnOnce() -> usize) -> usize {
    /// Also restores the count if the send panics, because an outer send may catch that panic.
    struct PutBack(usize);
    impl Drop for PutBack {
        fn drop(&mut self) {
            PASSED_OVER.with(|passed| passed.set(self.0));
        }
    }
    let _outer = PutBack(PASSED_OVER.with(|passed| passed.replace(0)));
    let reached = send();
    reached - PASSED_OVER.with(Cell::get)
}

/// A carrier that passes over events older than its subscription, and takes none once the
/// subscription is about to end: see [`OneChannel`].
///
/// An event gets its time before it is sent, and a subscription that is made between the two would
/// be served. Such an event counts as delivered to its feed, because a carrier has no other way to
/// neither take a value nor be waited for. So these events are counted here, to be subtracted.
pub(super) struct Since<C> {
    carrier: C,
    /// Shared by all types of the subscription.
    channel: Arc<OneChannel>,
}

impl<C> Since<C> {
    pub(super) fn new(carrier: C, channel: Arc<OneChannel>) -> Self {
        Self { carrier, channel }
    }
}

impl<C: Carrier<Event>> Carrier<Event> for Since<C> {
    fn try_send(&self, event: Event) -> Result<(), TrySendError<Event>> {
        if self.channel.is_over() {
            return Err(TrySendError::Closed(event));
        }
        if self.channel.is_before(event.time()) {
            self.channel.pass_over();
            PASSED_OVER.with(|passed| passed.set(passed.get() + 1));
            return Ok(());
        }
        self.carrier.try_send(event)
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        self.carrier.poll_room(waker)
    }

    fn forget_waker(&self, waker: &Waker) {
        self.carrier.forget_waker(waker);
    }

    fn depth(&self) -> Option<usize> {
        self.carrier.depth()
    }

    fn capacity(&self) -> Option<usize> {
        self.carrier.capacity()
    }

    /// Only an event that found the channel full is sent there directly, and that event is not too
    /// old.
    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<Event>> {
        self.carrier.as_crossbeam()
    }

    fn runs_code_when_dropped(&self, sealed: Sealed) -> bool {
        self.carrier.runs_code_when_dropped(sealed)
    }

    fn disconnect(&self, sealed: Sealed) {
        self.carrier.disconnect(sealed);
    }

    fn may_overlook(&self, sealed: Sealed) -> bool {
        self.carrier.may_overlook(sealed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::subscription::Subscription;

    /// Records its calls.
    #[derive(Default)]
    struct Asked(Mutex<Vec<&'static str>>);

    impl Asked {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl Carrier<Event> for &Asked {
        fn try_send(&self, _: Event) -> Result<(), TrySendError<Event>> {
            self.note("sent");
            Ok(())
        }

        fn poll_room(&self, _: &Waker) -> Room {
            self.note("room");
            Room::Waking
        }

        fn forget_waker(&self, _: &Waker) {
            self.note("forget");
        }

        fn depth(&self) -> Option<usize> {
            Some(7)
        }

        fn capacity(&self) -> Option<usize> {
            Some(9)
        }

        fn runs_code_when_dropped(&self, _: Sealed) -> bool {
            self.note("runs code");
            false
        }

        fn disconnect(&self, _: Sealed) {
            self.note("disconnect");
        }

        fn may_overlook(&self, _: Sealed) -> bool {
            self.note("overlook");
            true
        }
    }

    fn since(asked: &Asked) -> (Since<&Asked>, Arc<OneChannel>) {
        let channel = Arc::<OneChannel>::default();
        (Since::new(asked, Arc::clone(&channel)), channel)
    }

    #[test]
    fn events_are_taken_from_the_begin_of_the_channel_to_its_end() {
        let asked = Asked::default();
        let (carrier, channel) = since(&asked);
        assert!(carrier.try_send(Event::new(())).is_ok());
        assert_eq!(channel.passed_over(), 1, "it has not begun");
        let subscription = Subscription::join_channel(None, [], channel);
        assert!(carrier.try_send(Event::new(())).is_ok());
        assert_eq!(carrier.channel.passed_over(), 1);
        subscription.unsubscribe();
        let refused = carrier.try_send(Event::new(()));
        assert!(refused.is_err_and(|error| error.is_closed()));
        assert_eq!(*asked.0.lock().unwrap(), ["sent"]);
    }

    #[test]
    fn other_calls_of_the_carrier_are_forwarded() {
        let asked = Asked::default();
        let (carrier, _) = since(&asked);
        assert_eq!(carrier.poll_room(Waker::noop()), Room::Waking);
        carrier.forget_waker(Waker::noop());
        assert_eq!((carrier.depth(), carrier.capacity()), (Some(7), Some(9)));
        assert!(!carrier.runs_code_when_dropped(Sealed));
        assert!(carrier.may_overlook(Sealed));
        carrier.disconnect(Sealed);
        let forwarded = ["room", "forget", "runs code", "overlook", "disconnect"];
        assert_eq!(*asked.0.lock().unwrap(), forwarded);
        assert!(carrier.as_crossbeam().is_none());
        let (sender, _receiver) = crossbeam_channel::bounded(1);
        let carrier = Since::new(sender, Arc::default());
        assert!(carrier.as_crossbeam().is_some());
    }

    #[test]
    fn a_send_inside_a_send_leaves_the_outer_count_unchanged() {
        let asked = Asked::default();
        let event = Event::new(());
        let (carrier, _) = since(&asked);
        let pass_over = |times| (0..times).for_each(|_| carrier.try_send(event.clone()).unwrap());
        let outer = count_reached(|| {
            pass_over(1);
            let inner = count_reached(|| {
                pass_over(2);
                5
            });
            assert_eq!(inner, 3);
            10
        });
        assert_eq!(outer, 9);
    }
}
