//! Wakers that panic when they are woken, cloned or dropped, or that call the object that they were
//! given to.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use fanfeed::{Carrier, Closed, Feed, RingFeed, Room};

use crate::common::watchdog;
use crate::panic_of;

/// What a waker does besides its work, and how many there are of it.
#[derive(Default)]
pub(crate) struct Faults {
    wake: AtomicBool,
    clone: AtomicBool,
    drop: AtomicBool,
    woken: AtomicUsize,
    /// Run by whatever is done with a waker.
    hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Faults {
    fn run_hook(&self) {
        thread_local! {
            static RUNS: Cell<bool> = const { Cell::new(false) };
        }
        if let (Some(hook), false) = (self.hook.get(), RUNS.replace(true)) {
            hook();
            RUNS.set(false);
        }
    }

    fn waker(self: &Arc<Self>) -> Waker {
        let data = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: the table's functions treat the pointer as an `Arc<Faults>` of which each waker
        // owns one count.
        unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
    }

    fn woken(&self) -> usize {
        self.woken.swap(0, Ordering::SeqCst)
    }

    fn that(fault: impl Fn(&Self) -> &AtomicBool) -> (Arc<Self>, Waker) {
        let faults = Arc::new(Self::default());
        let waker = faults.waker();
        fault(&faults).store(true, Ordering::SeqCst);
        (faults, waker)
    }

    fn panic_if(fault: &AtomicBool, text: &str) {
        // A second panic on a thread that unwinds would be the test's own fault.
        let hurts = fault.load(Ordering::SeqCst) && !std::thread::panicking();
        assert!(!hurts, "{text}");
    }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(
    |data| {
        let faults = data.cast::<Faults>();
        // SAFETY: as `Faults::waker` says; the waker that is cloned keeps the count above 0.
        Faults::panic_if(unsafe { &(*faults).clone }, "a bad clone of a waker");
        // SAFETY: as above.
        unsafe { &*faults }.run_hook();
        // SAFETY: as above.
        unsafe { Arc::increment_strong_count(faults) };
        RawWaker::new(data, &TABLE)
    },
    |data| {
        // SAFETY: as `Faults::waker` says; this takes the waker's count.
        let faults = unsafe { Arc::from_raw(data.cast::<Faults>()) };
        faults.woken.fetch_add(1, Ordering::SeqCst);
        faults.run_hook();
        Faults::panic_if(&faults.wake, "a bad wake");
    },
    |data| {
        // SAFETY: as `Faults::waker` says; the waker keeps its count.
        let faults = unsafe { &*data.cast::<Faults>() };
        faults.woken.fetch_add(1, Ordering::SeqCst);
        faults.run_hook();
        Faults::panic_if(&faults.wake, "a bad wake");
    },
    |data| {
        // SAFETY: as `Faults::waker` says; this takes the waker's count.
        let faults = unsafe { Arc::from_raw(data.cast::<Faults>()) };
        faults.run_hook();
        Faults::panic_if(&faults.drop, "a bad drop of a waker");
    },
);

/// A waker that comes back to the ring whenever it is cloned, woken or dropped.
struct ComesBack(RingFeed<u32>);

impl ComesBack {
    fn waker(ring: &RingFeed<u32>) -> Waker {
        let data = Arc::into_raw(Arc::new(Self(ring.clone()))).cast();
        // SAFETY: the table's functions treat the pointer as an `Arc<ComesBack>` of which each
        // waker owns one count.
        unsafe { Waker::from_raw(RawWaker::new(data, &COMES_BACK)) }
    }

    fn come_back(&self) {
        let _ = Carrier::poll_room(&self.0, Waker::noop());
        let _ = self.0.try_send(1);
        drop(self.0.subscribe());
        Carrier::forget_waker(&self.0, Waker::noop());
    }
}

static COMES_BACK: RawWakerVTable = RawWakerVTable::new(
    |data| {
        let this = data.cast::<ComesBack>();
        // SAFETY: as `ComesBack::waker` says; the waker that is cloned keeps the count above 0.
        unsafe {
            Arc::increment_strong_count(this);
            (*this).come_back();
        }
        RawWaker::new(data, &COMES_BACK)
    },
    // SAFETY: as `ComesBack::waker` says; this takes the waker's count.
    |data| unsafe { Arc::from_raw(data.cast::<ComesBack>()) }.come_back(),
    // SAFETY: as `ComesBack::waker` says; the waker keeps its count.
    |data| unsafe { &*data.cast::<ComesBack>() }.come_back(),
    // SAFETY: as `ComesBack::waker` says; this takes the waker's count.
    |data| unsafe { Arc::from_raw(data.cast::<ComesBack>()) }.come_back(),
);

#[test]
fn a_waker_may_come_back_to_the_ring() {
    let _watchdog = watchdog();
    let ring = RingFeed::new(1).unwrap();
    let mut readers = [(); 2].map(|()| ring.subscribe());
    ring.send(0);
    for round in 0..3 {
        let wakers = [(); 2].map(|()| ComesBack::waker(&ring));
        for waker in wakers.iter().cycle().take(5) {
            assert_eq!(Carrier::poll_room(&ring, waker), Room::Waking, "{round}");
        }
        for reader in &mut readers {
            assert!(reader.try_recv().is_ok());
        }
        for waker in &wakers {
            Carrier::forget_waker(&ring, waker);
        }
        drop(wakers);
        let _ = ring.try_send(1);
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(waker)) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// Nobody but the one in hand holds the waker any more.
#[track_caller]
fn assert_released(faults: &Arc<Faults>) {
    assert_eq!(Arc::strong_count(faults), 2, "a waker was kept");
}

// ---- The end of a subscription ----

#[test]
fn a_panicking_waker_keeps_no_other_waiter_from_learning_of_an_end() {
    let ends: [fn(Feed<u8>, &fanfeed::Subscription); 4] = [
        |_feed, subscription| subscription.unsubscribe(),
        |feed, _| feed.close(),
        |feed, _| drop(feed),
        |feed, _| assert_eq!(feed.send(0), 0),
    ];
    for end in ends {
        let feed = Feed::new();
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let subscription = feed.subscribe(sender);
        let (bad, bad_waker) = Faults::that(|faults| &faults.wake);
        let (good, good_waker) = (Arc::new(Faults::default()), Waker::noop());
        let mut futures: [Closed; 3] = [(); 3].map(|()| subscription.closed());
        let wakers = [&bad_waker, &good.waker(), &bad_waker];
        for (future, waker) in futures.iter_mut().zip(wakers) {
            assert_eq!(poll(future, waker), None);
        }
        drop(receiver);
        end(feed, &subscription);
        assert_eq!((bad.woken(), good.woken()), (2, 1));
        assert!(subscription.is_closed());
        for future in &mut futures {
            assert_eq!(poll(future, good_waker), Some(()));
        }
        drop(futures);
        assert_released(&bad);
    }
}

#[test]
fn a_waker_that_panics_when_cloned_or_dropped_panics_in_the_task_that_polls() {
    let subscription = fanfeed::Subscription::join([]);
    let mut closed = subscription.closed();
    let (faults, waker) = Faults::that(|faults| &faults.clone);
    assert_eq!(
        panic_of(|| poll(&mut closed, &waker)),
        "a bad clone of a waker"
    );
    let (dropped, drop_waker) = Faults::that(|faults| &faults.drop);
    assert_eq!(poll(&mut closed, &drop_waker), None);
    // Another takes its place, and is there though the drop panics.
    let good = Arc::new(Faults::default());
    let good_waker = good.waker();
    assert_eq!(
        panic_of(|| poll(&mut closed, &good_waker)),
        "a bad drop of a waker"
    );
    subscription.unsubscribe();
    assert_eq!(good.woken(), 1);
    assert_released(&faults);
    assert_released(&dropped);
    // One that is given up with its future bothers nobody.
    let subscription = fanfeed::Subscription::join([]);
    let mut closed = subscription.closed();
    assert_eq!(poll(&mut closed, &drop_waker), None);
    drop(closed);
    assert_released(&dropped);
    dropped.drop.store(false, Ordering::SeqCst);
}

#[cfg(feature = "async")]
mod tasks {
    #[cfg(feature = "tokio")]
    use fanfeed::TryRecvError;
    use fanfeed::{ExclusiveRingFeed, Feed, RingFeed};
    use futures_util::StreamExt;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::task::Waker;

    use super::{Faults, assert_released, poll};
    use crate::common::{Tally, eventually, watchdog};
    use crate::crowd::{Crowd, verbs};
    use crate::panic_of;

    #[test]
    fn a_panicking_waker_of_a_receiver_keeps_no_value_from_others() {
        for (verb, send) in verbs() {
            let tally = Tally::new();
            let feed = Feed::new();
            let mut bad = feed.channel(4).unwrap();
            let mut crowd = Crowd::new(&feed);
            let mut good = feed.channel(4).unwrap();
            let (faults, bad_waker) = Faults::that(|faults| &faults.wake);
            let counted = Arc::new(Faults::default());
            assert!(poll(&mut bad.next(), &bad_waker).is_none());
            assert!(poll(&mut good.next(), &counted.waker()).is_none());
            send(&feed, tally.value(0));
            assert_eq!((faults.woken(), counted.woken()), (1, 1), "{verb}");
            assert!(crowd.take().iter().all(|got| *got == [0]), "{verb}");
            crowd.assert_open();
            for receiver in [&mut bad, &mut good] {
                let value = poll(&mut receiver.next(), Waker::noop()).unwrap();
                assert_eq!(value.unwrap().number, 0, "{verb}");
                assert!(!receiver.is_closed());
            }
            assert_released(&faults);
        }
    }

    #[test]
    fn a_panicking_waker_of_a_receiver_keeps_no_waiter_from_learning_of_the_end() {
        let ends: [fn(Feed<u8>); 2] = [|feed| feed.close(), drop];
        for end in ends {
            let feed = Feed::new();
            let mut receivers: Vec<_> = (0..4).map(|_| feed.channel(4).unwrap()).collect();
            let (faults, bad_waker) = Faults::that(|faults| &faults.wake);
            let counted = Arc::new(Faults::default());
            for (index, receiver) in receivers.iter_mut().enumerate() {
                let good = counted.waker();
                let waker = if index % 2 == 0 { &bad_waker } else { &good };
                assert!(poll(&mut receiver.next(), waker).is_none());
            }
            end(feed);
            assert_eq!((faults.woken(), counted.woken()), (2, 2));
            assert!(receivers.iter().all(fanfeed::Receiver::is_closed));
        }
    }

    #[test]
    fn a_waker_that_panics_when_cloned_or_dropped_costs_its_receiver_no_value() {
        let feed = Feed::new();
        let mut receiver = feed.channel(4).unwrap();
        let ring = RingFeed::new(4).unwrap();
        let mut reader = ring.subscribe();
        let (_, clones) = Faults::that(|faults| &faults.clone);
        assert!(panic_of(|| poll(&mut receiver.next(), &clones)).contains("clone"));
        assert!(panic_of(|| poll(&mut reader.next(), &clones)).contains("clone"));
        let (dropped, drops) = Faults::that(|faults| &faults.drop);
        assert!(poll(&mut receiver.next(), &drops).is_none());
        assert!(poll(&mut reader.next(), &drops).is_none());
        let good = Arc::new(Faults::default());
        let waker = good.waker();
        assert!(panic_of(|| poll(&mut receiver.next(), &waker)).contains("drop"));
        assert!(panic_of(|| poll(&mut reader.next(), &waker)).contains("drop"));
        assert!(poll(&mut receiver.next(), &waker).is_none());
        assert!(poll(&mut reader.next(), &waker).is_none());
        feed.send(1);
        ring.send(1);
        assert_eq!(good.woken(), 2);
        assert_eq!((receiver.try_recv(), reader.try_recv()), (Ok(1), Ok(1)));
        // A reader that leaves while it waits gives its seat back, whatever its waker does.
        assert!(poll(&mut reader.next(), &drops).is_none());
        drop(reader);
        assert_eq!((ring.subscriber_count(), ring.send_batch(2..20)), (0, 19));
        dropped.drop.store(false, Ordering::SeqCst);
        assert_released(&dropped);
    }

    /// What a ring's readers are woken by.
    type Event<R> = fn(&mut R);

    #[test]
    fn a_panicking_waker_of_a_reader_keeps_no_other_reader_asleep() {
        let exclusive: [Event<ExclusiveRingFeed<u64>>; 5] = [
            |ring| assert_eq!(ring.send(1), 0),
            |ring| assert_eq!(ring.try_send(1), Ok(0)),
            |ring| assert_eq!(ring.send_batch([1]), 1),
            |ring| assert_eq!(ring.send_with(|value| *value = 1), 0),
            |ring| ring.close(),
        ];
        let shared: [Event<RingFeed<u64>>; 5] = [
            |ring| assert_eq!(ring.send(1), 0),
            |ring| assert_eq!(ring.try_send(1), Ok(0)),
            |ring| assert_eq!(ring.send_batch([1]), 1),
            |ring| assert_eq!(ring.send_with(|value| *value = 1), 0),
            |ring| ring.close(),
        ];
        for event in exclusive {
            let mut ring = ExclusiveRingFeed::new(8).unwrap();
            let readers = [(); 4].map(|()| ring.subscribe());
            each_is_woken(readers, || event(&mut ring));
        }
        for event in shared {
            let mut ring = RingFeed::new(8).unwrap();
            let readers = [(); 4].map(|()| ring.subscribe());
            each_is_woken(readers, || event(&mut ring));
        }
    }

    fn each_is_woken(mut readers: [fanfeed::ring::Receiver<u64>; 4], event: impl FnOnce()) {
        let (faults, bad_waker) = Faults::that(|faults| &faults.wake);
        let counted = Arc::new(Faults::default());
        for (index, reader) in readers.iter_mut().enumerate() {
            let good = counted.waker();
            let waker = if index % 2 == 0 { &bad_waker } else { &good };
            assert!(poll(&mut reader.next(), waker).is_none());
        }
        event();
        assert_eq!((faults.woken(), counted.woken()), (2, 2));
        drop(readers);
        assert_released(&faults);
    }

    #[test]
    fn a_panicking_waker_of_a_send_affects_neither_the_receiver_nor_another_send() {
        let feed = Feed::new();
        let mut receiver = feed.channel(1).unwrap();
        feed.send(0);
        let (mut first, mut second) = (feed.send_async(1), feed.send_async(2));
        let (faults, bad_waker) = Faults::that(|faults| &faults.wake);
        let good = Arc::new(Faults::default());
        assert!(poll(&mut first, &bad_waker).is_none());
        assert!(poll(&mut second, &good.waker()).is_none());
        assert_eq!(receiver.try_recv(), Ok(0));
        assert!(faults.woken() >= 1);
        assert_eq!(poll(&mut first, Waker::noop()), Some(1));
        assert_eq!(receiver.try_recv(), Ok(1));
        assert_eq!(poll(&mut second, Waker::noop()), Some(1));
        assert_eq!(receiver.try_recv(), Ok(2));
    }

    #[test]
    fn a_panicking_waker_of_a_send_on_a_full_ring_does_not_affect_the_reader() {
        let feed = Feed::new();
        let ring = RingFeed::new(1).unwrap();
        let mut reader = ring.subscribe();
        let subscription = feed.subscribe(ring);
        feed.send(0);
        let mut send = feed.send_async(1);
        let (_, bad_waker) = Faults::that(|faults| &faults.wake);
        assert!(poll(&mut send, &bad_waker).is_none());
        // The reader's handler panics, and the waker is woken while that unwinds.
        let text = panic_of(|| reader.drain(|number: &u64| panic!("number {number}")));
        assert_eq!(text, "number 0");
        assert_eq!(poll(&mut send, Waker::noop()), Some(1));
        assert_eq!(reader.try_recv(), Ok(1));
        assert!(!subscription.is_closed(), "its carrier is not to blame");
    }

    #[test]
    fn a_waker_that_panics_does_not_end_the_alarm() {
        let _watchdog = watchdog();
        // Full, and without a way to tell when it has room: tried again when the alarm wakes the
        // task.
        let (timed, far_end) = std::sync::mpsc::sync_channel(1);
        let feed = Feed::new();
        let subscription = feed.subscribe(timed);
        feed.send(0);
        let (faults, bad_waker) = Faults::that(|faults| &faults.wake);
        let good = Arc::new(Faults::default());
        let (mut bad, mut timed) = (feed.send_async(1), feed.send_async(2));
        assert!(poll(&mut bad, &bad_waker).is_none());
        assert!(poll(&mut timed, &good.waker()).is_none());
        eventually(|| faults.woken() >= 1);
        eventually(|| good.woken() >= 1);
        assert_eq!(far_end.recv(), Ok(0));
        eventually(|| poll(&mut timed, &good.waker()) == Some(1));
        assert_eq!(far_end.recv(), Ok(2));
        assert!(!subscription.is_closed());
        drop((bad, timed));
        // The alarm's thread lets go of the waker after the waker has counted the call.
        eventually(|| Arc::strong_count(&faults) == 2);
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn a_waker_may_come_back_to_what_it_was_given_to() {
        let _watchdog = watchdog();
        let feed = Feed::new();
        let (mut receiver, subscription) = feed.channel(1).unwrap().split();
        let (sync, sync_far_end) = std::sync::mpsc::sync_channel(1);
        let (tokio, mut tokio_far_end) = tokio::sync::mpsc::channel(1);
        let foreign = [feed.subscribe(sync), feed.subscribe(tokio)];
        let faults = Arc::new(Faults::default());
        let (other, waker) = (feed.clone(), faults.waker());
        let ends: Vec<_> = foreign.iter().map(fanfeed::Subscription::closed).collect();
        let ends = std::sync::Mutex::new(ends);
        let hook = move || {
            // All of it takes the locks under which wakers are kept.
            let _ = poll(&mut other.send_async(9), Waker::noop());
            let _ = other.try_send(9);
            if let Ok(mut ends) = ends.try_lock() {
                ends.iter_mut().for_each(|end| {
                    let _ = poll(end, Waker::noop());
                });
            }
        };
        assert!(faults.hook.set(Box::new(hook)).is_ok());
        for round in 0..3 {
            let mut closed = subscription.closed();
            assert!(poll(&mut closed, &waker).is_none());
            // Another takes its place, and it is dropped.
            assert!(poll(&mut closed, Waker::noop()).is_none());
            let mut sends = [feed.send_async(1), feed.send_async(2)];
            for waker in [&waker, Waker::noop(), &waker] {
                for send in &mut sends {
                    let _ = poll(send, waker);
                }
            }
            // The sends that the hook drops are missed, which ends no stream.
            while !matches!(receiver.try_recv(), Err(TryRecvError::Empty)) {}
            let _ = sync_far_end.try_recv();
            let _ = tokio_far_end.try_recv();
            let _ = poll(&mut receiver.next(), &waker);
            assert!(faults.woken() > 0 || round == 0);
        }
        subscription.unsubscribe();
        feed.close();
    }

    #[allow(deprecated)]
    #[test]
    fn a_panicking_waker_does_not_end_its_subscriber_of_a_mux() {
        let mux = fanfeed::TypeMux::new();
        let mut bad = mux.subscribe::<(u8,)>();
        let mut good = mux.subscribe::<(u8,)>();
        let (faults, bad_waker) = Faults::that(|faults| &faults.wake);
        let counted = Arc::new(Faults::default());
        for event in [Some(7_u8), None] {
            assert!(poll(&mut bad.next(), &bad_waker).is_none());
            assert!(poll(&mut good.next(), &counted.waker()).is_none());
            match event {
                Some(event) => assert_eq!(mux.post(event).unwrap(), 2),
                None => mux.stop(),
            }
            assert_eq!((faults.woken(), counted.woken()), (1, 1));
            for subscription in [&mut bad, &mut good] {
                let got = poll(&mut subscription.next(), Waker::noop()).unwrap();
                let got = got.map(|got| *got.downcast_ref::<u8>().unwrap());
                assert_eq!(got, event);
            }
        }
    }
}
