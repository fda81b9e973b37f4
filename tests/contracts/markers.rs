//! The markers that each public type has and has not: `Send`, `Sync`, `Unpin`, `UnwindSafe`,
//! `RefUnwindSafe`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::marker::PhantomPinned;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use fanfeed::*;

/// Goes to other threads, is not shared between two, and is found half changed where a panic was
/// caught.
type Unshared = Cell<u8>;
/// Stays on its thread.
type Bound = Rc<u8>;
/// Survives no caught panic, neither owned nor lent.
type Fragile = &'static mut Cell<u8>;
/// Not moved once it was pinned.
type Pinned = PhantomPinned;

/// Each type with the markers that it has (`+`) and has not (`-`); and the names of the types.
macro_rules! table {
    ($names:ident: $([$type:ty] ($($sign:tt $marker:ident)+);)+) => {
        const $names: &[&str] = &[$(stringify!($type)),+];
        const _: () = {
            #[allow(dead_code)]
            fn markers() {
                $($(table!(@ $sign [$type] $marker);)+)+
            }
        };
    };
    (@ + [$type:ty] $marker:ident) => { has!($type => $marker); };
    (@ - [$type:ty] $marker:ident) => { has_not!($type => $marker); };
}

table! {
    TYPES:
    // ---- Feeds: what is shared survives panics; values move from thread to thread ----
    [Feed<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Feed<Unshared>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Feed<Fragile>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Feed<Pinned>] (+Send +Sync +Unpin);
    [Feed<Bound>] (-Send -Sync +Unpin);
    // It is its thread's.
    [ThreadSlot] (-Send -Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [WeakFeed<Unshared>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [WeakFeed<Bound>] (-Send -Sync);
    [Receiver<Unshared>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Receiver<Pinned>] (+Unpin);
    [Receiver<Bound>] (-Send -Sync);
    [IntoIter<Unshared>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [IntoIter<Bound>] (-Send -Sync);
    // They borrow a receiver to change it.
    [Iter<'static, Unshared>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [Iter<'static, Bound>] (-Send -Sync);
    [TryIter<'static, Unshared>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [TryIter<'static, Bound>] (-Send -Sync);
    [SubscriberBuilder<'static, Unshared>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriberBuilder<'static, Unshared, Overflow>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriberBuilder<'static, Bound>] (-Send -Sync);
    // It lends out its value.
    [Undelivered<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Undelivered<Pinned>] (+Unpin);
    [Undelivered<Unshared>] (+Send -Sync +UnwindSafe -RefUnwindSafe);
    [Undelivered<Fragile>] (+Send -Sync -UnwindSafe -RefUnwindSafe);
    [Undelivered<Bound>] (-Send -Sync);
    [Missed] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Cause] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Overflow] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [CarrierOverflow] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Room] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    // ---- Rings: values are read by reference on many threads at once ----
    [RingFeed<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingFeed<Pinned>] (+Send +Sync +Unpin);
    [RingFeed<Fragile>] (-Send -Sync +UnwindSafe +RefUnwindSafe);
    [RingFeed<Unshared>] (-Send -Sync);
    [RingFeed<Bound>] (-Send -Sync);
    [WeakRingFeed<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [WeakRingFeed<Unshared>] (-Send -Sync);
    [ExclusiveRingFeed<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ExclusiveRingFeed<Pinned>] (+Unpin);
    [ExclusiveRingFeed<Unshared>] (-Send -Sync);
    [ExclusiveRingFeed<Bound>] (-Send -Sync);
    [RingHandle<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingHandle<Unshared>] (-Send -Sync);
    [RingCursor<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingCursor<Unshared>] (-Send -Sync);
    [RingReceiver<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingReceiver<Pinned>] (+Unpin);
    [RingReceiver<Unshared>] (-Send -Sync);
    [RingReceiver<Bound>] (-Send -Sync);
    [RingIntoIter<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingIntoIter<Unshared>] (-Send -Sync);
    [RingIter<'static, u8>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [RingIter<'static, Unshared>] (-Send -Sync);
    [RingTryIter<'static, u8>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [RingTryIter<'static, Unshared>] (-Send -Sync);
    [RingBuilder<Bound>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingSubscriberBuilder<'static, u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingSubscriberBuilder<'static, u8, u64>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingSubscriberBuilder<'static, Unshared>] (-Send -Sync);
    // It lends out a value.
    [RingEvent<'static, u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingEvent<'static, Pinned>] (+Unpin);
    [RingEvent<'static, Unshared>] (-Send -Sync -UnwindSafe -RefUnwindSafe);
    [RingEvent<'static, Bound>] (-Send -Sync);
    [RingReaderStats] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RingOverflow] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Waiting] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    // ---- Subscriptions ----
    [Subscription] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriptionId] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriptionState] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriptionScope] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Closed] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [CancelToken] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Stats] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Backoff] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    // ---- The mux: an event holds what was posted, of which nothing is known ----
    [TypeMux] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [TypeMuxSubscription] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [TypeMuxSubscriberBuilder<'static>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [TypeMuxEvent] (+Send +Sync +Unpin -UnwindSafe -RefUnwindSafe);
    [MuxClosed<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [MuxClosed<Unshared>] (+Send -Sync +UnwindSafe -RefUnwindSafe);
    [MuxClosed<Bound>] (-Send -Sync);
    [MuxClosed<Pinned>] (-Unpin);
    // ---- Errors ----
    [FollowError] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [CapacityError] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [PositionError] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RecvError] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [RecvTimeoutError] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [TryRecvError] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [TrySendError<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [TrySendError<Unshared>] (+Send -Sync +UnwindSafe -RefUnwindSafe);
    [TrySendError<Bound>] (-Send -Sync);
    [TrySendError<Pinned>] (-Unpin);
    // It holds an error of others, as `std::io::Error` does.
    [SubscriptionError] (+Send +Sync +Unpin -UnwindSafe -RefUnwindSafe);
}

#[cfg(feature = "async")]
table! {
    FUTURES:
    // The value that it carries is its own.
    [SendAsync<u8>] (+Send +Unpin +UnwindSafe +RefUnwindSafe);
    [SendAsync<Pinned>] (+Send +Unpin);
    [SendAsync<Unshared>] (+Send -Sync +UnwindSafe -RefUnwindSafe);
    [SendAsync<Fragile>] (+Send -Sync -UnwindSafe -RefUnwindSafe);
    [SendAsync<Bound>] (-Send -Sync);
    [RecvAsync<'static, Unshared>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [RecvAsync<'static, Bound>] (-Send -Sync);
    [RingSendAsync<'static, u8>] (+Send +Unpin +UnwindSafe +RefUnwindSafe);
    [RingSendAsync<'static, Pinned>] (+Send +Unpin);
    [RingSendAsync<'static, Fragile>] (-Send -Sync -UnwindSafe -RefUnwindSafe);
    [RingSendAsync<'static, Unshared>] (-Send -Sync);
    [RingSendAsync<'static, Bound>] (-Send -Sync);
    [RingRecvAsync<'static, u8>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [RingRecvAsync<'static, Unshared>] (-Send -Sync);
}
#[cfg(not(feature = "async"))]
const FUTURES: &[&str] = &[];

/// The public traits, which have no markers.
const TRAITS: [&str; 5] = [
    "Carrier",
    "EventTypes",
    "OverflowPolicy",
    "Publish",
    "SubscriptionSource",
];

/// What the crate exports and begins with a capital, with the features that this was built with.
fn exported() -> BTreeSet<String> {
    let source = include_str!("../../src/lib.rs");
    let mut names = BTreeSet::new();
    for statement in source.split_inclusive(';') {
        let Some((before, list)) = statement.split_once("pub use ") else {
            continue;
        };
        let is_async = before.contains("#[cfg(feature = \"async\")]");
        if is_async && !cfg!(feature = "async") || before.contains("#[cfg(fuzzing)]") {
            continue;
        }
        let words = list.split(|character: char| !character.is_alphanumeric() && character != '_');
        let types = words.filter(|word| word.starts_with(char::is_uppercase));
        names.extend(types.map(str::to_owned));
    }
    names
}

#[test]
fn the_markers_of_every_public_type_are_stated() {
    let stated: BTreeSet<_> = TYPES
        .iter()
        .chain(FUTURES)
        .map(|name| name.split('<').next().unwrap().trim())
        .chain(TRAITS)
        .map(str::to_owned)
        .collect();
    let exported = exported();
    assert!(exported.len() > 45, "{exported:?}");
    let unstated: Vec<_> = exported.difference(&stated).collect();
    assert!(unstated.is_empty(), "not in the table: {unstated:?}");
    let gone: Vec<_> = stated.difference(&exported).collect();
    assert!(gone.is_empty(), "no longer exported: {gone:?}");
}
