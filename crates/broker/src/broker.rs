//! The trait of all brokers: they publish and subscribe, and can be observed and closed.

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

    /// What the driver promises.
    fn capabilities(&self) -> &'static Capabilities;

    /// Returns a receiver of the events from now on. It holds 1,024 events. A receiver that is not
    /// read delays nobody: it loses the oldest events, and then learns how many it lost
    /// ([`Lagged`](fanfeed::RecvError::Lagged)).
    fn events(&self) -> Receiver<Event>;

    /// The same, with a receiver that holds this many events: at least 1, and at most 65,536. A
    /// broker for which this is not implemented returns the receiver of [`events`](Self::events).
    fn events_with(&self, capacity: usize) -> Receiver<Event> {
        let _ = capacity;
        self.events()
    }

    /// The counters.
    fn stats(&self) -> BrokerStats;

    /// The state of the connection and of the queues.
    fn health(&self) -> Health;

    /// Waits up to `deadline` until everything that arrived is handled and everything published is
    /// on the server, and then ends all subscriptions. When it returns before the deadline, they
    /// have ended: `is_closed()` is true for each, and the handlers and what they had captured have
    /// been dropped. A call inside a handler, or inside the destructor of a value that a handler
    /// captured, waits neither for handlers nor for the end of the subscriptions: these end when
    /// the handlers have returned. Closing again is harmless. Afterwards publishing and subscribing
    /// return `Closed`.
    ///
    /// With a server, what was published a moment ago is drained to the server, and not received
    /// back: plain subscriptions of this process may end before they get it.
    ///
    /// While it waits, only handlers may publish, so that a handler that turns one message into
    /// another can finish its work; a thread or a task that the handler has started does not count
    /// as the handler. What handlers publish is drained too: in memory it is also handled, with a
    /// server it is sent but not received again. All other callers get `Closed` from the start.
    ///
    /// # Errors
    ///
    /// [`CloseError::Undelivered`] says what was left over.
    fn close(&self, deadline: Duration) -> Result<(), CloseError>;

    /// Whether the broker was closed. Once true, it stays true.
    fn is_closed(&self) -> bool;
}
