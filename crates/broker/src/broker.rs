//! The whole contract: what publishes and subscribes, and can be observed and closed.

use std::time::Duration;

use fanfeed::Receiver;

use crate::capabilities::Capabilities;
use crate::error::CloseError;
use crate::event::Event;
use crate::publisher::Publisher;
use crate::stats::{BrokerStats, Health};
use crate::subscriber::Subscriber;

/// A broker: what publishes and subscribes, whatever carries the messages.
///
/// `Arc<dyn Broker>` is what [`Drivers::connect`](crate::Drivers::connect) returns. Dropping the last handle ends the
/// broker without waiting; [`close`](Self::close) drains it first.
pub trait Broker: Publisher + Subscriber {
    /// The name of the driver, such as `memory` or `redis`.
    fn driver(&self) -> &'static str;

    /// What the driver promises.
    fn capabilities(&self) -> &'static Capabilities;

    /// What happens, from now on. The receiver holds 1,024 events. One that is not read loses the oldest, learns how many
    /// ([`Lagged`](fanfeed::RecvError::Lagged)), and holds nobody.
    fn events(&self) -> Receiver<Event>;

    /// The counters.
    fn stats(&self) -> BrokerStats;

    /// The state of the connection and of the queues.
    fn health(&self) -> Health;

    /// Waits up to `deadline` until everything that arrived is handled and everything published is on the server, and then
    /// ends all subscriptions. From inside a handler it does not wait for handlers. Again: harmless. Afterwards all verbs
    /// say `Closed`.
    ///
    /// While it waits, only handlers may publish, so that one which turns a message into another can finish its work; a
    /// thread or a task that the handler has started is not the handler. What they publish is drained too. In memory that is
    /// every message; with a server, what comes back from it stays there. Everybody else gets `Closed` from the start.
    ///
    /// # Errors
    ///
    /// [`CloseError::Undelivered`] says what was left over.
    fn close(&self, deadline: Duration) -> Result<(), CloseError>;

    /// Whether it was closed. Once true, it stays true.
    fn is_closed(&self) -> bool;
}
