//! Waiting at zero-capacity crossbeam channels on behalf of tasks.
//!
//! Such a channel takes a value only while both ends are there. A receiver that polls with `try_recv` therefore meets
//! nobody who polls too: somebody has to wait in a select, with the value in hand. For tasks that is one thread, made at
//! the first need, which ends when there was none for a while.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use crossbeam_channel::{Receiver, Select, SelectedOperation, Sender, unbounded};

use super::entry::Hold;
use super::lane;
use crate::sync::{AtomicBool, Mutex, Ordering, global, spawn_named};
use crate::wait::{InDelivery, Patience, Ticket, in_delivery, quietly, wake};

/// How long the thread waits for work before it ends.
const IDLE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 10_000 });

global! {
    /// The way to the thread, while there is one.
    static THREAD: Mutex<Option<Sender<Request>>> = Mutex::new(None);
}

enum Request {
    Take(Box<dyn Errand>),
    /// One of them may be over.
    LookAgain,
}

/// What a task knows of the value that it has handed to the courier.
#[derive(Debug)]
pub(crate) struct Promise {
    state: Mutex<(State, Option<Waker>)>,
    cancelled: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Delivered,
    /// It was not taken, and will not be.
    Over,
}

impl Promise {
    /// How it stands. While it waits, the task is woken when that changes.
    pub(crate) fn poll(&self, waker: &Waker) -> State {
        // Cloned and dropped outside the lock: that runs code of others.
        let mut waker = Some(waker.clone());
        let mut state = self.state.lock();
        if state.0 == State::Waiting {
            std::mem::swap(&mut state.1, &mut waker);
        }
        state.0
    }

    /// Gives the value up. When this returns nobody gets it any more, if nobody had it before; except inside a delivery,
    /// where it does not wait for the courier to let go.
    pub(crate) fn cancel(&self) -> State {
        self.cancelled.store(true, Ordering::Release);
        look_again();
        let mut patience = Patience::new();
        loop {
            let state = self.state.lock().0;
            if state != State::Waiting || in_delivery() {
                return state;
            }
            patience.wait();
        }
    }

    fn settle(&self, to: State) {
        let waker = {
            let mut state = self.state.lock();
            if state.0 != State::Waiting {
                return;
            }
            state.0 = to;
            state.1.take()
        };
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

/// Hands a value to the courier, to be given to whoever receives from that channel next.
pub(crate) fn send<T: Send + 'static>(hold: Hold<T>, sender: Sender<T>, value: T) -> Arc<Promise> {
    let promise = Arc::new(Promise {
        state: Mutex::new((State::Waiting, None)),
        cancelled: AtomicBool::new(false),
    });
    let mut ticket = Ticket::default();
    // Whoever ends the subscription has the courier look again.
    let waker = Waker::from(Arc::new(LookAgain));
    hold.entry().blocked_sends().join(&mut ticket, &waker);
    request(Request::Take(Box::new(Meeting {
        sender,
        value: Cell::new(Some(value)),
        ticket,
        hold,
        promise: Arc::clone(&promise),
    })));
    promise
}

fn look_again() {
    if let Some(thread) = &*THREAD.lock() {
        let _ = thread.send(Request::LookAgain);
    }
}

struct LookAgain;

impl Wake for LookAgain {
    fn wake(self: Arc<Self>) {
        look_again();
    }
}

fn request(request: Request) {
    let mut thread = THREAD.lock();
    let request = match &*thread {
        // The thread holds the receiver for as long as the sender stands here, so this cannot fail.
        Some(sender) => match sender.send(request) {
            Ok(()) => return,
            Err(error) => error.into_inner(),
        },
        None => request,
    };
    let (sender, receiver) = unbounded();
    // Without a thread the request is dropped, which settles its promise.
    if spawn_named("fanfeed-courier", move || run(&receiver)).is_ok()
        && sender.send(request).is_ok()
    {
        *thread = Some(sender);
    }
}

fn run(requests: &Receiver<Request>) {
    // What is woken here may unsubscribe, or drop a send that waits: neither must wait for this thread.
    let _inside = InDelivery::enter();
    let mut errands: Vec<Box<dyn Errand>> = Vec::new();
    loop {
        drop_all_that_are_over(&mut errands);
        match next(requests, &errands) {
            Next::Requested(Request::Take(errand)) => errands.push(errand),
            Next::Requested(Request::LookAgain) => {}
            Next::Met(index) => drop_one(&mut errands, index),
            Next::Nothing if errands.is_empty() => {
                let mut thread = THREAD.lock();
                if requests.is_empty() {
                    *thread = None;
                    return;
                }
            }
            Next::Nothing => {}
        }
    }
}

fn drop_all_that_are_over(errands: &mut Vec<Box<dyn Errand>>) {
    let mut index = 0;
    while index < errands.len() {
        if errands[index].is_over() {
            drop_one(errands, index);
        } else {
            index += 1;
        }
    }
}

/// Drops an errand, and with it perhaps a value, whose panic must not end the errands of others.
fn drop_one(errands: &mut Vec<Box<dyn Errand>>, index: usize) {
    let errand = errands.swap_remove(index);
    quietly(|| drop(errand));
}

enum Next {
    Requested(Request),
    /// The errand with this number is done.
    Met(usize),
    Nothing,
}

/// Waits for a request or a meeting, whichever comes first.
fn next(requests: &Receiver<Request>, errands: &[Box<dyn Errand>]) -> Next {
    let mut select = Select::new();
    let request = select.recv(requests);
    for errand in errands {
        errand.join(&mut select);
    }
    match select.select_timeout(IDLE) {
        Ok(operation) if operation.index() == request => operation
            .recv(requests)
            .map_or(Next::Nothing, Next::Requested),
        Ok(operation) => {
            let index = operation.index() - 1;
            // A value that nobody takes after all is dropped in this.
            quietly(|| errands[index].meet(operation));
            Next::Met(index)
        }
        Err(_) => Next::Nothing,
    }
}

/// One value for one channel, whatever their type.
trait Errand: Send {
    fn join<'a>(&'a self, select: &mut Select<'a>);
    fn meet(&self, operation: SelectedOperation<'_>);
    fn is_over(&self) -> bool;
}

/// A value that waits for whoever receives it. Dropping it settles the promise.
///
/// The sender comes before the hold, so that the channel has lost it when the hold is let go: an unsubscribe that waits for
/// the hold leaves a far end that is disconnected.
struct Meeting<T> {
    sender: Sender<T>,
    value: Cell<Option<T>>,
    ticket: Ticket,
    hold: Hold<T>,
    promise: Arc<Promise>,
}

impl<T: Send> Errand for Meeting<T> {
    fn join<'a>(&'a self, select: &mut Select<'a>) {
        select.send(&self.sender);
    }

    fn meet(&self, operation: SelectedOperation<'_>) {
        let value = self.value.take().expect("a value is met once");
        if operation.send(&self.sender, value).is_ok() {
            self.hold.entry().count_delivered(lane::current());
            self.promise.settle(State::Delivered);
        }
    }

    fn is_over(&self) -> bool {
        self.hold.entry().is_cut() || self.promise.cancelled.load(Ordering::Acquire)
    }
}

impl<T> Drop for Meeting<T> {
    fn drop(&mut self) {
        self.hold
            .entry()
            .blocked_sends()
            .leave(&mut self.ticket, true);
        self.promise.settle(State::Over);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::Feed;

    #[test]
    fn the_thread_lasts_for_as_long_as_there_are_values_and_no_longer() {
        const LIMIT: Duration = Duration::from_secs(20);
        let feed = Feed::new();
        let (tx, rx) = crossbeam_channel::bounded(0);
        let _subscription = feed.subscribe(tx);
        for value in 0..2 {
            {
                let mut send = pin!(feed.send_async(value));
                let mut context = Context::from_waker(Waker::noop());
                assert!(send.as_mut().poll(&mut context).is_pending());
                // Nothing else comes for longer than it waits for work.
                thread::sleep(3 * IDLE);
                assert_eq!(rx.recv_timeout(LIMIT), Ok(value));
                let begun = Instant::now();
                while send.as_mut().poll(&mut context).is_pending() {
                    assert!(begun.elapsed() < LIMIT, "the courier has not said so");
                    thread::yield_now();
                }
            }
            let begun = Instant::now();
            while THREAD.lock().is_some() {
                assert!(begun.elapsed() < LIMIT, "it has not ended");
                thread::yield_now();
            }
        }
    }
}
