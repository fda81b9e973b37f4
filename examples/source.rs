//! A library that makes subscriptions of its own: one thread reads lines, and calls the subscribers
//! of each line's key.
//!
//! Its subscriptions are the crate's, so they can be joined, put into a scope and made again when
//! the line breaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use fanfeed::{
    Stats, Subscription, SubscriptionError, SubscriptionScope, SubscriptionSource,
    SubscriptionState, resubscribe_with_error,
};

type Quote = (&'static str, u32);
type Handler = Box<dyn FnMut(u32) + Send>;

/// The part of one subscription that its handle and the line's thread share.
struct Listener {
    state: SubscriptionState,
    /// Locked while the handler runs. Empty once the listener was cancelled.
    handler: Mutex<Option<Handler>>,
    delivered: Mutex<u64>,
    /// The thread that runs all handlers of the line.
    reader: ThreadId,
}

impl Listener {
    fn deliver(&self, value: u32) {
        let mut handler = self.handler.lock().unwrap();
        if let Some(handler) = &mut *handler
            && !self.state.is_ended()
        {
            handler(value);
            *self.delivered.lock().unwrap() += 1;
        }
        if self.state.is_ended() {
            // A thread that could not wait cancelled it, perhaps from its own handler.
            *handler = None;
        }
    }
}

impl SubscriptionSource for Listener {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.state.end(None);
        if SubscriptionState::may_wait() && thread::current().id() != self.reader {
            // This lock waits for a handler that is running.
            drop(self.handler.lock().unwrap().take());
        }
    }

    fn cancel_soon(&self) {
        self.state.end(None);
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        stats.delivered = *self.delivered.lock().unwrap();
        stats
    }
}

#[derive(Default)]
struct Listeners(Mutex<HashMap<&'static str, Vec<Arc<Listener>>>>);

/// A line on which quotes arrive.
struct Line {
    listeners: Arc<Listeners>,
    reader: JoinHandle<()>,
}

impl Line {
    fn open(quotes: Receiver<Quote>) -> Self {
        let listeners = Arc::new(Listeners::default());
        let reader = {
            let listeners = Arc::clone(&listeners);
            thread::spawn(move || {
                for (key, value) in quotes {
                    let of_key = {
                        let mut all = listeners.0.lock().unwrap();
                        let of_key = all.entry(key).or_default();
                        of_key.retain(|listener| !listener.state.is_ended());
                        of_key.clone()
                    };
                    of_key.iter().for_each(|listener| listener.deliver(value));
                }
                // Every listener ends before the line forgets it.
                let all = std::mem::take(&mut *listeners.0.lock().unwrap());
                for listener in all.into_values().flatten() {
                    let error = SubscriptionError::failed("the line broke");
                    listener.state.end(Some(error));
                }
            })
        };
        Self { listeners, reader }
    }

    fn subscribe(
        &self,
        key: &'static str,
        handler: impl FnMut(u32) + Send + 'static,
    ) -> Subscription {
        let listener = Arc::new(Listener {
            state: SubscriptionState::new(Some(key.into())),
            handler: Mutex::new(Some(Box::new(handler))),
            delivered: Mutex::new(0),
            reader: self.reader.thread().id(),
        });
        let mut all = self.listeners.0.lock().unwrap();
        all.entry(key).or_default().push(listener.clone());
        Subscription::from_source(listener)
    }
}

fn main() {
    let (tx, rx) = unbounded();
    let line = Line::open(rx);
    let (seen, shows) = unbounded();
    let log = |seen: &Sender<String>, key: &'static str| {
        let seen = seen.clone();
        move |value| drop(seen.send(format!("{key} {value}")))
    };

    let scope = SubscriptionScope::new();
    let gold = scope
        .track(line.subscribe("gold", log(&seen, "gold")))
        .unwrap();
    let metals = Subscription::join([
        line.subscribe("zinc", log(&seen, "zinc")),
        line.subscribe("iron", log(&seen, "iron")),
    ]);
    for quote in [("gold", 1), ("zinc", 2), ("lead", 3), ("iron", 4)] {
        tx.send(quote).unwrap();
    }
    println!("{:?}", shows.iter().take(3).collect::<Vec<_>>());
    scope.close();
    println!(
        "gold has ended: {}, after {}",
        gold.is_closed(),
        gold.stats().delivered
    );

    // The line breaks: all its subscriptions fail.
    drop(tx);
    metals.closed().wait();
    println!("metals: {}", metals.err().recv().unwrap());
    line.reader.join().unwrap();

    // A subscription that opens a new line whenever the last one broke.
    let mut attempt = 0;
    let mut open = Vec::new();
    let again = resubscribe_with_error(Duration::from_millis(10), move |_token, last| {
        attempt += 1;
        let why = last.map(|error| error.to_string());
        seen.send(format!("line {attempt}, {why:?}"))?;
        let (tx, rx) = unbounded();
        tx.send(("gold", 10 + attempt))?;
        let line = Line::open(rx);
        let gold = line.subscribe("gold", log(&seen, "gold"));
        if attempt == 2 {
            // This line lasts as long as the resubscription.
            open.push(tx);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(gold)
    });
    let shown: Vec<_> = shows
        .iter()
        .filter(|shown| shown.starts_with("line"))
        .take(2)
        .collect();
    println!("{}", shown.join("\n"));
    again.unsubscribe();
    println!("resubscription has ended: {}", again.is_closed());
}
