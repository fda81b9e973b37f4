//! Lock-free channel feeds: one stream of values to many receivers.
//!
//! There are two kinds of feed. A [`RingFeed`] is one ring that all readers share. It is the
//! fastest way to many receivers in this process that read the same values. A [`Feed`] hands each
//! value to all channels that are subscribed to it, of whatever kind. A ring can be subscribed to a
//! feed.
//!
//! A [`Feed`] fans each value out to all subscribed channels. A channel is crossbeam's, the
//! standard library's, tokio's, a closure, your own, or a fast channel that the feed makes. Nothing
//! is lost silently. A slow subscriber blocks the sender only if you choose that, and it never
//! blocks another subscriber. Everything that waits can be released.
//!
//! ```
//! use fanfeed::{Feed, Overflow};
//!
//! let feed = Feed::new();
//!
//! // A channel that the feed makes, one that the caller brings along, and a closure.
//! let mut prices = feed.channel(1024)?;
//! let (tx, rx) = crossbeam_channel::bounded(16);
//! let audit = feed.subscriber().name("audit").subscribe(tx);
//! let log = feed.subscribe_fn(|price: &u64| println!("{price}"));
//! // A subscriber that only wants the latest value, and misses values instead of blocking senders.
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
//! use fanfeed::ExclusiveRingFeed;
//! use fanfeed::ring::Overflow;
//!
//! let mut ring = ExclusiveRingFeed::new(1024)?;
//! let mut readers: Vec<_> = (0..1000).map(|_| ring.subscribe()).collect();
//! let mut latest = ring.subscriber().overflow(Overflow::DropOldest).subscribe();
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
//! | many readers of the same values, by reference; one order for all; replay to late readers | [`RingFeed`] |
//! | the same from one sending thread, several times as fast | [`ExclusiveRingFeed`] |
//! | one stream for a few channels and for many ring readers | a [`RingFeed`] subscribed to a [`Feed`] |
//! | the fastest channel behind a feed, counted misses, batches | [`Feed::channel`] |
//! | a receiver in a [`select!`](docs::select), or several receivers on one channel | [`Feed::subscribe`] with a crossbeam sender; only [`Stats`] counts what it misses |
//! | to run something on the sending thread | [`Feed::subscribe_fn`] |
//! | a task that awaits | a channel of either kind with feature `async`, or tokio's with feature `tokio` |
//! | a producer with its own thread | [`Subscription::spawn`] |
//! | many subscriptions as one, ended by the first that fails | [`Subscription::join`] |
//! | to end all subscriptions of a component together | [`SubscriptionScope`] |
//! | subscriptions to something of your own, without a thread for each | [`SubscriptionSource`] |
//! | to retry a source that fails | [`resubscribe`] |
//! | to select events by their type, coming from go-ethereum | `TypeMux`; otherwise a feed of an `enum` |
//!
//! For names of go-ethereum, crossbeam and tokio, see [`docs::names`].
//!
//! # Slow subscribers
//!
//! Each subscriber of a feed has its own capacity and its own overflow policy. When its channel is
//! full, the send waits ([`Overflow::Block`], the default), or the subscriber misses the newest or
//! the oldest value, or the subscription ends. [`try_send`](Feed::try_send) does not wait;
//! [`send_timeout`](Feed::send_timeout) and [`send_deadline`](Feed::send_deadline) limit the wait.
//! A value that they could not deliver to all subscribers comes back as [`Undelivered`]. It names
//! the subscribers that missed the value, and it can be retried for them alone. A value that is
//! given up is not lost silently: the receiver of an own channel is told where it is missing
//! ([`Receiver`](Receiver#lagging)), and for other channels [`Stats::dropped`] counts it.
//! [`Subscription::stats`] says which subscribers block sends, how often and for how long,
//! including a send that is blocked at this moment. [`Feed::subscriptions`] lists all subscribers
//! of a feed with these figures, and [`RingFeed::readers`] all readers of a ring. With feature
//! `tracing`, a send that is blocked for more than a second is reported with the subscriber's name.
//!
//! The readers of a ring share its capacity. Each reader has its own policy for falling behind
//! ([`ring::Overflow`]). A send waits for a blocking reader that is a whole ring behind. A lossy
//! reader that is more than seven eighths of the ring behind misses the oldest values and learns
//! how many, or is disconnected. Each reader also chooses how it waits for values
//! ([`ring::WaitStrategy`]).
//!
//! # Order
//!
//! A ring has one order, the same for all readers. On a feed, values of one sending thread reach
//! each subscriber in the order sent. Values of several threads interleave in any order, and
//! differently for each subscriber. A closure that sends on its own feed sends a value that
//! overtakes the one under delivery, at the subscribers that the outer send has not reached yet. In
//! the same way, a value that is sent before an [`Undelivered`] is retried overtakes the retried
//! value.
//!
//! # Closing
//!
//! A feed ends when its last handle is dropped or [`Feed::close`] is called. Blocked sends then
//! return, receivers take what is in their channels and then see `Closed`, and
//! [`Subscription::err`] disconnects without an error. A subscription ends when it is dropped or
//! unsubscribed, or when the far end of its channel is gone. When `unsubscribe` or `close` returns,
//! no thread puts anything more on those channels.
//!
//! # Panics
//!
//! A panic affects only the subscription or the caller that it belongs to:
//!
//! - A panic in a carrier or a closure ends its own subscription, and goes no further.
//! - A panic in a value's `clone`, or in the `drop` of a value that was pushed out, is resumed by
//!   the send after all other subscribers are served.
//! - A panic in a handler (of `drain`, of `send_with`, of an iterator) propagates to the caller.
//! - A [`SubscriptionSource`] that panics when it is cancelled ends as failed.
//! - A waker that panics when it is woken counts as a waker that did nothing. A waker that panics
//!   when it is cloned or replaced panics in the task that polls.
//!
//! After any of these panics, all handles can be used as before. Therefore they are
//! [`UnwindSafe`](std::panic::UnwindSafe).
//!
//! As everywhere in Rust, a second panic on a thread that unwinds aborts the process. This happens
//! if two values that one call drops both panic when they are dropped (values left in a receiver,
//! or values that a `send_batch` pushed out of a ring), or if a value panics when an unwinding
//! panic drops it.
//!
//! # Forgotten handles
//!
//! It is safe to [`forget`](std::mem::forget) a handle, and it leaks the handle's memory. The other
//! effects are:
//!
//! | forgotten | effect |
//! |---|---|
//! | [`Receiver`], [`mux::Subscription`], an iterator that owns one | stays subscribed: under [`Overflow::Block`] it blocks every sender once it is full, until another handle ([`split`](Receiver::split)) unsubscribes it or the feed is closed; its values are not dropped |
//! | [`ring::Receiver`] of a blocking reader | blocks every sender once it is a ring behind, until the same happens |
//! | [`ring::Receiver`] of a reader that drops the oldest or disconnects | blocks no sender, and keeps the ring's memory |
//! | [`Subscription`] | as if [detached](Subscription::detach); a producer runs on |
//! | [`Feed`], [`RingFeed`] | the feed does not end by itself; [`close`](Feed::close) ends it |
//! | [`ExclusiveRingFeed`] | the ring never ends: its readers wait until they are unsubscribed |
//! | [`SubscriptionScope`] | ends nothing |
//! | [`Undelivered`] | the subscribers that missed the value never get it, the miss is not reported, and the value is not dropped |
//! | `SendAsync` | the remaining subscribers never get the value; if it was next in line for room, the send behind it is woken a few milliseconds late |
//! | `FeedSink` | as for `SendAsync` if it holds an item; its feed does not end by itself |
//! | `ring::SendAsync` | the value is neither sent nor dropped; the send behind it is woken late, as above |
//! | an iterator that borrows, `RecvAsync`, `RecvMany`, `ring::WaitAsync`, [`Closed`], [`CancelToken`], [`SubscriptionHandle`], [`ring::Handle`], [`ring::Cursor`], a weak handle, options | nothing |
//!
//! # Trade-offs
//!
//! - A value is cloned for each subscriber but the last. Put a value that is expensive to clone
//!   into an [`Arc`](std::sync::Arc).
//! - A send costs some nanoseconds for each subscriber, on the sending thread.
//! - A feed has no replay: a subscriber gets the values sent after it subscribed. A ring's reader
//!   can begin with what the ring still holds ([`history`](ring::SubscriberBuilder::history)).
//! - A ring clones nothing to send a value, and a send costs nearly the same for one reader and for
//!   a thousand. The exception: once for each eighth of the ring, a send looks at all readers that
//!   may miss values. One blocking reader that stops reading blocks all senders, and a value is
//!   dropped only when its slot is used again.
//! - A ring takes its slots, 2.4 KiB, one byte for each slot (two where several threads may send),
//!   and 0.25 KiB for each reader. A lossy reader takes another eighth of the slots.
//! - A feed takes 0.8 KiB, and 128 bytes for each thread that sends on it. Its own channel takes 1
//!   KiB besides its slots, a subscribed channel 0.5 KiB (for `u64` values, on x86-64).
//!
//! # When not to use it
//!
//! - One sender and one receiver for the whole run: take a plain channel.
//! - Work that *one* of many receivers must do: share a crossbeam receiver.
//! - Tasks that only want the latest value: take `tokio::sync::watch`.
//! - Receivers in other processes: a feed stays in one process.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `async` | [`Receiver`] and [`ring::Receiver`] are `Stream`s and have `recv_async` and `recv_many`; `ring::Receiver::wait_async`; `Feed::send_async`, `RingFeed::send_async`; `Feed::sink`; needs no runtime |
//! | `tokio` | the senders of `tokio::sync::{mpsc, broadcast, watch}` can be subscribed; implies `async` |
//! | `tracing` | events for what happens off the fast path: failed subscriptions, closed feeds, and sends that are blocked for more than a second (`SubscriberBuilder::warn_after`, `ring::Builder::warn_after`) |
//! | `metrics` | `MetricsExporter`, which exports the figures of a feed or a ring by the facade `metrics` |
//! | `serde` | `Serialize` and `Deserialize` for [`Stats`], [`SubscriberStats`], [`ring::ReaderStats`], [`SubscriptionId`], [`Overflow`], [`CarrierOverflow`], [`ring::Overflow`], [`ring::WaitStrategy`] |
//!
//! No feature is on by default. See [`docs`] for the internals, for advice on latency-sensitive
//! threads, for [`select!`](docs::select), and for [models of your own code](docs::model_checking).

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
mod traits;
mod wait;
// Floor 2
#[cfg_attr(
    not(fuzzing),
    expect(unreachable_pub, reason = "only a fuzz target uses it from outside")
)]
mod attempts;
mod resubscribe;
mod scope;
mod subscription;
// Floor 3
mod carrier;
mod feed;
mod publish;
mod receive;
pub mod ring;
// Floor 4
#[cfg(feature = "metrics")]
mod meters;
pub mod mux;
// Above all floors; no module imports it
pub mod docs;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use attempts::{Attempts, Step};
pub use backoff::Backoff;
pub use carrier::{Carrier, Room};
/// The crate whose receivers [`Subscription::err`] and [`CancelToken::channel`] return, and whose
/// senders can be subscribed, in the version that this crate uses.
pub use crossbeam_channel;
#[cfg(feature = "async")]
pub use error::FeedClosed;
pub use error::{
    CapacityError, FollowError, PositionError, RecvError, RecvTimeoutError, SubscriptionError,
    TryRecvError, TrySendError,
};
pub use feed::{
    CarrierPolicy, Cause, Feed, Missed, OverflowPolicy, Receiver, SubscriberBuilder,
    SubscriberStats, ThreadSlot, Undelivered, WeakFeed,
};
#[cfg(feature = "async")]
pub use feed::{FeedSink, SendAsync};
#[cfg(feature = "metrics")]
pub use meters::MetricsExporter;
#[allow(deprecated)]
pub use mux::TypeMux;
pub use overflow::{CarrierOverflow, Overflow};
pub use publish::Publish;
pub use receive::{IntoIter, Iter, TryIter};
#[cfg(feature = "async")]
pub use receive::{RecvAsync, RecvMany};
pub use resubscribe::{resubscribe, resubscribe_with_error};
pub use ring::{ExclusiveRingFeed, RingFeed, WeakRingFeed};
// The names that these types had before 0.1.0, for programs that follow the repository.
#[doc(hidden)]
pub use mux::{
    Closed as MuxClosed, Event as TypeMuxEvent, EventTypes,
    SubscriberBuilder as TypeMuxSubscriberBuilder, Subscription as TypeMuxSubscription,
};
#[doc(hidden)]
pub use ring::{
    Builder as RingBuilder, Cursor as RingCursor, Event as RingEvent, Handle as RingHandle,
    IntoIter as RingIntoIter, Iter as RingIter, Overflow as RingOverflow,
    ReaderStats as RingReaderStats, Receiver as RingReceiver,
    SubscriberBuilder as RingSubscriberBuilder, TryIter as RingTryIter, WaitStrategy as Waiting,
};
#[cfg(feature = "async")]
#[doc(hidden)]
pub use ring::{RecvAsync as RingRecvAsync, SendAsync as RingSendAsync};
pub use scope::SubscriptionScope;
pub use subscription::{
    CancelToken, Closed, Stats, Subscription, SubscriptionHandle, SubscriptionId,
    SubscriptionSource, SubscriptionState,
};
