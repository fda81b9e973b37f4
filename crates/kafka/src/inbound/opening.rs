//! Subscriptions that are being opened.
//!
//! The requests of an opening wait for the cluster: a member may join its group for seconds. So
//! they run on a thread of their own, and the receiving thread goes on with the other
//! subscriptions. When the outcome is there, the thread wakes the receiving thread.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use fanfeed_broker::driver::{LinkError, SinkError};

use crate::inbound::Wake;

/// The most threads. Further openings wait.
const MOST: usize = 16;

type Outcome<T> = Result<T, SinkError>;
type Work<T> = Box<dyn FnOnce(&Cancel) -> Outcome<T> + Send>;

/// Tells the thread of an opening that its outcome is not needed any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    fn cancel(&self) {
        // ORDERING: nothing else is read because of the flag, so Relaxed.
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        // ORDERING: see `cancel`.
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if the opening was cancelled.
    pub(crate) fn check(&self) -> Result<(), SinkError> {
        match self.is_cancelled() {
            true => Err(LinkError::new("the subscription has ended").into()),
            false => Ok(()),
        }
    }
}

/// Openings whose requests return a `T`.
pub(crate) struct Openings<T> {
    wake: Wake,
    next: u64,
    /// The openings that have a thread.
    running: HashMap<u64, Cancel>,
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
            running: HashMap::new(),
            waiting: VecDeque::new(),
            sender,
            outcomes,
        }
    }

    /// Runs the requests of an opening, and returns its number.
    pub(crate) fn begin(
        &mut self,
        work: impl FnOnce(&Cancel) -> Outcome<T> + Send + 'static,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting.push_back((number, Box::new(work)));
        self.start();
        number
    }

    /// Cancels an opening. If it still waits for a thread, it has no outcome. If it is running, its
    /// thread ends after the request that it waits for.
    pub(crate) fn cancel(&mut self, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
        if let Some(cancel) = self.running.get(&number) {
            cancel.cancel();
        }
    }

    /// Returns an opening that has ended, and its outcome.
    pub(crate) fn take(&mut self) -> Option<(u64, Outcome<T>)> {
        let ended = self.outcomes.try_recv().ok()?;
        self.running.remove(&ended.0);
        self.start();
        Some(ended)
    }

    /// Starts the threads for which there is room.
    fn start(&mut self) {
        while self.running.len() < MOST
            && let Some((number, work)) = self.waiting.pop_front()
        {
            let cancel = Cancel::default();
            self.running.insert(number, cancel.clone());
            let (sender, wake) = (self.sender.clone(), self.wake.clone());
            let body = move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| work(&cancel)));
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

impl<T> Drop for Openings<T> {
    fn drop(&mut self) {
        self.running.values().for_each(Cancel::cancel);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanfeed_testkit::wait_until;

    use super::{MOST, Openings};
    use crate::inbound::Wake;

    /// Waits on the thread of an opening until it is cancelled.
    fn begin_endless(openings: &mut Openings<()>) -> u64 {
        openings.begin(|cancel| {
            loop {
                cancel.check()?;
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }

    #[test]
    fn a_cancelled_opening_makes_room_for_the_next() {
        let mut openings = Openings::new(Wake::new());
        let running: Vec<u64> = (0..MOST).map(|_| begin_endless(&mut openings)).collect();
        let waiting = begin_endless(&mut openings);
        let next = openings.begin(|_| Ok(()));
        openings.cancel(waiting);
        assert!(openings.take().is_none());
        openings.cancel(running[3]);
        let mut ended = Vec::new();
        wait_until("both have ended", || {
            ended.extend(openings.take());
            ended.len() == 2
        });
        assert!(matches!(
            &ended[..],
            [(cancelled, Err(_)), (done, Ok(()))] if (*cancelled, *done) == (running[3], next)
        ));
    }
}
