//! Code that does not compile, each with a twin that compiles and differs in one line.
//!
//! Only a nightly compiler checks the error codes: `cargo xtask test refusals`.
//!
//! # Using a value that was sent
//!
//! ```compile_fail,E0382
//! let feed = fanfeed::Feed::new();
//! let text = String::from("sent");
//! feed.send(text);
//! drop(text);
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::new();
//! let text = String::from("sent");
//! feed.send(text.clone());
//! drop(text);
//! ```
//!
//! # Sharing an exclusive sender: by clone
//!
//! ```compile_fail,E0599
//! use fanfeed::ExclusiveRingFeed as Ring;
//! let ring = Ring::<u8>::new(4).unwrap();
//! let other = ring.clone();
//! ```
//!
//! ```
//! use fanfeed::RingFeed as Ring;
//! let ring = Ring::<u8>::new(4).unwrap();
//! let other = ring.clone();
//! ```
//!
//! # By two threads
//!
//! ```compile_fail,E0499
//! let mut ring = fanfeed::ExclusiveRingFeed::new(4).unwrap();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| ring.send(1));
//!     scope.spawn(|| ring.send(2));
//! });
//! ```
//!
//! ```
//! let mut ring = fanfeed::ExclusiveRingFeed::new(4).unwrap();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| ring.send(1));
//! });
//! ```
//!
//! # By reference from another thread
//!
//! ```compile_fail,E0596
//! let mut ring = fanfeed::ExclusiveRingFeed::new(4).unwrap();
//! let shared = &ring;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| shared.send(1));
//! });
//! ```
//!
//! ```
//! let mut ring = fanfeed::ExclusiveRingFeed::new(4).unwrap();
//! let shared = &mut ring;
//! std::thread::scope(|scope| {
//!     scope.spawn(|| shared.send(1));
//! });
//! ```
//!
//! # A feed of values that stay on their thread
//!
//! ```compile_fail,E0277
//! use std::rc::Rc;
//! let feed = fanfeed::Feed::<Rc<u8>>::new();
//! std::thread::spawn(move || drop(feed)).join().unwrap();
//! ```
//!
//! ```
//! use std::sync::Arc as Rc;
//! let feed = fanfeed::Feed::<Rc<u8>>::new();
//! std::thread::spawn(move || drop(feed)).join().unwrap();
//! ```
//!
//! # A channel of them
//!
//! ```compile_fail,E0599
//! use std::rc::Rc;
//! let feed = fanfeed::Feed::<Rc<u8>>::new();
//! let receiver = feed.channel(1).unwrap();
//! ```
//!
//! ```
//! use std::sync::Arc as Rc;
//! let feed = fanfeed::Feed::<Rc<u8>>::new();
//! let receiver = feed.channel(1).unwrap();
//! ```
//!
//! # A ring of them
//!
//! ```compile_fail,E0599
//! use std::rc::Rc;
//! let ring = fanfeed::RingFeed::<Rc<u8>>::new(1).unwrap();
//! ring.send(Rc::new(1));
//! ```
//!
//! ```
//! use std::sync::Arc as Rc;
//! let ring = fanfeed::RingFeed::<Rc<u8>>::new(1).unwrap();
//! ring.send(Rc::new(1));
//! ```
//!
//! # A ring of values that threads may not share: its readers would share them
//!
//! ```compile_fail,E0599
//! use std::cell::Cell;
//! let mut ring = fanfeed::ExclusiveRingFeed::<Cell<u8>>::new(1).unwrap();
//! let reader = ring.subscribe();
//! ```
//!
//! ```
//! use std::sync::Mutex as Cell;
//! let mut ring = fanfeed::ExclusiveRingFeed::<Cell<u8>>::new(1).unwrap();
//! let reader = ring.subscribe();
//! ```
//!
//! # Keeping a reference out of `drain`
//!
//! ```compile_fail,E0521
//! let mut ring = fanfeed::ExclusiveRingFeed::new(4).unwrap();
//! let mut reader = ring.subscribe();
//! ring.send(String::from("read"));
//! let mut kept = Vec::new();
//! reader.drain(|text| kept.push(text)).unwrap();
//! ```
//!
//! ```
//! let mut ring = fanfeed::ExclusiveRingFeed::new(4).unwrap();
//! let mut reader = ring.subscribe();
//! ring.send(String::from("read"));
//! let mut kept = Vec::new();
//! reader.drain(|text| kept.push(text.clone())).unwrap();
//! ```
//!
//! # Using a receiver after `split`
//!
//! ```compile_fail,E0382
//! let feed = fanfeed::Feed::<u8>::new();
//! let mut receiver = feed.channel(1).unwrap();
//! let (other, subscription) = receiver.split();
//! receiver.try_recv().unwrap_err();
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::<u8>::new();
//! let mut receiver = feed.channel(1).unwrap();
//! let (mut receiver, subscription) = receiver.split();
//! receiver.try_recv().unwrap_err();
//! ```
//!
//! # Using a receiver after `into_iter`
//!
//! ```compile_fail,E0382
//! let ring = fanfeed::RingFeed::<u8>::new(1).unwrap();
//! let mut reader = ring.subscribe();
//! let values = reader.into_iter();
//! reader.try_recv().unwrap_err();
//! ```
//!
//! ```
//! let ring = fanfeed::RingFeed::<u8>::new(1).unwrap();
//! let mut reader = ring.subscribe();
//! let values = reader.iter();
//! reader.try_recv().unwrap_err();
//! ```
//!
//! # Using a subscription that was joined
//!
//! ```compile_fail,E0382
//! let feed = fanfeed::Feed::<u8>::new();
//! let one = feed.subscribe_fn(|_| ());
//! let joined = fanfeed::Subscription::join([one]);
//! one.unsubscribe();
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::<u8>::new();
//! let one = feed.subscribe_fn(|_| ());
//! let joined = fanfeed::Subscription::join([]);
//! one.unsubscribe();
//! ```
//!
//! # Implementing a sealed trait
//!
//! ```compile_fail,E0277
//! #[derive(Clone, Copy, Debug)]
//! struct Mine;
//! impl From<Mine> for fanfeed::Overflow {
//!     fn from(_: Mine) -> Self {
//!         Self::Block
//!     }
//! }
//! impl fanfeed::OverflowPolicy for Mine {}
//! ```
//!
//! ```
//! #[derive(Clone, Copy, Debug)]
//! struct Mine;
//! impl From<Mine> for fanfeed::Overflow {
//!     fn from(_: Mine) -> Self {
//!         Self::Block
//!     }
//! }
//!
//! ```
//!
//! ```compile_fail,E0277
//! struct Mine;
//! impl fanfeed::mux::EventTypes for Mine {}
//! ```
//!
//! ```
//! struct Mine;
//! fn takes<Types: fanfeed::mux::EventTypes>() {}
//! takes::<(Mine,)>();
//! ```
//!
//! # Another kind's overflow policy
//!
//! The errors name the type that is right.
//!
//! ```compile_fail,E0277
//! let feed = fanfeed::Feed::<u32>::new();
//! let (sender, receiver) = crossbeam_channel::bounded(1);
//! let subscriber = feed.subscriber().overflow(fanfeed::Overflow::DropNewest);
//! let subscription = subscriber.subscribe(sender);
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::<u32>::new();
//! let (sender, receiver) = crossbeam_channel::bounded(1);
//! let subscriber = feed.subscriber().overflow(fanfeed::CarrierOverflow::DropNewest);
//! let subscription = subscriber.subscribe(sender);
//! ```
//!
//! ```compile_fail,E0277
//! let feed = fanfeed::Feed::<u32>::new();
//! let receiver = feed.subscriber().overflow(fanfeed::ring::Overflow::Block).channel();
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::<u32>::new();
//! let receiver = feed.subscriber().overflow(fanfeed::Overflow::Block).channel();
//! ```
//!
//! ```compile_fail,E0308
//! let ring = fanfeed::RingFeed::<u32>::new(4).unwrap();
//! let reader = ring.subscriber().overflow(fanfeed::Overflow::Block).subscribe();
//! ```
//!
//! ```
//! let ring = fanfeed::RingFeed::<u32>::new(4).unwrap();
//! let reader = ring.subscriber().overflow(fanfeed::ring::Overflow::Block).subscribe();
//! ```
//!
//! # A sender of another type
//!
//! ```compile_fail,E0277
//! let feed = fanfeed::Feed::<u32>::new();
//! let (sender, receiver) = crossbeam_channel::bounded::<u64>(1);
//! let subscription = feed.subscribe(sender);
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::<u32>::new();
//! let (sender, receiver) = crossbeam_channel::bounded::<u32>(1);
//! let subscription = feed.subscribe(sender);
//! ```
//!
//! # A closure that borrows
//!
//! ```compile_fail,E0597
//! let feed = fanfeed::Feed::<u32>::new();
//! let sum = std::sync::atomic::AtomicU32::new(0);
//! let sum = &sum;
//! let subscription = feed.subscribe_fn(move |value| {
//!     sum.fetch_add(*value, std::sync::atomic::Ordering::Relaxed);
//! });
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::<u32>::new();
//! let sum = std::sync::atomic::AtomicU32::new(0);
//! let sum = std::sync::Arc::new(sum);
//! let subscription = feed.subscribe_fn(move |value| {
//!     sum.fetch_add(*value, std::sync::atomic::Ordering::Relaxed);
//! });
//! ```
//!
//! # An iterator that outlives its receiver
//!
//! ```compile_fail,E0505
//! let feed = fanfeed::Feed::<u32>::new();
//! let mut receiver = feed.channel(1).unwrap();
//! let mut values = receiver.try_iter();
//! drop(receiver);
//! assert_eq!(values.next(), None);
//! ```
//!
//! ```
//! let feed = fanfeed::Feed::<u32>::new();
//! let mut receiver = feed.channel(1).unwrap();
//! let mut values = receiver.try_iter();
//!
//! assert_eq!(values.next(), None);
//! ```
//!
//! # Dropping a receiver at once
//!
//! ```compile_fail
//! #![deny(unused_must_use)]
//! let ring = fanfeed::RingFeed::<u32>::new(1).unwrap();
//! ring.subscribe();
//! ```
//!
//! ```
//! #![deny(unused_must_use)]
//! let ring = fanfeed::RingFeed::<u32>::new(1).unwrap();
//! let _receiver = ring.subscribe();
//! ```
//!
//! ```compile_fail
//! #![deny(unused_must_use)]
//! # #![allow(deprecated)]
//! let mux = fanfeed::TypeMux::new();
//! mux.subscribe::<(u32,)>();
//! ```
//!
//! ```
//! #![deny(unused_must_use)]
//! # #![allow(deprecated)]
//! let mux = fanfeed::TypeMux::new();
//! let _receiver = mux.subscribe::<(u32,)>();
//! ```

/// With feature `async`.
///
/// # A receive that outlives its receiver
///
/// ```compile_fail,E0505
/// let feed = fanfeed::Feed::<u32>::new();
/// let mut receiver = feed.channel(1).unwrap();
/// let receive = receiver.recv_async();
/// drop(receiver);
/// drop(receive);
/// ```
///
/// ```
/// let feed = fanfeed::Feed::<u32>::new();
/// let mut receiver = feed.channel(1).unwrap();
/// let receive = receiver.recv_async();
/// drop(receive);
/// drop(receiver);
/// ```
///
/// ```compile_fail,E0505
/// let ring = fanfeed::RingFeed::<u32>::new(1).unwrap();
/// let mut reader = ring.subscribe();
/// let receive = reader.recv_async();
/// drop(reader);
/// drop(receive);
/// ```
///
/// ```
/// let ring = fanfeed::RingFeed::<u32>::new(1).unwrap();
/// let mut reader = ring.subscribe();
/// let receive = reader.recv_async();
/// drop(receive);
/// drop(reader);
/// ```
#[cfg(feature = "async")]
pub mod futures {}
