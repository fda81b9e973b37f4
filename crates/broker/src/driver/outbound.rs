//! The bounded queue to the server, and the thread that empties it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use fanfeed::Backoff;

use super::connection::{Connections, Side};
use super::engine::EngineOptions;
use super::guarded::{guarded, open};
use super::outbound_state::State;
use super::outgoing::{Batch, Outgoing, Settled};
use super::transport::{Outbound, Published, Transport};
use crate::dispatch::{Hub, wake};
use crate::error::{ConnectError, FlushError, PublishError};
use crate::event::Event;
use crate::message::Message;
use crate::receipt::Receipt;
use crate::sync::{Condvar, Mutex, mutant};

/// The queue to the server.
///
/// # Invariants
///
/// 1. A message that `publish` took has one number, and is in the queue or in the batch of the
///    thread until it is settled: confirmed, refused, uncertain, withdrawn by its caller, or left
///    over at the end. Each is settled once.
/// 2. The queue is in the order of the numbers, and all numbers of a batch are smaller than those
///    in the queue. A batch whose connection was lost goes back to the front before the next is
///    taken. So the order of each publisher's messages holds across a reconnect, and `floor` is the
///    smallest number that is not settled.
pub(crate) struct OutboundQueue {
    state: Mutex<State>,
    /// The thread waits here for messages.
    work: Condvar,
    /// Publishers wait here for room.
    room: Condvar,
    /// Flushes and `close` wait here for messages to be settled.
    settled: Condvar,
    capacity: usize,
}

/// How long the thread waits for messages before it checks the connection.
const IDLE: Duration = Duration::from_secs(1);

/// The most bytes of payloads in a batch of several messages.
const BATCH_BYTES: usize = 16 << 20;

impl OutboundQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            settled: Condvar::new(),
            capacity,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().unsettled()
    }

    /// Puts a message in the queue. If `wait` has no deadline, waits without limit.
    pub(crate) fn push(
        &self,
        message: Message,
        wait: Option<Option<Instant>>,
        hub: &Hub,
    ) -> Result<(), PublishError> {
        self.push_with(message, None, wait, hub).map(drop)
    }

    /// Puts a message in the queue. Returns its number.
    fn push_with(
        &self,
        message: Message,
        waiter: Option<Sender<Settled>>,
        wait: Option<Option<Instant>>,
        hub: &Hub,
    ) -> Result<u64, PublishError> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Err(PublishError::Closed(message));
            }
            if state.unsettled() < self.capacity {
                break;
            }
            let Some(deadline) = wait else {
                return Err(PublishError::Full(message));
            };
            state.waiting += 1;
            let timed_out = match deadline {
                Some(deadline) => self.room.wait_until(&mut state, deadline).timed_out(),
                None => {
                    self.room.wait(&mut state);
                    false
                }
            };
            state.waiting -= 1;
            if timed_out && state.unsettled() >= self.capacity && !state.closed {
                return Err(PublishError::Timeout(message));
            }
        }
        let number = state.next;
        state.next += 1;
        // Under the lock, so that it is counted before the thread can count its outcome.
        hub.counters.count_published();
        state.queue.push_back(Outgoing {
            number,
            message,
            waiter,
        });
        let first = state.queue.len() == 1 && state.in_flight.is_empty();
        drop(state);
        if first {
            self.work.notify_one();
        }
        hub.counters.record_published();
        Ok(number)
    }

    /// Puts a message in the queue, or registers the task to be woken when there is room.
    pub(crate) fn poll_push(
        &self,
        message: Message,
        waker: &Waker,
        hub: &Hub,
    ) -> Result<(), PublishError> {
        let mut message = message;
        loop {
            message = match self.push_with(message, None, None, hub) {
                Err(PublishError::Full(message)) => message,
                other => return other.map(drop),
            };
            let mut state = self.state.lock();
            if !state.closed && state.unsettled() >= self.capacity {
                if !state.wakers.iter().any(|other| other.will_wake(waker)) {
                    state.wakers.push(waker.clone());
                }
                return Err(PublishError::Full(message));
            }
        }
    }

    /// Puts a message in the queue and waits until the server has it.
    pub(crate) fn confirmed(
        &self,
        message: Message,
        timeout: Duration,
        hub: &Hub,
    ) -> Result<Receipt, PublishError> {
        let deadline = Instant::now().checked_add(timeout);
        let (sender, receiver) = bounded(1);
        let number = self.push_with(message.clone(), Some(sender), Some(deadline), hub)?;
        let settled = match deadline {
            Some(deadline) => receiver
                .recv_deadline(deadline)
                .map_err(|error| error.is_timeout()),
            None => receiver.recv().map_err(|_| false),
        };
        let settled = match settled {
            Err(true) => {
                let mut state = self.state.lock();
                let settled = receiver.try_recv();
                // Under the lock: see `State::fail`.
                drop(receiver);
                // Otherwise the messages of callers that try again would fill the queue while the
                // server is away.
                let withdrawn = state.withdraw(number);
                drop(state);
                if let Some(outgoing) = withdrawn {
                    self.end_withdrawal(outgoing, hub);
                }
                settled.map_err(|_| true)
            }
            settled => settled,
        };
        match settled {
            Ok(Settled::Done(receipt)) => Ok(receipt),
            Ok(Settled::Refused(reason)) => Err(PublishError::Refused(reason)),
            Ok(Settled::Uncertain) => Err(PublishError::Uncertain(message)),
            Err(true) => Err(PublishError::Timeout(message)),
            Ok(Settled::LeftOver) | Err(false) => Err(PublishError::Closed(message)),
        }
    }

    /// Settles a message that was removed from the queue.
    fn end_withdrawal(&self, outgoing: Outgoing, hub: &Hub) {
        // First, so that the event has been sent when a flush returns.
        report(
            &outgoing.message,
            "it was not confirmed within its timeout, and is sent no more",
            hub,
        );
        let mut state = self.state.lock();
        state.withdrawn.retain(|number| *number != outgoing.number);
        let waiting = state.waiting > 0;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.settled.notify_all();
        if waiting {
            self.room.notify_all();
        }
        // If the queue was closed, the thread may end now.
        self.work.notify_one();
        wake(wakers);
    }

    /// Waits until all messages published before are settled. Reports the failures that no flush
    /// had reported before this one began.
    pub(crate) fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        if state.closed {
            return Err(FlushError::Closed);
        }
        let target = state.next;
        let told = state.told;
        while state.floor() < target {
            if state.ended {
                return Err(FlushError::Closed);
            }
            let timed_out = match deadline {
                Some(deadline) => self.settled.wait_until(&mut state, deadline).timed_out(),
                None => {
                    self.settled.wait(&mut state);
                    false
                }
            };
            if timed_out && state.floor() < target {
                return Err(FlushError::Timeout(state.unsettled_before(target)));
            }
        }
        state.tell(told)
    }

    /// Closes the queue, and waits until its messages are settled or the deadline has passed.
    /// Returns the number that is left.
    pub(crate) fn close(&self, deadline: Instant, hub: &Hub) -> usize {
        let mut state = self.state.lock();
        state.closed = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.room.notify_all();
        self.work.notify_all();
        wake(wakers);
        let mut state = self.state.lock();
        while state.unsettled() > 0 && !state.ended {
            if self.settled.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        drop(state);
        self.abort(hub)
    }

    /// Ends the thread, and gives up the remaining messages. Returns their number.
    pub(crate) fn abort(&self, hub: &Hub) -> usize {
        let mut state = self.state.lock();
        state.closed = true;
        state.aborted = true;
        let left = state.give_up();
        // The batch that the driver is sending may still arrive, but no caller waits for its
        // result.
        let count = left.len() + state.in_flight.len();
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wake(wakers);
        self.room.notify_all();
        self.work.notify_all();
        self.settled.notify_all();
        report_left_over(left, hub);
        count
    }

    /// Waits for the end of the thread until the deadline.
    pub(crate) fn wait_ended(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while !state.ended && !self.settled.wait_until(&mut state, deadline).timed_out() {}
    }

    /// Runs the thread: opens the side that publishes, and publishes until the end. `opened` gets
    /// the result of the first attempt.
    pub(crate) fn run(
        &self,
        transport: &dyn Transport,
        options: &EngineOptions,
        hub: &Hub,
        connections: &Connections,
        opened: Sender<Result<(), ConnectError>>,
    ) {
        let mut opened = Some(opened);
        let mut backoff = Backoff::new(options.reconnect);
        let mut side: Option<Box<dyn Outbound>> = None;
        let mut up_since = Instant::now();
        // The messages that were sent and whose outcomes are not known.
        let mut pending = Batch::default();
        loop {
            let Some(link) = &mut side else {
                let answer = open(|| transport.open_outbound());
                let failed = answer.as_ref().err().cloned();
                side = answer.ok();
                up_since = Instant::now();
                match failed {
                    None => connections.up(Side::Outbound, hub),
                    Some(error) => {
                        let is_first = opened.is_some() && !options.lazy;
                        connections.down(Side::Outbound, &error.to_string(), hub);
                        if let Some(opened) = opened.take() {
                            let _ = opened.send(Err(error));
                        }
                        if is_first || !self.wait_before_retry(backoff.next_wait(Duration::ZERO)) {
                            break;
                        }
                    }
                }
                if let Some(opened) = opened.take() {
                    let _ = opened.send(Ok(()));
                }
                continue;
            };
            let Some(batch) = self.take(std::mem::take(&mut pending), options.batch_size()) else {
                break;
            };
            let result = match batch.messages.is_empty() {
                true => guarded(|| link.idle().map(|()| Vec::new())),
                false => guarded(|| link.publish(&batch.messages)),
            };
            match result {
                Ok(published) => pending = self.settle(batch, published, hub),
                Err(error) => {
                    let _ = catch_unwind(AssertUnwindSafe(|| side = None));
                    side = None;
                    connections.down(Side::Outbound, error.reason(), hub);
                    let again = error.is_unsent() || transport.publishes_again();
                    self.lose(batch, again, hub);
                    if !self.wait_before_retry(backoff.next_wait(up_since.elapsed())) {
                        break;
                    }
                }
            }
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(side)));
        let _ = catch_unwind(AssertUnwindSafe(|| transport.ended()));
        let (left, wakers) = {
            let mut state = self.state.lock();
            state.ended = true;
            state.closed = true;
            state.in_flight.clear();
            (state.give_up(), std::mem::take(&mut state.wakers))
        };
        wake(wakers);
        self.settled.notify_all();
        self.room.notify_all();
        report_left_over(left, hub);
    }

    /// Adds further messages to those whose outcomes are not known. The batch is empty if no message
    /// came for a while. Returns `None` if the thread has to end.
    fn take(&self, mut batch: Batch, most: usize) -> Option<Batch> {
        let mut state = self.state.lock();
        while batch.messages.is_empty() {
            if state.aborted || (state.closed && state.queue.is_empty()) {
                return None;
            }
            if !state.queue.is_empty() {
                break;
            }
            if self.work.wait_for(&mut state, IDLE).timed_out()
                && state.queue.is_empty()
                && !state.closed
            {
                return Some(Batch::default());
            }
        }
        // After an abort, only the outcomes of the messages that were sent are waited for.
        if !state.aborted {
            let room = most.saturating_sub(batch.messages.len());
            let count = batch_of(&batch.messages, state.queue.iter().take(room));
            batch.extend(state.queue.drain(..count));
        }
        state.in_flight = batch.numbers().collect();
        Some(batch)
    }

    /// Settles the messages of a batch. Returns those whose outcomes are not known.
    fn settle(&self, batch: Batch, published: Vec<Published>, hub: &Hub) -> Batch {
        let mut published = published.into_iter();
        let mut pending = Batch::default();
        let mut unsent = Vec::new();
        let mut done = Vec::new();
        let mut refused = Vec::new();
        let mut confirmed = 0;
        for outgoing in batch.into_outgoing() {
            match published.next() {
                Some(Published::Done(receipt)) => {
                    confirmed += 1;
                    done.extend(outgoing.waiter.map(|waiter| (waiter, receipt)));
                }
                Some(Published::Stored { part, place, text }) => {
                    confirmed += 1;
                    if let Some(waiter) = outgoing.waiter {
                        let position = Some(text(part, place).into());
                        let id = outgoing.message.id().clone();
                        done.push((waiter, Receipt::new(id, position)));
                    }
                }
                Some(Published::Refused(reason)) => refused.push((outgoing, reason)),
                Some(Published::Pending) => pending.push(outgoing),
                Some(Published::Unsent) | None => unsent.push(outgoing),
            }
        }
        hub.counters.confirmed(confirmed);
        // First, so that the events have been sent when a flush returns.
        for (outgoing, reason) in &refused {
            report(&outgoing.message, reason, hub);
        }
        let left = self.settle_state(unsent, &pending, |state| {
            for (outgoing, reason) in refused {
                state.fail(outgoing.waiter, Settled::Refused(reason));
            }
        });
        for (waiter, receipt) in done {
            let _ = waiter.send(Settled::Done(receipt));
        }
        report_left_over(left, hub);
        pending
    }

    /// Handles the loss of the connection during this batch.
    fn lose(&self, batch: Batch, again: bool, hub: &Hub) {
        if again {
            let unsent = batch.into_outgoing().collect();
            let left = self.settle_state(unsent, &Batch::default(), |_| {});
            report_left_over(left, hub);
            return;
        }
        let Batch { messages, rest } = batch;
        for message in messages {
            report(
                &message,
                "the connection was lost before the server confirmed it",
                hub,
            );
        }
        let left = self.settle_state(Vec::new(), &Batch::default(), |state| {
            for (_, waiter) in rest {
                state.fail(waiter, Settled::Uncertain);
            }
        });
        report_left_over(left, hub);
    }

    /// Puts the batch's unsent messages back at the front, and counts the failed ones. Returns the
    /// messages that are left after an abort.
    fn settle_state(
        &self,
        unsent: Vec<Outgoing>,
        pending: &Batch,
        fail: impl FnOnce(&mut State),
    ) -> Vec<Message> {
        let mut state = self.state.lock();
        state.in_flight.clear();
        state.in_flight.extend(pending.numbers());
        fail(&mut state);
        for outgoing in unsent.into_iter().rev() {
            if mutant!("broker::batch_forgotten") {
                continue;
            }
            if mutant!("broker::batch_behind") {
                state.queue.push_back(outgoing);
                continue;
            }
            state.queue.push_front(outgoing);
        }
        let left = match state.aborted {
            true => state.give_up(),
            false => Vec::new(),
        };
        let waiting = state.waiting > 0;
        let wakers = match state.unsettled() < self.capacity {
            true => std::mem::take(&mut state.wakers),
            false => Vec::new(),
        };
        drop(state);
        self.settled.notify_all();
        if waiting {
            self.room.notify_all();
        }
        wake(wakers);
        left
    }

    /// Waits before the next attempt to connect. Returns false if the thread has to end.
    fn wait_before_retry(&self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        let mut state = self.state.lock();
        loop {
            if state.aborted || (state.closed && state.unsettled() == 0) {
                return false;
            }
            if self.work.wait_until(&mut state, deadline).timed_out() {
                return !state.aborted;
            }
        }
    }
}

/// Returns how many of the queued messages a batch takes besides those that it has: a driver may
/// hold a copy of the whole batch.
fn batch_of<'a>(pending: &[Message], queued: impl Iterator<Item = &'a Outgoing>) -> usize {
    let is_first = pending.is_empty();
    let mut bytes: usize = pending.iter().map(|message| message.payload().len()).sum();
    let mut fits = |(number, outgoing): &(usize, &Outgoing)| {
        bytes += outgoing.message.payload().len();
        is_first && *number == 0 || bytes <= BATCH_BYTES
    };
    queued
        .enumerate()
        .take_while(|outgoing| fits(outgoing))
        .count()
}

/// Reports a published message that failed.
fn report(message: &Message, reason: &str, hub: &Hub) {
    hub.counters.publish_failed(1);
    hub.emit(Event::PublishFailed {
        id: message.id().clone(),
        key: message.key().clone(),
        error: reason.into(),
    });
}

fn report_left_over(left: Vec<Message>, hub: &Hub) {
    for message in left {
        report(
            &message,
            "the broker was closed before it could be sent",
            hub,
        );
    }
}
