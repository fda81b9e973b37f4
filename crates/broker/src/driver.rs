//! The traits that a driver implements over the shared [`Engine`].
//!
//! A driver moves batches. The engine does the rest: the bounded queue to the server and its
//! thread, reconnecting with [`Backoff`](fanfeed::Backoff), opening subscriptions again, dispatch
//! to handlers, retries, acknowledgement after the handler, events, counters, and closing.
//!
//! # What to write
//!
//! 1. A [`Transport`]: the driver's name, its promises ([`Capabilities`](crate::Capabilities)), and
//!    how to open its two sides.
//! 2. An [`Outbound`]: publishes a batch and returns the outcome of each message. The engine's
//!    thread `fanfeed-outbound` opens it, calls it and drops it.
//! 3. An [`Inbound`]: opens and closes subscriptions, delivers what arrives into their [`Sink`]s,
//!    acknowledges handled messages. The engine's thread `fanfeed-inbound` opens it, calls it and
//!    drops it. It may have threads of its own; a `Sink` can be used from any thread.
//! 4. A [`Driver`], so that [`Drivers`](crate::Drivers) finds it by URL. Its `connect` makes the
//!    transport of the URL and returns [`Engine::start`].
//! 5. A test that calls the suite `conformance` with a factory.
//!
//! Neither side needs to be `Send`: a side lives on one thread.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::Mutex;
//! use std::time::Duration;
//! use fanfeed_broker::driver::{
//!     Engine, EngineOptions, Inbound, LinkError, Outbound, Published, Sink, SinkError, Transport, Verdict,
//! };
//! use fanfeed_broker::{Broker, Capabilities, ConnectError, Message, Publisher, Receipt, SubscriberExt};
//!
//! /// A server that is a list of sinks.
//! #[derive(Default, Clone)]
//! struct Loopback {
//!     sinks: Arc<Mutex<Vec<Sink>>>,
//! }
//!
//! impl Transport for Loopback {
//!     fn capabilities(&self) -> &'static Capabilities {
//!         const PROMISES: Capabilities = Capabilities::new("loopback");
//!         &PROMISES
//!     }
//!     fn open_outbound(&self) -> Result<Box<dyn Outbound>, ConnectError> {
//!         Ok(Box::new(self.clone()))
//!     }
//!     fn open_inbound(&self) -> Result<Box<dyn Inbound>, ConnectError> {
//!         Ok(Box::new(self.clone()))
//!     }
//! }
//!
//! impl Outbound for Loopback {
//!     fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError> {
//!         let sinks = self.sinks.lock().unwrap();
//!         for message in batch {
//!             for sink in sinks.iter().filter(|sink| sink.key() == message.key()) {
//!                 sink.deliver_or_drop(message.clone(), 0);
//!             }
//!         }
//!         Ok(batch.iter().map(|message| Published::Done(Receipt::new(message.id().clone(), None))).collect())
//!     }
//! }
//!
//! impl Inbound for Loopback {
//!     fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
//!         self.sinks.lock().unwrap().push(sink.clone());
//!         Ok(())
//!     }
//!     fn close(&mut self, sink: &Sink) {
//!         self.sinks.lock().unwrap().retain(|open| open.id() != sink.id());
//!     }
//!     fn settle(&mut self, _sink: &Sink, _tag: u64, _verdict: Verdict) {}
//!     fn pump(&mut self, timeout: Duration) -> Result<(), LinkError> {
//!         std::thread::park_timeout(timeout);
//!         Ok(())
//!     }
//!     fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
//!         let thread = std::thread::current();
//!         Arc::new(move || thread.unpark())
//!     }
//! }
//!
//! let broker = Engine::start(Loopback::default(), EngineOptions::new())?;
//! let (tx, rx) = crossbeam_channel::unbounded();
//! let _subscription = broker.subscribe("greetings", move |message, _| {
//!     tx.send(message.clone())?;
//!     Ok(())
//! })?;
//! broker.publish(Message::new("greetings", "hello"))?;
//! assert_eq!(rx.recv()?.payload(), &b"hello"[..]);
//! broker.close(Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod connection;
mod engine;
mod escape;
mod guarded;
mod inbound;
mod outbound;
mod outbound_state;
mod outgoing;
mod parameter;
mod secret;
mod sink;
mod tls;
mod transport;

pub use engine::{Engine, EngineOptions};
pub use escape::Escape;
pub use parameter::{
    bad_url, check_durations, choice, decoded, duration, fragment, number, parameters,
    unknown_parameter, unknown_scheme,
};
pub use secret::Secret;
pub use sink::{Burst, Full, Sink};
pub use tls::{Tls, TlsParameters};
pub use transport::{Inbound, LinkError, Outbound, Published, SinkError, Transport, Verdict};

use std::sync::Arc;

use crate::broker::Broker;
use crate::error::ConnectError;

/// A driver that [`Drivers`](crate::Drivers) can choose by the scheme of a URL.
pub trait Driver: Send + Sync {
    /// The schemes of its URLs, without the colon, in lower case.
    fn schemes(&self) -> &'static [&'static str];

    /// Connects to the server of the URL with the options of the caller. A driver that needs large
    /// batches for its throughput sets [`EngineOptions::default_batch`].
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]. The error must not hold the URL, which may have a password.
    fn connect(&self, url: &str, options: EngineOptions) -> Result<Arc<dyn Broker>, ConnectError>;
}
