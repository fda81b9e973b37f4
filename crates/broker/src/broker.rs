//! The trait of all brokers.

use std::time::Duration;

use fanfeed::Receiver;

use crate::capabilities::Capabilities;
use crate::error::CloseError;
use crate::event::Event;
use crate::publisher::Publisher;
use crate::stats::{BrokerStats, Health};
use crate::subscriber::Subscriber;

/// A broker: it publishes messages and subscribes to them. A driver carries the messages.
///
/// `Arc<dyn Broker>` is what [`Drivers::connect`](crate::Drivers::connect) returns. Dropping the
/// last handle ends the broker without waiting; [`close`](Self::close) drains it first.
pub trait Broker: Publisher + Subscriber {
    /// The name of the driver, such as `memory` or `redis`.
    fn driver(&self) -> &'static str;

    /// The promises of the driver.
    fn capabilities(&self) -> &'static Capabilities;

    /// Returns a receiver of all later events. It holds 1,024 events. A receiver that is not read
    /// does not delay the broker: it loses the oldest events, and then returns how many it lost
    /// ([`Lagged`](fanfeed::RecvError::Lagged)).
    fn events(&self) -> Receiver<Event>;

    /// Returns a receiver as [`events`](Self::events) does, which holds `capacity` events: at least
    /// 1, and at most 65,536. The default implementation ignores `capacity`.
    fn events_with(&self, capacity: usize) -> Receiver<Event> {
        let _ = capacity;
        self.events()
    }

    /// The counters.
    fn stats(&self) -> BrokerStats;

    /// The state of the connection and of the queues.
    fn health(&self) -> Health;

    /// Waits up to `deadline` until everything that arrived is handled and everything published is
    /// on the server, and then ends all subscriptions. If it returns before the deadline, the
    /// subscriptions have ended: `is_closed()` is true for each, and the handlers and the values
    /// that they captured have been dropped. A call inside a handler, or inside the destructor of a
    /// value that a handler captured, waits neither for handlers nor for the end of the
    /// subscriptions. These end when the handlers have returned. Closing again is harmless. After
    /// the first call, publishing and subscribing return `Closed`.
    ///
    /// With a server, messages that were just published are sent to the server, but `close` does
    /// not wait until they come back. Plain subscriptions of this process may end before they get
    /// them.
    ///
    /// While it waits, only handlers may publish, so that a handler that turns one message into
    /// another can finish its work. A thread or a task that the handler has started does not count
    /// as the handler. Messages that handlers publish are drained too: in memory they are also
    /// handled, with a server they are sent but not received again. All other callers get `Closed`
    /// from the start.
    ///
    /// # Errors
    ///
    /// [`CloseError::Undelivered`] counts what was left at the deadline.
    fn close(&self, deadline: Duration) -> Result<(), CloseError>;

    /// Whether the broker was closed. Once this is true, it stays true.
    fn is_closed(&self) -> bool;
}
