//! Values of zero size, with a wide alignment, too large for a stack, and that threads may not
//! share.

use std::cell::Cell;
use std::fmt::Debug;
use std::mem::{align_of, size_of};
use std::sync::atomic::{AtomicI64, Ordering};

use fanfeed::{ExclusiveRingFeed, Feed, Overflow, Receiver, RingFeed, TryRecvError, ring};

/// What a value is like, and how many there are.
trait Edge: Clone + Default + Send + Sync + Debug + 'static {
    fn live() -> Option<&'static AtomicI64> {
        None
    }
    fn number(&self) -> Option<u8>;
    fn of(number: u8) -> Self;
}

/// Looks at a value that was lent or given.
#[track_caller]
fn look<T: Edge>(value: &T, expected: u8) {
    let address = std::ptr::from_ref(value).addr();
    assert_eq!(address % align_of::<T>(), 0, "misaligned");
    assert!(value.number().is_none_or(|number| number == expected));
}

#[derive(Clone, Default, Debug)]
struct Nothing;
impl Edge for Nothing {
    fn number(&self) -> Option<u8> {
        None
    }
    fn of(_: u8) -> Self {
        Self
    }
}

/// Counts its drops, and has no size.
#[derive(Debug)]
struct Counting;
static COUNTING: AtomicI64 = AtomicI64::new(0);
impl Default for Counting {
    fn default() -> Self {
        COUNTING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}
impl Clone for Counting {
    fn clone(&self) -> Self {
        Default::default()
    }
}
impl Drop for Counting {
    fn drop(&mut self) {
        COUNTING.fetch_sub(1, Ordering::SeqCst);
    }
}
impl Edge for Counting {
    fn live() -> Option<&'static AtomicI64> {
        Some(&COUNTING)
    }
    fn number(&self) -> Option<u8> {
        None
    }
    fn of(_: u8) -> Self {
        Default::default()
    }
}

/// No size, but a place to be.
#[derive(Clone, Default, Debug)]
#[repr(align(4096))]
struct NowhereElse;
impl Edge for NowhereElse {
    fn number(&self) -> Option<u8> {
        None
    }
    fn of(_: u8) -> Self {
        Self
    }
}

macro_rules! aligned {
    ($($name:ident = $align:literal),+) => {$(
        #[derive(Clone, Default, Debug)]
        #[repr(align($align))]
        struct $name(u8);
        impl Edge for $name {
            fn number(&self) -> Option<u8> {
                Some(self.0)
            }
            fn of(number: u8) -> Self {
                Self(number)
            }
        }
    )+};
}
aligned!(Line = 64, Pair = 128, Page = 4096);

/// 64 KiB.
#[derive(Clone, Debug)]
struct Huge([u8; 1 << 16]);
impl Default for Huge {
    fn default() -> Self {
        Self([0; 1 << 16])
    }
}
impl Edge for Huge {
    fn number(&self) -> Option<u8> {
        assert!(self.0.iter().all(|byte| *byte == self.0[0]), "torn");
        Some(self.0[0])
    }
    fn of(number: u8) -> Self {
        Self([number; 1 << 16])
    }
}

/// Runs a test for each type, and holds that every value was dropped.
fn with_each_type(test: impl Fn(&dyn Test)) {
    struct Of<T>(std::marker::PhantomData<fn() -> T>);
    impl<T: Edge> Test for Of<T> {
        fn feed(&self, capacity: usize) {
            a_feed::<T>(capacity);
            assert_eq!(T::live().map_or(0, |live| live.load(Ordering::SeqCst)), 0);
        }
        fn rings(&self, capacity: usize) {
            an_exclusive_ring::<T>(capacity);
            a_shared_ring::<T>(capacity);
            assert_eq!(T::live().map_or(0, |live| live.load(Ordering::SeqCst)), 0);
        }
        fn mux(&self) {
            a_mux::<T>();
            assert_eq!(T::live().map_or(0, |live| live.load(Ordering::SeqCst)), 0);
        }
    }
    fn of<T: Edge>() -> Of<T> {
        Of(std::marker::PhantomData)
    }
    let types: [&dyn Test; 7] = [
        &of::<Nothing>(),
        &of::<Counting>(),
        &of::<NowhereElse>(),
        &of::<Line>(),
        &of::<Pair>(),
        &of::<Page>(),
        &of::<Huge>(),
    ];
    types.into_iter().for_each(test);
}

trait Test {
    fn feed(&self, capacity: usize);
    fn rings(&self, capacity: usize);
    fn mux(&self);
}

// The types count their values in one place each, so all of it is one test.
#[test]
fn values_of_every_type_go_every_way() {
    const { assert!(size_of::<Counting>() == 0 && align_of::<NowhereElse>() == 4096) };
    // Without optimization a value is copied dozens of times on its way, and each copy has a place
    // of its own on the stack.
    let thread = std::thread::Builder::new().stack_size(16 << 20);
    let thread = thread.spawn(|| {
        with_each_type(|test| {
            for capacity in [1, 2, 3, 8] {
                test.feed(capacity);
                test.rings(capacity);
            }
            test.mux();
        });
    });
    crate::common::join(thread.unwrap());
}

fn a_feed<T: Edge>(capacity: usize) {
    let feed = Feed::<T>::new();
    let channel = |overflow| {
        let builder = feed.subscriber().capacity(capacity);
        builder.overflow(overflow).channel().unwrap()
    };
    let mut block = channel(Overflow::Block);
    let mut newest = channel(Overflow::DropNewest);
    let mut oldest = channel(Overflow::DropOldest);
    let mut cut = channel(Overflow::Disconnect);
    let (sender, far_end) = crossbeam_channel::unbounded();
    let _crossbeam = feed.subscribe(sender);
    let ring = RingFeed::new(64).unwrap();
    let mut reader = ring.subscribe();
    let _ring = feed.subscribe(ring);
    let count = capacity as u8;
    let of_closure = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let _closure = feed.subscribe_fn({
        let called = std::sync::Arc::clone(&of_closure);
        move |value: &T| {
            look(value, called.fetch_add(1, Ordering::Relaxed) as u8);
        }
    });
    assert_eq!(feed.send_batch((0..count).map(T::of)), 7 * capacity);
    // One more than there is room for.
    let undelivered = feed.try_send(T::of(count)).unwrap_err();
    look(undelivered.value(), count);
    assert_eq!(
        (undelivered.delivered(), undelivered.missed().len()),
        (4, 1)
    );
    let take = |receiver: &mut Receiver<T>, from: u8, to: u8| {
        for number in from..to {
            look(&receiver.try_recv().unwrap(), number);
        }
    };
    take(&mut block, 0, count);
    assert_eq!(undelivered.retry().unwrap(), 5);
    take(&mut block, count, count + 1);
    take(&mut newest, 0, count);
    assert_eq!(newest.try_recv().unwrap_err(), TryRecvError::Lagged(1));
    assert_eq!(oldest.try_recv().unwrap_err(), TryRecvError::Lagged(1));
    take(&mut oldest, 1, count + 1);
    take(&mut cut, 0, count);
    assert_eq!(cut.try_recv().unwrap_err(), TryRecvError::Overflowed);
    let mut number = 0;
    let read = reader.drain(|value| {
        look(value, number);
        number += 1;
    });
    assert_eq!(read, Ok(capacity + 1));
    for (number, value) in (0..).zip(far_end.try_iter()) {
        look(&value, number);
    }
    assert_eq!(of_closure.load(Ordering::Relaxed), capacity + 1);
    // Some are left in the channels, to be dropped with them.
    feed.send(T::of(count + 1));
    assert_eq!((block.len(), far_end.len()), (1, 1));
}

macro_rules! a_ring {
    ($name:ident, $kind:ident) => {
        fn $name<T: Edge>(capacity: usize) {
            #[allow(unused_mut)]
            let mut ring = $kind::<T>::new(capacity).unwrap();
            let capacity = ring.capacity();
            let mut strict = ring.subscribe();
            let builder = ring.subscriber().overflow(ring::Overflow::DropOldest);
            let mut lossy = builder.subscribe();
            let mut at = 0_u8;
            for _ in 0..4 {
                let begin = at;
                ring.send_with(|value| *value = T::of(begin));
                let rest = begin + 1..begin + capacity as u8;
                ring.send_batch(rest.map(T::of));
                at += capacity as u8;
                let refused = ring.try_send(T::of(at)).unwrap_err();
                assert!(refused.is_full());
                look(&refused.into_inner(), at);
                let mut number = begin;
                let read = strict.drain(|value| {
                    look(value, number);
                    number += 1;
                });
                assert_eq!(read, Ok(capacity));
            }
            let sent = u64::from(at);
            let mut late = ring.subscriber().history(2).subscribe();
            let lag = late.lag() as u8;
            late.try_iter()
                .zip(at - lag..)
                .for_each(|(value, number)| look(&value, number));
            let received = lossy.try_iter().count() as u64;
            assert_eq!(received + lossy.missed(), sent);
            // A lossy reader that is left its segment while it reads.
            drop(strict);
            drop(late);
            ring.try_send(T::of(at)).unwrap();
            let read = lossy.drain_up_to(1, |value| {
                for number in 0..3 * capacity as u8 {
                    ring.try_send(T::of(number)).unwrap();
                }
                look(value, at);
            });
            assert_eq!(read, Ok(1));
            ring.close();
            assert!(ring.try_send(T::of(0)).unwrap_err().is_closed());
        }
    };
}
a_ring!(an_exclusive_ring, ExclusiveRingFeed);
a_ring!(a_shared_ring, RingFeed);

#[allow(deprecated)]
fn a_mux<T: Edge>() {
    let mux = fanfeed::TypeMux::new();
    let mut first = mux.subscriber::<(T,)>().capacity(2).channel().unwrap();
    let mut second = mux.subscribe::<(T, u8)>();
    assert_eq!(mux.post(T::of(1)).unwrap(), 2);
    assert_eq!(mux.post(T::of(2)).unwrap(), 2);
    for number in [1, 2] {
        for subscription in [&mut first, &mut second] {
            let event = subscription.try_recv().unwrap();
            look(event.downcast_ref::<T>().unwrap(), number);
        }
    }
    mux.post(T::of(3)).unwrap();
    mux.stop();
    let back = mux.post(T::of(4)).unwrap_err().into_inner();
    look(&back, 4);
}

// ---- Values that threads may not share ----

#[test]
fn a_feed_takes_values_that_two_threads_may_not_share() {
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    let _closure = feed.subscribe_fn(|cell: &Cell<u64>| cell.set(cell.get() + 1));
    let sender = std::thread::spawn(move || feed.send(Cell::new(6)));
    let cell = receiver.recv().unwrap();
    cell.set(cell.get() + 1);
    assert_eq!((cell.get(), crate::common::join(sender)), (7, 2));
}

#[test]
fn a_ring_of_borrowing_values_can_be_made_and_sent_on() {
    // What subscribes asks for `'static`; what only sends on a ring does not.
    let text = String::from("borrowed");
    let mut ring = ExclusiveRingFeed::new(4).unwrap();
    let shared = RingFeed::new(4).unwrap();
    for word in 0..10 {
        assert_eq!(ring.send(text.as_str()), word);
        assert_eq!(shared.send(text.as_str()), word);
    }
}

#[test]
fn a_huge_value_that_is_written_in_place_needs_little_of_the_stack() {
    // Eight copies of it; a build without optimization makes some where a slot gets its first
    // value, the default one.
    let thread = std::thread::Builder::new().stack_size(8 * size_of::<Huge>());
    let thread = thread.spawn(|| {
        let mut ring = ExclusiveRingFeed::<Huge>::new(4).unwrap();
        let shared = RingFeed::<Huge>::new(4).unwrap();
        let (mut reader, mut other) = (ring.subscribe(), shared.subscribe());
        for round in 0..20 {
            ring.send_with(|huge| huge.0.fill(round));
            shared.send_with(|huge| huge.0.fill(round));
            assert_eq!(reader.drain(|huge| look(huge, round)), Ok(1));
            assert_eq!(other.drain(|huge| look(huge, round)), Ok(1));
        }
    });
    crate::common::join(thread.unwrap());
}
