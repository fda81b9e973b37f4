//! Lock-free channel feeds: one stream of values to many receivers.
//!
//! There are two kinds. A [`RingFeed`] is one ring that all readers share: the fastest way to many receivers, all in this
//! process, that read the same values. A [`Feed`] hands each value to as many channels as are subscribed to it, of whatever
//! kind. One can be subscribed to the other.
//!
//! A [`Feed`] fans each value out to all subscribed channels. Channels are crossbeam's, the standard library's, tokio's,
//! closures, your own, or a fast one that the feed makes itself. Nothing is lost silently, a slow subscriber holds up the
//! sender only if you want it to, and never another subscriber; and everything that waits can be released.
//!
//! ```
//! use fanfeed::{Feed, Overflow};
//!
//! let feed = Feed::new();
//!
//! // A channel of the feed's own, one that was brought along, and a closure.
//! let mut prices = feed.channel(1024)?;
//! let (tx, rx) = crossbeam_channel::bounded(16);
//! let audit = feed.subscriber().name("audit").subscribe(tx);
//! let log = feed.subscribe_fn(|price: &u64| println!("{price}"));
//! // One that only wants the latest, and would rather miss some than hold anybody up.
//! let mut latest = feed.subscriber().capacity(1).overflow(Overflow::DropOldest).channel()?;
//!
//! assert_eq!(feed.send(101), 4);
//! audit.unsubscribe();
//! assert_eq!(feed.send(102), 3);
//!
//! assert_eq!(prices.try_iter().collect::<Vec<_>>(), [101, 102]);
//! assert_eq!(rx.try_iter().collect::<Vec<_>>(), [101]);
//! assert_eq!(latest.try_iter().collect::<Vec<_>>(), [102]);
//! assert_eq!(latest.missed(), 1);
//! # drop(log);
//! # Ok::<(), fanfeed::CapacityError>(())
//! ```
//!
//! A ring:
//!
//! ```
//! use fanfeed::{ExclusiveRingFeed, RingOverflow};
//!
//! let mut ring = ExclusiveRingFeed::new(1024)?;
//! let mut readers: Vec<_> = (0..1000).map(|_| ring.subscribe()).collect();
//! let mut latest = ring.subscriber().overflow(RingOverflow::DropOldest).subscribe();
//!
//! let first = ring.send(101);
//! ring.send_batch([102, 103]);
//!
//! assert_eq!(first, 0);
//! for reader in &mut readers {
//!     let mut sum = 0;
//!     reader.drain(|price| sum += price)?;
//!     assert_eq!(sum, 306);
//! }
//! assert_eq!(latest.try_iter().last(), Some(103));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which to choose
//!
//! | you want | take |
//! |---|---|
//! | many readers of the same values, by reference; one order for all; replay to late ones | [`RingFeed`] |
//! | the same from one sending thread, several times as fast | [`ExclusiveRingFeed`] |
//! | a few channels, and a ring with many readers, of one stream | a [`RingFeed`] subscribed to a [`Feed`] |
//! | the fastest channel behind a feed, counted misses, batches | [`Feed::channel`] |
//! | a receiver in a `select!`, or several receivers on one channel | [`Feed::subscribe`] with a crossbeam sender; only [`Stats`] counts what it misses |
//! | to run something on the sending thread | [`Feed::subscribe_fn`] |
//! | a task that awaits | a channel of either kind, or tokio's, with feature `async` |
//! | a producer with a thread of its own | [`Subscription::spawn`] |
//! | many subscriptions as one, ended by the first that fails | [`Subscription::join`] |
//! | all subscriptions of a component ended at once | [`SubscriptionScope`] |
//! | subscriptions to something of your own, without a thread for each | [`SubscriptionSource`] |
//! | a source that fails and is to be tried again | [`resubscribe`] |
//! | events told apart by their type, coming from go-ethereum | `TypeMux`; else a feed of an `enum` |
//!
//! # Slow subscribers
//!
//! Each subscriber of a feed has its own capacity and its own answer to being full: the send waits ([`Overflow::Block`], the
//! default), or the newest or the oldest value is missed, or the subscription ends. A send that may not wait, or not for
//! long, is [`try_send`](Feed::try_send), [`send_timeout`](Feed::send_timeout) or
//! [`send_deadline`](Feed::send_deadline): what it could not deliver it gives back as [`Undelivered`], which names
//! the subscribers that missed it and can be retried for them alone. A value that is given up is
//! not lost silently: the receiver of an own channel is told where it is missing
//! ([`Receiver`](Receiver#lagging)), and for other channels [`Stats::dropped`] counts it.
//! [`Subscription::stats`] says which subscribers keep sends waiting, how often and for how long.
//!
//! The readers of a ring share its capacity. Each has its own answer to falling behind ([`RingOverflow`]): a send waits for it
//! when it is a whole ring behind; or from seven eighths of the ring on it misses the oldest values and learns how many, or is
//! cut off. A reader that waits does so in a way of its own choice ([`Waiting`]).
//!
//! # Order
//!
//! A ring has one order, the same for all readers. On a feed, values of one sending thread reach each subscriber in the order sent. Values of several threads interleave as they may,
//! and differently for each subscriber. A value that is sent from inside a closure overtakes the one that is being
//! delivered, where that has not been yet; so does one that is sent before an [`Undelivered`] is retried.
//!
//! # Closing
//!
//! A feed ends when its last handle is dropped or [`Feed::close`] is called. Blocked sends go on, receivers take what is in
//! their channels and then see `Closed`, and [`Subscription::err`] disconnects without an error. A subscription ends when
//! it is dropped or unsubscribed, or when the far end of its channel is gone. When `unsubscribe` or `close` returns,
//! nothing more is put on those channels by any thread.
//!
//! # Panics
//!
//! A panic costs the one it concerns. What panics in a carrier or a closure ends its own subscription, and goes no further. What
//! panics in a value's `clone`, or in the `drop` of one that was pushed out, goes on from the send, once everybody else was
//! served. A handler's (of `drain`, of `send_with`, an iterator's) goes through where it was called. A
//! [`SubscriptionSource`] that panics when it is cancelled ends as failed. A waker that panics when
//! it is woken is as one that did nothing, and one that panics when it is cloned or replaced does so to the task that polls. After
//! any of these all handles can be used as before, which is why they are
//! [`UnwindSafe`](std::panic::UnwindSafe).
//!
//! As everywhere in Rust, a second panic on a thread that unwinds aborts the process: where two values that one call drops both
//! panic when they are dropped (those left in a receiver, or those that a `send_batch` pushed out of a ring), or where a
//! value panics when it is dropped by a panic.
//!
//! # Forgotten handles
//!
//! To [`forget`](std::mem::forget) a handle is safe, and leaks its memory. What else comes of it:
//!
//! | forgotten | effect |
//! |---|---|
//! | [`Receiver`], [`TypeMuxSubscription`], an iterator that owns one | stays subscribed: under [`Overflow::Block`] it holds every sender once it is full, until it is unsubscribed by another handle ([`split`](Receiver::split)) or the feed is closed; its values are not dropped |
//! | [`RingReceiver`], of a blocking reader | holds every sender a ring later, until as above |
//! | [`RingReceiver`], of one that drops the oldest or disconnects | holds nobody, and the ring's memory |
//! | [`Subscription`] | as if [detached](Subscription::detach); a producer runs on |
//! | [`Feed`], [`RingFeed`] | the feed does not end by itself; [`close`](Feed::close) ends it |
//! | [`ExclusiveRingFeed`] | the ring never ends: its readers wait until they are unsubscribed |
//! | [`SubscriptionScope`] | ends nothing |
//! | [`Undelivered`] | the subscribers that missed the value never get it, the miss is not reported, and the value is not dropped |
//! | `SendAsync` | the remaining subscribers never get the value; if it was next in line for room, the send behind it is woken a few milliseconds late |
//! | `RingSendAsync` | the value is never sent nor dropped; the send behind it is woken late, as above |
//! | an iterator that borrows, `RecvAsync`, `RingRecvAsync`, [`Closed`], [`CancelToken`], [`RingHandle`], [`RingCursor`], a weak handle, options | nothing |
//!
//! # Trade-offs
//!
//! - A value is cloned for each subscriber but the last. Put what is dear to clone into an [`Arc`](std::sync::Arc).
//! - A send costs some nanoseconds for each subscriber. It is the sending thread that pays.
//! - A feed has no replay: a subscriber gets what is sent after it has subscribed. A ring's reader can begin with what the ring
//!   still holds ([`history`](RingSubscriberBuilder::history)).
//! - On a ring nothing is cloned to be sent, and sending costs nearly the same for one reader and for a thousand (but once for
//!   each eighth of the ring a send looks at all readers that may miss values). One blocking reader that stops reading holds
//!   all senders, and values are dropped only when their slots are used again.
//! - A ring takes its slots, 2.4 KiB and a byte for each slot (two where several threads may send), and for each reader 0.25 KiB;
//!   a lossy reader another eighth of the slots.
//! - A feed takes 0.8 KiB and 128 bytes for each thread that sends on it; a channel of its own 1 KiB beside its slots, a
//!   subscribed channel 0.5 KiB (for `u64` values, on x86-64).
//!
//! # When not to use it
//!
//! - One sender and one receiver for good: take a plain channel.
//! - Work that *one* of many receivers is to do: share a crossbeam receiver.
//! - Only the latest value matters, to tasks: `tokio::sync::watch` is made for that.
//! - Receivers in other processes: this stays in one.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `async` | [`Receiver`] and [`RingReceiver`] are `Stream`s and have `recv_async`; `tokio::sync::mpsc` senders can be subscribed; `Feed::send_async`, `RingFeed::send_async` |
//! | `tracing` | events for what happens off the fast path: failed subscriptions, blocked sends, closed feeds |
//! | `serde` | `Serialize` and `Deserialize` for [`Stats`], [`SubscriptionId`], [`Overflow`], [`CarrierOverflow`], [`RingOverflow`], [`Waiting`] |
//!
//! None is on by default. See [`docs`] for how it works inside, and for what latency-sensitive threads want to know.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_has_atomic = "64"))]
compile_error!(
    "fanfeed needs 64-bit atomics, which this target does not have: positions and counts are 64 bits wide so that they \
     never wrap around"
);

// Floor 0
#[cfg(not(any(fanfeed_loom, fanfeed_shuttle)))]
mod sync;
#[cfg(all(feature = "async", any(fanfeed_loom, fanfeed_shuttle)))]
#[doc(hidden)]
pub use wait::has_alarm_thread;
#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
#[doc(hidden)]
pub mod sync;
// Floor 1
mod backoff;
mod error;
#[cfg(feature = "tracing")]
mod events;
mod overflow;
mod wait;
// Floor 2
#[cfg_attr(
    not(fuzzing),
    expect(unreachable_pub, reason = "a fuzz target drives it, and nobody else")
)]
mod attempts;
mod resubscribe;
mod scope;
mod subscription;
// Floor 3
mod carrier;
mod feed;
mod publish;
mod ring;
// Floor 4
mod mux;
// Above all of them, and of use to none
pub mod docs;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use attempts::{Attempts, Step};
pub use backoff::Backoff;
pub use carrier::{Carrier, Room};
pub use error::{
    CapacityError, FollowError, PositionError, RecvError, RecvTimeoutError, SubscriptionError,
    TryRecvError, TrySendError,
};
pub use feed::{
    Cause, Feed, IntoIter, Iter, Missed, OverflowPolicy, Receiver, SubscriberBuilder, ThreadSlot,
    TryIter, Undelivered, WeakFeed,
};
#[cfg(feature = "async")]
pub use feed::{RecvAsync, SendAsync};
#[allow(deprecated)]
pub use mux::TypeMux;
pub use mux::{EventTypes, MuxClosed, TypeMuxEvent, TypeMuxSubscriberBuilder, TypeMuxSubscription};
pub use overflow::{CarrierOverflow, Overflow};
pub use publish::Publish;
pub use resubscribe::{resubscribe, resubscribe_with_error};
pub use ring::{
    ExclusiveRingFeed, RingBuilder, RingCursor, RingEvent, RingFeed, RingHandle, RingIntoIter,
    RingIter, RingOverflow, RingReaderStats, RingReceiver, RingSubscriberBuilder, RingTryIter,
    Waiting, WeakRingFeed,
};
#[cfg(feature = "async")]
pub use ring::{RingRecvAsync, RingSendAsync};
pub use scope::SubscriptionScope;
pub use subscription::{
    CancelToken, Closed, Stats, Subscription, SubscriptionId, SubscriptionSource, SubscriptionState,
};
