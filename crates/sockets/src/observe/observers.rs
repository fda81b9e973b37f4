//! The observers of a server or a client.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use fanfeed::{Feed, Overflow, Receiver, RecvError};
use tokio::sync::watch;

use super::clock::at_most_on_a_thread;
use super::quietly;

/// Events that a receiver may be behind before it misses some.
const EVENTS: usize = 1024;

/// The same, for the logger.
const LOGGED: usize = 8192;

/// How long a shutdown waits until the logger has been called with all events.
const LOG_OUT: Duration = Duration::from_secs(1);

/// Receivers of events, and the logger. None of them can hold up what is observed.
pub(crate) struct Observers<E> {
    feed: Feed<E>,
    /// Its sender is dropped when the thread of the logger ends.
    logging: OnceLock<watch::Receiver<()>>,
}

impl<E: Clone + Send + Sync + 'static> Observers<E> {
    pub(crate) fn new() -> Self {
        Self {
            feed: Feed::new(),
            logging: OnceLock::new(),
        }
    }

    pub(crate) fn events(&self) -> Receiver<E> {
        self.events_with(EVENTS)
    }

    fn events_with(&self, capacity: usize) -> Receiver<E> {
        self.feed
            .subscriber()
            .capacity(capacity)
            .overflow(Overflow::DropOldest)
            .channel()
            .expect("it is a capacity that a channel can have")
    }

    /// Tells all observers. The event is made only if there are any.
    pub(crate) fn tell(&self, event: impl FnOnce() -> E) {
        if self.feed.subscriber_count() > 0 {
            self.feed.send(event());
        }
    }

    /// Calls `logger` with each event, on a thread of its own: what reports an event may hold a
    /// lock, and must not wait. If the logger panics, it loses that event. `missed` makes the event
    /// for those that it was too slow for.
    pub(crate) fn log(
        &self,
        logger: impl Fn(&E) + Send + 'static,
        missed: fn(u64) -> E,
    ) -> std::io::Result<()> {
        let mut events = self.events_with(LOGGED);
        let (running, ended) = watch::channel(());
        let body = move || {
            let _running = running;
            loop {
                let event = match events.recv() {
                    Ok(event) => event,
                    Err(RecvError::Lagged(count)) => missed(count),
                    Err(_) => break,
                };
                quietly(|| logger(&event));
            }
            quietly(|| drop(logger));
        };
        thread::Builder::new()
            .name("fanfeed-sockets-log".into())
            .spawn(body)?;
        // It is set once, by the builder.
        let _ = self.logging.set(ended);
        Ok(())
    }

    /// Ends the events, and waits for a short time until the logger has been called with all of
    /// them, so that a program that ends then has its last lines.
    pub(crate) async fn end(&self) {
        self.feed.close();
        let Some(mut ended) = self.logging.get().cloned() else {
            return;
        };
        if ended.has_changed().is_err() {
            return;
        }
        let last = async { while ended.changed().await.is_ok() {} };
        let _ = at_most_on_a_thread(LOG_OUT, last).await;
    }
}
