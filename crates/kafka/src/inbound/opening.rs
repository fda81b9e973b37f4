//! Subscriptions that are being opened.
//!
//! The requests of an opening wait for the cluster: a member may join its group for seconds. So
//! they run on a thread of their own, and the receiving thread goes on with the other
//! subscriptions. When the outcome is there, the thread wakes the receiving thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use fanfeed_broker::driver::{LinkError, SinkError};

use crate::inbound::Wake;

/// The most threads. Further openings wait.
const MOST: usize = 16;

type Outcome<T> = Result<T, SinkError>;
type Work<T> = Box<dyn FnOnce() -> Outcome<T> + Send>;

/// Openings whose requests return a `T`.
pub(crate) struct Openings<T> {
    wake: Wake,
    next: u64,
    running: usize,
    waiting: VecDeque<(u64, Work<T>)>,
    sender: Sender<(u64, Outcome<T>)>,
    outcomes: Receiver<(u64, Outcome<T>)>,
}

impl<T: Send + 'static> Openings<T> {
    pub(crate) fn new(wake: Wake) -> Self {
        let (sender, outcomes) = unbounded();
        Openings {
            wake,
            next: 0,
            running: 0,
            waiting: VecDeque::new(),
            sender,
            outcomes,
        }
    }

    /// Runs the requests of an opening, and returns its number.
    pub(crate) fn begin(&mut self, work: impl FnOnce() -> Outcome<T> + Send + 'static) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back((number, Box::new(work)));
        self.start();
        number
    }

    /// Returns an opening that has ended, and its outcome.
    pub(crate) fn take(&mut self) -> Option<(u64, Outcome<T>)> {
        let ended = self.outcomes.try_recv().ok()?;
        self.running -= 1;
        self.start();
        Some(ended)
    }

    /// Starts the threads for which there is room.
    fn start(&mut self) {
        while self.running < MOST
            && let Some((number, work)) = self.waiting.pop_front()
        {
            self.running += 1;
            let (sender, wake) = (self.sender.clone(), self.wake.clone());
            let body = move || {
                let outcome = catch_unwind(AssertUnwindSafe(work));
                let panicked =
                    || Err(LinkError::new("a subscription was opened, and panicked").into());
                // The receiving side may have ended, and then its outcome is of no use.
                let _ = sender.send((number, outcome.unwrap_or_else(|_| panicked())));
                wake.ring();
            };
            let thread = thread::Builder::new().name("fanfeed-opening".into());
            if let Err(error) = thread.spawn(body) {
                let text = format!("a thread cannot be started: {error}");
                let _ = self.sender.send((number, Err(LinkError::new(text).into())));
                self.wake.ring();
            }
        }
    }
}
