//! What the documentation states of each public type: its use, its Debug output, its error texts.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fanfeed::{
    CapacityError, Carrier, CarrierOverflow, Cause, Closed, ExclusiveRingFeed, Feed, IntoIter,
    Iter, Missed, Overflow, OverflowPolicy, PositionError, Publish, Receiver, RecvError,
    RecvTimeoutError, RingFeed, Room, Stats, SubscriberBuilder, SubscriberStats, Subscription,
    SubscriptionError, SubscriptionHandle, SubscriptionId, TryIter, TryRecvError, TrySendError,
    Undelivered, WeakFeed, WeakRingFeed, ring,
};

/// Neither printed, compared nor defaulted.
#[derive(Clone)]
struct Plain;

/// Not even cloned.
struct Bare;

/// Holds if the type has the traits; does not compile otherwise.
macro_rules! has {
    ($($type:ty),+ => $($bound:tt)+) => {{
        fn check<T: $($bound)+>() {}
        $(check::<$type>();)+
    }};
}

/// Holds if the type does not have the trait; does not compile otherwise: two ways to say which
/// method is meant.
macro_rules! has_not {
    ($($type:ty),+ => $bound:path) => {{
        trait Ambiguous<A> {
            fn method() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        struct Other;
        impl<T: ?Sized + $bound> Ambiguous<Other> for T {}
        $(let _ = <$type as Ambiguous<_>>::method;)+
    }};
}

#[allow(deprecated)]
mod markers;
#[cfg(feature = "serde")]
mod serialization;

#[test]
fn only_handles_of_rings_and_plain_data_can_be_cloned() {
    has!(RingFeed<Bare>, WeakRingFeed<Bare>, ring::Handle<Bare> => Clone);
    has!(ring::SubscriberBuilder<'static, Bare> => Clone);
    has!(ring::Overflow, ring::WaitStrategy => Copy + Eq + Hash + Debug + Default);
    // Another of these would not be alone; a forgotten clone of a receiver would hold up everybody.
    has_not!(ExclusiveRingFeed<u8>, ring::Receiver<u8>, IntoIter<ring::Receiver<u8>> => Clone);
    assert_eq!(ring::Overflow::default(), ring::Overflow::Block);
    assert_eq!(ring::WaitStrategy::default(), ring::WaitStrategy::Park);
}

#[test]
fn what_belongs_to_a_ring_prints_without_asking_values_to() {
    has!(RingFeed<Bare>, WeakRingFeed<Bare>, ring::Handle<Bare>, ExclusiveRingFeed<Bare> => Debug);
    has!(ring::Receiver<Bare>, IntoIter<ring::Receiver<Bare>>, ring::SubscriberBuilder<'static, Bare> => Debug);
    has!(Iter<'static, ring::Receiver<Bare>>, TryIter<'static, ring::Receiver<Bare>> => Debug);
    has!(ring::Event<'static, Bare>, ring::SubscriberBuilder<'static, Bare, u64> => Debug);

    let ring = RingFeed::new(3).unwrap();
    let builder = ring.subscriber().name("slow").history(5);
    let builder = builder.overflow(ring::Overflow::DropOldest);
    let text = format!(
        "{:?}",
        builder.clone().wait_strategy(ring::WaitStrategy::Spin)
    );
    for part in ["slow", "history: 5", "DropOldest", "Spin"] {
        assert!(text.contains(part), "{text}");
    }
    let text = format!("{:?}", ring.subscriber().from(7));
    assert!(text.contains("from: 7"), "{text}");
    let mut reader = builder.subscribe();
    ring.send(Plain);
    let text = format!("{reader:?}");
    for part in ["slow", "lag: 1", "capacity: 4", "Park"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(format!("{:?}", reader.iter()).contains("slow"));
    assert!(format!("{:?}", reader.try_iter()).contains("slow"));
    for part in ["capacity: 4", "position: 1", "subscribers: 1"] {
        assert!(format!("{ring:?}").contains(part), "{ring:?}");
    }
    let (weak, handle) = (ring.downgrade(), ring.handle());
    assert!(format!("{weak:?}").contains("alive: true"));
    assert!(format!("{handle:?}").contains("closed: false"));
    drop(ring);
    assert!(format!("{weak:?}").contains("alive: false"));
    assert!(format!("{handle:?}").contains("closed: true"));
    assert!(format!("{:?}", reader.into_iter()).contains("closed: true"));
    let ring = ExclusiveRingFeed::<Bare>::new(8).unwrap();
    for part in ["capacity: 8", "position: 0", "subscribers: 0"] {
        assert!(format!("{ring:?}").contains(part), "{ring:?}");
    }
}

#[test]
fn only_handles_of_feeds_and_plain_data_can_be_cloned() {
    has!(Feed<Plain>, Feed<Rc<u8>>, WeakFeed<Rc<u8>>, SubscriberBuilder<'static, Bare> => Clone);
    has!(SubscriptionError, Missed => Clone);
    has!(CapacityError, PositionError, RecvError, TryRecvError, RecvTimeoutError => Copy + Eq);
    has!(TrySendError<u8> => Copy + Eq);
    has!(ring::Event<'static, Bare> => Copy);
    has!(ring::ReaderStats, SubscriptionHandle, SubscriberStats => Clone);
    has!(Stats, SubscriptionId, Cause, Room, Overflow, CarrierOverflow => Copy + Eq);
    // A forgotten clone of a receiver would hold up everybody; a clone of a subscription would end
    // it twice.
    has_not!(Receiver<u8>, IntoIter<Receiver<u8>>, Subscription, Closed, Undelivered<u8> => Clone);
}

#[test]
fn everything_prints_without_asking_values_to() {
    has!(Feed<Plain>, WeakFeed<Plain>, Receiver<Plain>, IntoIter<Receiver<Plain>> => Debug);
    has!(Iter<'static, Receiver<Plain>>, TryIter<'static, Receiver<Plain>>, SubscriberBuilder<'static, Plain> => Debug);
    has!(Undelivered<Plain>, TrySendError<Plain> => Debug + Display + Error);
    has!(CapacityError, PositionError => Debug + Display + Error);
    has!(RecvError, TryRecvError, RecvTimeoutError => Debug + Display + Error);
    has!(SubscriptionError => Debug + Display + Error);
    has!(SubscriptionHandle, SubscriberStats => Debug);
    has!(Subscription, Closed, Stats, Missed, Cause, Room => Debug);
    has!(Overflow, CarrierOverflow => Debug + Hash);
    has!(SubscriptionId => Debug + Display + Hash + Ord);
}

#[test]
fn what_has_an_obvious_start_has_a_default() {
    has!(Feed<Plain>, Feed<Rc<u8>>, Stats => Default);
    assert_eq!(Feed::<u8>::default().subscriber_count(), 0);
    assert_eq!(Overflow::default(), Overflow::Block);
    assert_eq!(CarrierOverflow::default(), CarrierOverflow::Block);
    assert_eq!(Stats::default().delivered, 0);
}

#[test]
fn the_traits_are_implemented_where_they_are_promised() {
    has!(crossbeam_channel::Sender<u8>, std::sync::mpsc::Sender<u8> => Carrier<u8>);
    has!(std::sync::mpsc::SyncSender<u8> => Carrier<u8>);
    has!(Feed<u8>, &Feed<u8> => Publish<u8>);
    has!(RingFeed<Bare>, &RingFeed<Bare>, ExclusiveRingFeed<Bare> => Publish<Bare>);
    has!(RingFeed<Bare> => Carrier<Bare>);
    has!(Iter<'static, ring::Receiver<u8>>, IntoIter<ring::Receiver<u8>> => Iterator<Item = u8> + FusedIterator);
    has!(TryIter<'static, ring::Receiver<u8>> => Iterator<Item = u8>);
    has!(Overflow, CarrierOverflow => OverflowPolicy);
    has!(Iter<'static, Receiver<u8>>, IntoIter<Receiver<u8>> => Iterator<Item = u8> + FusedIterator);
    has!(TryIter<'static, Receiver<u8>> => Iterator<Item = u8>);
    has!(Closed => Future<Output = ()>);
    // More may come after it has said that there is nothing.
    has_not!(TryIter<'static, Receiver<u8>>, TryIter<'static, ring::Receiver<u8>> => FusedIterator);
    for (foreign, own) in [
        (CarrierOverflow::Block, Overflow::Block),
        (CarrierOverflow::DropNewest, Overflow::DropNewest),
        (CarrierOverflow::Disconnect, Overflow::Disconnect),
    ] {
        assert_eq!(Overflow::from(foreign), own);
    }
    // A carrier need not be known by its type.
    fn takes(_: &dyn Carrier<u8>) {}
    takes(&std::sync::mpsc::channel().0);
}

#[test]
fn handles_print_what_tells_them_apart() {
    let feed = Feed::new();
    let builder = feed.subscriber().name("slow").capacity(3);
    let text = format!("{:?}", builder.clone().overflow(Overflow::DropOldest));
    for part in ["slow", "3", "DropOldest"] {
        assert!(text.contains(part), "{text}");
    }
    let mut receiver = builder.overflow(Overflow::DropNewest).channel().unwrap();
    feed.send(Plain);
    let text = format!("{receiver:?}");
    for part in ["slow", "len: 1", "capacity: 3", "DropNewest"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(format!("{:?}", receiver.iter()).contains("slow"));
    assert!(format!("{:?}", receiver.try_iter()).contains("slow"));
    let subscription = format!("{:?}", receiver.subscription());
    let id = receiver.subscription().id().get();
    assert!(subscription.contains(&id.to_string()), "{subscription}");
    assert!(subscription.contains("closed: false"), "{subscription}");
    assert_eq!(receiver.subscription().id().to_string(), format!("#{id}"));
    let closed = receiver.subscription().closed();
    assert!(format!("{closed:?}").contains("ended: false"));
    assert!(format!("{feed:?}").contains("subscribers: 1"), "{feed:?}");
    let weak = feed.downgrade();
    assert!(format!("{weak:?}").contains("alive: true"));
    assert!(format!("{:?}", receiver.into_iter()).contains("slow"));
    drop(feed);
    assert!(format!("{weak:?}").contains("alive: false"));
    assert!(format!("{closed:?}").contains("ended: true"));
}

#[test]
fn rings_print_what_tells_them_apart() {
    let ring = RingFeed::<u8>::new(8).unwrap();
    let mut reader = ring
        .subscriber()
        .name("slow")
        .overflow(ring::Overflow::DropOldest)
        .subscribe();
    let builder = format!("{:?}", ring.subscriber().name("slow").history(3));
    for part in ["slow", "3"] {
        assert!(builder.contains(part), "{builder}");
    }
    for text in [
        format!("{reader:?}"),
        format!("{:?}", reader.iter()),
        format!("{:?}", reader.try_iter()),
    ] {
        assert!(text.contains("slow"), "{text}");
    }
    let text = format!("{ring:?}");
    assert!(text.contains("RingFeed") && text.contains('8'), "{text}");
    let weak = ring.downgrade();
    assert!(format!("{weak:?}").contains("alive: true"));
    drop(ring);
    assert!(format!("{weak:?}").contains("alive: false"));

    let ring = ExclusiveRingFeed::<u8>::new(8).unwrap();
    let text = format!("{ring:?}");
    assert!(
        text.contains("ExclusiveRingFeed") && text.contains('8'),
        "{text}"
    );
    let text = format!("{:?}", ring.handle());
    assert!(
        text.starts_with("Handle") && text.contains("closed: false"),
        "{text}"
    );
}

// ---- Errors ----

#[test]
fn the_errors_of_receiving_say_what_they_are_in_one_vocabulary() {
    let lagged = (
        RecvError::Lagged(3),
        TryRecvError::Lagged(3),
        RecvTimeoutError::Lagged(3),
    );
    assert_eq!(TryRecvError::from(lagged.0), lagged.1);
    assert_eq!(RecvTimeoutError::from(lagged.0), lagged.2);
    assert_eq!(TryRecvError::from(RecvError::Closed), TryRecvError::Closed);
    assert_eq!(
        TryRecvError::from(RecvError::Overflowed),
        TryRecvError::Overflowed
    );
    assert_eq!(
        RecvTimeoutError::from(RecvError::Closed),
        RecvTimeoutError::Closed
    );
    assert_eq!(
        RecvTimeoutError::from(RecvError::Overflowed),
        RecvTimeoutError::Overflowed
    );
    assert_eq!(lagged.0.lagged(), Some(3));
    assert_eq!(RecvError::Closed.lagged(), None);
    assert_eq!(RecvError::Overflowed.lagged(), None);

    // Each answers to one question, and to no other.
    let answers = |error: RecvError| [error.is_lagged(), error.is_closed(), error.is_overflowed()];
    assert_eq!(answers(RecvError::Lagged(1)), [true, false, false]);
    assert_eq!(answers(RecvError::Closed), [false, true, false]);
    assert_eq!(answers(RecvError::Overflowed), [false, false, true]);
    let answers = |error: TryRecvError| {
        [
            error.is_empty(),
            error.is_lagged(),
            error.is_closed(),
            error.is_overflowed(),
        ]
    };
    assert_eq!(answers(TryRecvError::Empty), [true, false, false, false]);
    assert_eq!(
        answers(TryRecvError::Lagged(1)),
        [false, true, false, false]
    );
    assert_eq!(answers(TryRecvError::Closed), [false, false, true, false]);
    assert_eq!(
        answers(TryRecvError::Overflowed),
        [false, false, false, true]
    );
    let answers = |error: RecvTimeoutError| {
        [
            error.is_timeout(),
            error.is_lagged(),
            error.is_closed(),
            error.is_overflowed(),
        ]
    };
    assert_eq!(
        answers(RecvTimeoutError::Timeout),
        [true, false, false, false]
    );
    assert_eq!(
        answers(RecvTimeoutError::Lagged(1)),
        [false, true, false, false]
    );
    assert_eq!(
        answers(RecvTimeoutError::Closed),
        [false, false, true, false]
    );
    assert_eq!(
        answers(RecvTimeoutError::Overflowed),
        [false, false, false, true]
    );

    // The same thing is said in the same words, and different things in different ones.
    assert!(lagged.0.to_string().starts_with("3 values"));
    assert_eq!(lagged.0.to_string(), lagged.1.to_string());
    assert_eq!(lagged.0.to_string(), lagged.2.to_string());
    let texts: HashSet<_> = [
        RecvError::Lagged(3).to_string(),
        RecvError::Closed.to_string(),
        RecvError::Overflowed.to_string(),
        TryRecvError::Empty.to_string(),
        RecvTimeoutError::Timeout.to_string(),
    ]
    .into();
    assert_eq!(texts.len(), 5);
    assert_eq!(
        SubscriptionError::Overflowed.to_string(),
        RecvError::Overflowed.to_string()
    );
}

#[test]
fn the_error_of_sending_gives_the_value_back() {
    let full = TrySendError::Full(7);
    let closed = TrySendError::Closed(8);
    assert!(full.is_full() && !full.is_closed());
    assert!(closed.is_closed() && !closed.is_full());
    assert_ne!(full.to_string(), closed.to_string());
    assert_eq!((full.into_inner(), closed.into_inner()), (7, 8));
    assert_eq!(format!("{:?}", TrySendError::Full(Plain)), "Full(..)");
}

#[test]
fn the_error_of_a_subscription_says_why_and_leads_to_its_source() {
    let failed = SubscriptionError::failed("no more tea");
    assert!(failed.is_failed() && !failed.is_panicked() && !failed.is_overflowed());
    assert!(failed.to_string().contains("no more tea"));
    assert_eq!(failed.source().unwrap().to_string(), "no more tea");
    let panicked = SubscriptionError::Panicked(Arc::from("a bad day"));
    assert!(panicked.is_panicked() && !panicked.is_failed() && !panicked.is_overflowed());
    assert!(panicked.to_string().contains("a bad day"));
    assert!(panicked.source().is_none());
    let overflowed = SubscriptionError::Overflowed;
    assert!(overflowed.is_overflowed() && !overflowed.is_failed() && !overflowed.is_panicked());
}

#[test]
fn errors_can_be_passed_up_with_a_question_mark() {
    fn up() -> Result<(), Box<dyn Error + Send + Sync>> {
        let feed = Feed::new();
        let mut receiver = feed.channel(1)?;
        feed.try_send(1)?;
        receiver.recv()?;
        receiver.recv_timeout(Duration::ZERO)?;
        Ok(())
    }
    assert_eq!(up().unwrap_err().to_string(), "no value came in time");
}

#[test]
fn errors_count_missed_values_in_the_singular_and_the_plural() {
    let one = RecvError::Lagged(1).to_string();
    assert_eq!(one, "1 value was missed here");
    let two = RecvTimeoutError::Lagged(2).to_string();
    assert_eq!(two, "2 values were missed here");
}

#[test]
fn nothing_public_panics_where_a_result_would_do() {
    let feed = Feed::<u8>::new();
    assert!(feed.channel(0).is_err());
    assert!(feed.channel(usize::MAX).is_err());
    feed.close();
    feed.close();
    assert!(feed.channel(0).is_err(), "also when it is closed");
    assert!(feed.send_timeout(1, Duration::MAX).is_ok());
    let mut receiver = feed.channel(1).unwrap();
    assert!(receiver.recv_timeout(Duration::MAX).is_err());
    assert!(receiver.drain(usize::MAX, drop).is_err());
    assert!(receiver.drain_into(&mut Vec::new(), usize::MAX).is_err());
    assert!(receiver.subscription().closed().wait_timeout(Duration::MAX));

    assert!(RingFeed::<u8>::new(0).is_err() && ExclusiveRingFeed::<u8>::new(usize::MAX).is_err());
    let ring = RingFeed::<u8>::new(1).unwrap();
    ring.close();
    ring.close();
    assert_eq!((ring.send(1), ring.send_batch([1, 2])), (0, 0));
    let mut reader = ring.subscriber().history(u64::MAX).subscribe();
    assert!(reader.recv_timeout(Duration::MAX).is_err());
    assert!(reader.wait_timeout(Duration::MAX).is_err());
    assert!(reader.drain_up_to(usize::MAX, |_| {}).is_err());
}

#[test]
fn a_channel_that_can_tell_says_how_much_is_in_it() {
    let (crossbeam, _receiver) = crossbeam_channel::bounded(4);
    let carrier: &dyn Carrier<u8> = &crossbeam;
    for count in 0..3 {
        assert_eq!(carrier.depth(), Some(count));
        carrier.try_send(0).unwrap();
    }
    let carrier: &dyn Carrier<u8> = &std::sync::mpsc::channel().0;
    assert_eq!(carrier.depth(), None);
}

/// Programs that follow the repository may still use them.
#[test]
fn earlier_names_are_the_types_of_today() {
    fn is<T>(_: PhantomData<T>) {}
    is::<Iter<'_, ring::Receiver<u8>>>(PhantomData::<fanfeed::RingIter<'_, u8>>);
    is::<TryIter<'_, ring::Receiver<u8>>>(PhantomData::<fanfeed::RingTryIter<'_, u8>>);
    is::<IntoIter<ring::Receiver<u8>>>(PhantomData::<fanfeed::RingIntoIter<u8>>);
    is::<ring::Receiver<u8>>(PhantomData::<fanfeed::RingReceiver<u8>>);
    #[cfg(feature = "async")]
    is::<fanfeed::RecvAsync<'_, ring::Receiver<u8>>>(PhantomData::<fanfeed::RingRecvAsync<'_, u8>>);
    is::<Receiver<fanfeed::TypeMuxEvent>>(PhantomData::<fanfeed::TypeMuxSubscription>);
}
