//! One place of a member at its lane: takes deliveries and calls the handler.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::Backoff;

use crate::clock;
use crate::context::Context;
use crate::dispatch::member::Entry;
use crate::dispatch::timers::Timed;
use crate::dispatch::{InHandler, Lane, Member, Tally, panic_text, quietly};
use crate::driver::Verdict;
use crate::event::Event;
use crate::handler::HandlerError;
use crate::message::Message;
use crate::options::Redelivery;

/// A message on its way to a handler.
pub(crate) struct Arrival {
    pub(crate) message: Message,
    /// By which the driver knows the delivery.
    pub(crate) tag: u64,
    /// How often it has been given to a handler once this time is counted.
    pub(crate) attempt: u32,
}

impl Arrival {
    pub(crate) fn first(message: Message) -> Self {
        Self {
            message,
            tag: 0,
            attempt: 1,
        }
    }
}

pub(crate) struct Job {
    lane: Arc<Lane>,
    member: Arc<Member>,
    /// What it is going to try again, before anything else.
    held: Option<Held>,
}

struct Held {
    arrival: Arrival,
    backoff: Backoff,
}

/// How often a job that finds its lane empty yields and looks again before it ends, while no other job waits. A stream of
/// messages then pays for a job once in a while, and not for each message.
const LOOKS: u32 = 8;

/// How a run of a job ends.
enum End {
    /// Its place is given up.
    Done,
    /// Others wait, so that it queues up again.
    Yield,
    /// It goes on at a time, with what it holds.
    At(Instant),
}

impl Job {
    pub(crate) fn new(lane: Arc<Lane>, member: Arc<Member>) -> Self {
        Self {
            lane,
            member,
            held: None,
        }
    }

    /// By which its member is known to the timers. The job keeps the member.
    pub(crate) fn member_address(&self) -> usize {
        Arc::as_ptr(&self.member).addr()
    }

    fn take_held(&mut self) -> Option<Held> {
        let held = self.held.take();
        if held.is_some() {
            self.lane.resume();
        }
        held
    }

    /// Gives up the place, and hands back what it holds.
    pub(crate) fn abandon(mut self) {
        let held = self.take_held().map(|held| held.arrival);
        self.lane
            .hand_back(&self.member, held, &mut VecDeque::new(), true);
        self.member.try_finish();
    }

    pub(crate) fn run(mut self) {
        let Some(entry) = self.member.enter() else {
            return self.abandon();
        };
        let mut tally = Tally::default();
        let end = {
            let _inside = InHandler::enter(&self.lane);
            self.work(&entry, &mut tally)
        };
        self.count(&mut tally, None);
        drop(entry);
        let lane = Arc::clone(&self.lane);
        match end {
            End::Done => {}
            End::Yield => lane.hub().pool.submit(self),
            End::At(due) => {
                let member = Arc::clone(&self.member);
                lane.hub().pool.at(due, Timed::Job(self));
                // It may have been cancelled before the timer was there to be found.
                if member.is_cancelled() {
                    lane.hub().pool.hurry(&member);
                }
            }
        }
    }

    /// Adds to the counters what was tallied, and the time since a batch began.
    fn count(&self, tally: &mut Tally, began: Option<Instant>) {
        let tally = std::mem::take(tally);
        self.member.handled(&tally);
        let took = began.map_or(Duration::ZERO, |began| began.elapsed());
        self.lane.hub().counters.handled(&tally, took);
    }

    fn work(&mut self, entry: &Entry, tally: &mut Tally) -> End {
        let mut context = Context::new(Arc::clone(&self.member), Arc::clone(&self.lane));
        let mut batch = VecDeque::new();
        if let Some(held) = self.take_held()
            && let Some(end) = self.serve(
                entry,
                &mut context,
                held.arrival,
                Some(held.backoff),
                &mut batch,
                tally,
            )
        {
            return end;
        }
        loop {
            if !self.lane.take(&self.member, &mut batch) {
                return End::Done;
            }
            let began = Instant::now();
            let mut is_first = true;
            while let Some(arrival) = batch.pop_front() {
                // The first was begun when it was taken, under the lane's lock.
                if !std::mem::take(&mut is_first) && self.member.is_cancelled() {
                    self.lane
                        .hand_back(&self.member, Some(arrival), &mut batch, true);
                    return End::Done;
                }
                self.member.set_begun(batch.len());
                if let Some(end) = self.serve(entry, &mut context, arrival, None, &mut batch, tally)
                {
                    return end;
                }
            }
            self.count(tally, Some(began));
            for _ in 0..LOOKS {
                let others_wait = self.lane.hub().pool.has_backlog();
                if self.lane.has_queued() {
                    if others_wait {
                        return End::Yield;
                    }
                    break;
                }
                if others_wait {
                    break;
                }
                thread::yield_now();
            }
        }
    }

    /// Calls the handler with one delivery. `Some` if the job cannot go on now.
    #[inline]
    fn serve(
        &mut self,
        entry: &Entry,
        context: &mut Context,
        arrival: Arrival,
        backoff: Option<Backoff>,
        batch: &mut VecDeque<Arrival>,
        tally: &mut Tally,
    ) -> Option<End> {
        if arrival.attempt > 1 {
            tally.redelivered += 1;
        }
        context.begin(&arrival.message, arrival.attempt);
        let called = catch_unwind(AssertUnwindSafe(|| {
            entry.handler().handle(&arrival.message, context)
        }));
        context.end();
        let error = match called {
            Ok(Ok(())) => {
                tally.delivered += 1;
                self.lane.settle(arrival.tag, Verdict::Handled);
                return None;
            }
            Ok(Err(error)) => error,
            Err(panic) => {
                let error =
                    HandlerError::failed(format!("the handler panicked: {}", panic_text(&*panic)));
                quietly(|| drop(panic));
                error
            }
        };
        self.fail(arrival, error, backoff, batch, tally)
    }

    #[cold]
    fn fail(
        &mut self,
        mut arrival: Arrival,
        error: HandlerError,
        backoff: Option<Backoff>,
        batch: &mut VecDeque<Arrival>,
        tally: &mut Tally,
    ) -> Option<End> {
        let hub = Arc::clone(self.lane.hub());
        let (key, group) = (self.lane.key().clone(), self.lane.group().cloned());
        let id = arrival.message.id().clone();
        if let HandlerError::Failed(error) = &error {
            tally.failed += 1;
            let text = quietly(|| error.to_string());
            hub.emit(Event::HandlerFailed {
                id: id.clone(),
                key: key.clone(),
                group: group.clone(),
                attempt: arrival.attempt,
                error: text.map_or("an error that panics in `Display`".into(), Into::into),
            });
        }
        let is_rejected = matches!(error, HandlerError::Reject);
        let wanted = match error {
            HandlerError::Retry(wait) => Some(wait),
            _ => None,
        };
        quietly(|| drop(error));
        let limit = self.member.attempts();
        let is_last = limit != 0 && arrival.attempt >= limit;
        if is_last || is_rejected {
            tally.given_up += 1;
            let attempts = arrival.attempt;
            hub.emit(Event::GaveUp {
                id,
                key,
                group,
                attempts,
            });
            self.lane.settle(arrival.tag, Verdict::GivenUp);
            return None;
        }
        let mut backoff = backoff.unwrap_or_else(|| Backoff::new(self.member.backoff()));
        let wait = wanted.unwrap_or_else(|| backoff.next_wait(Duration::ZERO));
        let requeues =
            self.lane.group().is_some() && self.member.redelivery() == Redelivery::Requeue;
        if requeues && self.lane.settles() {
            self.lane.settle(arrival.tag, Verdict::Requeued);
            return None;
        }
        arrival.attempt = arrival.attempt.saturating_add(1);
        let due = clock::after(wait);
        if requeues {
            self.lane.delay();
            hub.pool
                .at(due, Timed::Requeue(Arc::clone(&self.lane), arrival));
            return None;
        }
        self.lane.hand_back(&self.member, None, batch, false);
        self.held = Some(Held { arrival, backoff });
        Some(End::At(due))
    }
}
