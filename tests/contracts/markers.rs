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
    [IntoIter<Receiver<Unshared>>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [IntoIter<Receiver<Bound>>] (-Send -Sync);
    // They borrow a receiver to change it.
    [Iter<'static, Receiver<Unshared>>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [Iter<'static, Receiver<Bound>>] (-Send -Sync);
    [TryIter<'static, Receiver<Unshared>>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [TryIter<'static, Receiver<Bound>>] (-Send -Sync);
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
    [ring::Handle<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::Handle<Unshared>] (-Send -Sync);
    [ring::Cursor<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::Cursor<Unshared>] (-Send -Sync);
    [ring::Receiver<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::Receiver<Pinned>] (+Unpin);
    [ring::Receiver<Unshared>] (-Send -Sync);
    [ring::Receiver<Bound>] (-Send -Sync);
    [IntoIter<ring::Receiver<u8>>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [IntoIter<ring::Receiver<Unshared>>] (-Send -Sync);
    [Iter<'static, ring::Receiver<u8>>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [Iter<'static, ring::Receiver<Unshared>>] (-Send -Sync);
    [TryIter<'static, ring::Receiver<u8>>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [TryIter<'static, ring::Receiver<Unshared>>] (-Send -Sync);
    [ring::Builder<Bound>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::SubscriberBuilder<'static, u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::SubscriberBuilder<'static, u8, u64>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::SubscriberBuilder<'static, Unshared>] (-Send -Sync);
    // It lends out a value.
    [ring::Event<'static, u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::Event<'static, Pinned>] (+Unpin);
    [ring::Event<'static, Unshared>] (-Send -Sync -UnwindSafe -RefUnwindSafe);
    [ring::Event<'static, Bound>] (-Send -Sync);
    [ring::ReaderStats] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::Overflow] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::WaitStrategy] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    // ---- Subscriptions ----
    [Subscription] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriptionHandle] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriberStats] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriptionId] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriptionState] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [SubscriptionScope] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Closed] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [CancelToken] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Stats] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [Backoff] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    // ---- The mux: an event holds what was posted, of which nothing is known ----
    [TypeMux] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [mux::SubscriberBuilder<'static>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [mux::Event] (+Send +Sync +Unpin -UnwindSafe -RefUnwindSafe);
    [mux::Closed<u8>] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [mux::Closed<Unshared>] (+Send -Sync +UnwindSafe -RefUnwindSafe);
    [mux::Closed<Bound>] (-Send -Sync);
    [mux::Closed<Pinned>] (-Unpin);
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
    [RecvAsync<'static, Receiver<Unshared>>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [RecvAsync<'static, Receiver<Bound>>] (-Send -Sync);
    // It borrows a vector too, to change it.
    [RecvMany<'static, Receiver<Unshared>>] (+Send -Sync +Unpin -UnwindSafe -RefUnwindSafe);
    [RecvMany<'static, Receiver<Bound>>] (-Send -Sync);
    [FeedSink<u8>] (+Send +Unpin +UnwindSafe +RefUnwindSafe);
    [FeedSink<Pinned>] (+Send +Unpin);
    [FeedSink<Fragile>] (+Send -Sync -UnwindSafe -RefUnwindSafe);
    [FeedSink<Bound>] (-Send -Sync);
    [FeedClosed] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::SendAsync<'static, u8>] (+Send +Unpin +UnwindSafe +RefUnwindSafe);
    [ring::SendAsync<'static, Pinned>] (+Send +Unpin);
    [ring::SendAsync<'static, Fragile>] (-Send -Sync -UnwindSafe -RefUnwindSafe);
    [ring::SendAsync<'static, Unshared>] (-Send -Sync);
    [ring::SendAsync<'static, Bound>] (-Send -Sync);
    [RecvAsync<'static, ring::Receiver<u8>>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [RecvAsync<'static, ring::Receiver<Unshared>>] (-Send -Sync);
    [RecvMany<'static, ring::Receiver<u8>>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [RecvMany<'static, ring::Receiver<Unshared>>] (-Send -Sync);
    [ring::WaitAsync<'static, u8>] (+Send +Sync +Unpin -UnwindSafe +RefUnwindSafe);
    [ring::WaitAsync<'static, Unshared>] (-Send -Sync);
}
#[cfg(not(feature = "async"))]
const FUTURES: &[&str] = &[];

#[cfg(feature = "metrics")]
table! { EXPORTERS:
    [MetricsExporter] (+Send +Sync +Unpin +UnwindSafe +RefUnwindSafe);
}
#[cfg(not(feature = "metrics"))]
const EXPORTERS: &[&str] = &[];

/// The public traits, which have no markers.
const TRAITS: [&str; 6] = [
    "Carrier",
    "mux::EventTypes",
    "CarrierPolicy",
    "OverflowPolicy",
    "Publish",
    "SubscriptionSource",
];

/// What a module exports and begins with a capital, with the features that this was built with.
fn exported(module: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for statement in module.split_inclusive(';') {
        let Some((before, list)) = statement.split_once("pub use ") else {
            continue;
        };
        let needs = |feature| before.contains(&format!("#[cfg(feature = \"{feature}\")]"));
        let is_missing = needs("async") && !cfg!(feature = "async")
            || needs("metrics") && !cfg!(feature = "metrics");
        if is_missing || before.contains("#[doc(hidden)]") {
            continue;
        }
        let words = list.split(|character: char| !character.is_alphanumeric() && character != '_');
        let types = words.filter(|word| word.starts_with(char::is_uppercase));
        names.extend(types.map(|name| format!("{prefix}{name}")));
    }
    names
}

#[test]
fn the_markers_of_every_public_type_are_stated() {
    let stated: BTreeSet<_> = TYPES
        .iter()
        .chain(FUTURES)
        .chain(EXPORTERS)
        .map(|name| name.split('<').next().unwrap().trim())
        .chain(TRAITS)
        .map(str::to_owned)
        .collect();
    let mut all = exported(include_str!("../../src/lib.rs"), "");
    all.extend(exported(include_str!("../../src/mux.rs"), "mux::"));
    all.extend(exported(include_str!("../../src/ring.rs"), "ring::"));
    // The crate's root has it too.
    all.remove("ring::ExclusiveRingFeed");
    assert!(all.len() > 45, "{all:?}");
    let unstated: Vec<_> = all.difference(&stated).collect();
    assert!(unstated.is_empty(), "not in the table: {unstated:?}");
    let gone: Vec<_> = stated.difference(&all).collect();
    assert!(gone.is_empty(), "no longer exported: {gone:?}");
}
