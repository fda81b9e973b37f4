//! A job: takes deliveries from a lane for one member and calls its handler.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed::Backoff;

use crate::clock;
use crate::context::Context;
use crate::dispatch::batch::Batch;
use crate::dispatch::segment::Run;
use crate::dispatch::spent::MANY;
use crate::dispatch::timers::Timed;
use crate::dispatch::{
    InHandler, Lane, Member, Parked, Parking, Spent, Started, Suspended, Tally, Unfinished,
    panic_text, quietly,
};
use crate::driver::Verdict;
use crate::event::Event;
use crate::handler::{HandlerError, Outcome};
use crate::message::Message;
use crate::observe::{self, Watch};
use crate::options::Redelivery;
use crate::sync::{mutant, thread};

/// A message on its way to a handler.
pub(crate) struct Arrival {
    pub(crate) message: Message,
    /// Identifies the delivery for the driver.
    pub(crate) tag: u64,
    /// How often this message has been given to a handler, including this time.
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
    /// The delivery that it tries again before all others.
    held: Option<Box<Held>>,
    /// The delivery whose handler continued without a thread and has ended.
    ended: Option<Box<(Suspended, Outcome)>>,
}

struct Held {
    arrival: Arrival,
    backoff: Backoff,
}

/// The state of one run of a job.
pub(crate) struct Turn {
    batch: Batch,
    /// Dropped last, because the drop says that the handler is no longer running.
    context: Context,
}

/// How often a job with an empty lane yields and checks again before it ends, while no other job
/// waits. So a stream of messages rarely has to start a job.
const LOOKS: u32 = 8;
/// A batch of fewer deliveries is small. After a small batch, a job pauses for some hundred
/// nanoseconds: a job that takes the lock for each message delays the publisher, and its cache
/// lines move between cores all the time.
const FEW: usize = 16;
const GATHER: u32 = 16;
/// How often a job checks its empty lane before it begins to yield.
const SPINS: u32 = 64;

/// How a run of a job ends.
enum End {
    /// It has given up its place.
    Done,
    /// Other jobs wait, so it goes to the end of the pool's queue.
    Yield,
    /// It continues at the given time, with the deliveries that it holds.
    At(Instant),
    /// Its handler continues without this thread. The job continues when the handler has ended.
    Later(Arc<Parking>, Arrival, Option<Backoff>, Instant),
}

impl Job {
    pub(crate) fn new(lane: Arc<Lane>, member: Arc<Member>) -> Self {
        Self {
            lane,
            member,
            held: None,
            ended: None,
        }
    }

    /// Identifies the job's member for the timers. The job keeps the member alive.
    pub(crate) fn member_address(&self) -> usize {
        Arc::as_ptr(&self.member).addr()
    }

    fn take_held(&mut self) -> Option<Box<Held>> {
        let held = self.held.take();
        if held.is_some() {
            self.lane.resume();
        }
        held
    }

    /// Gives up the place, and hands back the deliveries that it holds.
    pub(crate) fn abandon(mut self) {
        let mut held = self.take_held().map(|held| held.arrival);
        let mut batch = Batch::default();
        if let Some(ended) = self.ended.take() {
            let (suspended, outcome) = *ended;
            let Suspended {
                mut turn, arrival, ..
            } = suspended;
            turn.context.end();
            let handled = match outcome {
                Ok(()) => {
                    self.lane.settle(arrival.tag, Verdict::Handled);
                    Some(arrival)
                }
                Err(error) => {
                    quietly(|| drop(error));
                    held = Some(arrival);
                    None
                }
            };
            batch = std::mem::take(&mut turn.batch);
            drop(turn);
            quietly(|| drop(handled));
        }
        self.lane.hand_back(&self.member, held, &mut batch, true);
        self.member.try_finish();
    }

    /// Continues after the end of a handler that continued without a thread.
    #[cfg_attr(
        not(feature = "tokio"),
        allow(dead_code, reason = "only async handlers go on without their thread")
    )]
    pub(crate) fn go_on(mut self, suspended: Suspended, outcome: Outcome) {
        self.ended = Some(Box::new((suspended, outcome)));
        let hub = Arc::clone(self.lane.hub());
        hub.pool.submit(self);
    }

    pub(crate) fn run(mut self) {
        let (mut turn, mut resumed) = match self.ended.take() {
            Some(ended) => {
                let (suspended, outcome) = *ended;
                let Suspended {
                    turn,
                    arrival,
                    backoff,
                    began,
                } = suspended;
                (turn, Some((arrival, backoff, outcome, began)))
            }
            None => match self.member.enter() {
                Some(entry) => {
                    let (batch, context) = (Batch::default(), Context::new(entry));
                    (Turn { batch, context }, None)
                }
                None => return self.abandon(),
            },
        };
        loop {
            let mut tally = Tally::default();
            let end = {
                let _inside = InHandler::enter(&self.lane);
                let end = self.work(&mut turn, resumed.take(), &mut tally);
                if let Some(spent) = &self.lane.hub().spent
                    && !turn.batch.spent.is_empty()
                {
                    spent.keep(&mut turn.batch.spent);
                }
                // This may drop messages, while the member counts this thread as inside its
                // handler.
                if !matches!(end, End::Later(..)) {
                    quietly(|| turn.batch.run = Run::default());
                }
                end
            };
            self.count(&mut tally, None);
            let lane = Arc::clone(&self.lane);
            match end {
                End::Done => {}
                End::Yield => {
                    drop(turn);
                    lane.hub().pool.submit(self);
                }
                End::At(due) => {
                    drop(turn);
                    let member = Arc::clone(&self.member);
                    lane.hub().pool.at(due, Timed::Job(self));
                    // The member may have been cancelled before this timer was set.
                    if member.is_cancelled() && !mutant!("broker::no_look_after_the_timer") {
                        lane.hub().pool.hurry(&member);
                    }
                }
                End::Later(parking, arrival, backoff, began) => {
                    let suspended = Suspended {
                        turn,
                        arrival,
                        backoff,
                        began,
                    };
                    let parked = Box::new(Parked {
                        job: self,
                        suspended,
                    });
                    if let Some((parked, outcome)) = parking.park(parked) {
                        // The handler has already ended.
                        let Parked { job, suspended } = *parked;
                        self = job;
                        let Suspended {
                            arrival,
                            backoff,
                            began,
                            ..
                        } = suspended;
                        turn = suspended.turn;
                        resumed = Some((arrival, backoff, outcome, began));
                        continue;
                    }
                }
            }
            return;
        }
    }

    /// Adds the tally, and the time since the batch began, to the counters.
    fn count(&self, tally: &mut Tally, began: Option<Instant>) {
        let tally = std::mem::take(tally);
        self.member.handled(&tally);
        let took = began.map_or(Duration::ZERO, |began| began.elapsed());
        self.lane.hub().counters.handled(&tally, took);
    }

    fn work(
        &mut self,
        turn: &mut Turn,
        resumed: Option<(Arrival, Option<Backoff>, Outcome, Instant)>,
        tally: &mut Tally,
    ) -> End {
        if let Some((arrival, backoff, outcome, began)) = resumed {
            turn.context.end();
            let end = self.conclude(turn, arrival, outcome, backoff, tally);
            self.count(tally, Some(began));
            if let Some(end) = end {
                return end;
            }
        }
        if let Some(held) = self.take_held() {
            let Held { arrival, backoff } = *held;
            // The timers of a cancelled member end early. That must not use up attempts.
            if self.member.is_cancelled() && !mutant!("broker::retries_on_the_way_out") {
                self.lane
                    .hand_back(&self.member, Some(arrival), &mut turn.batch, true);
                return End::Done;
            }
            if let Some(end) = self.serve(turn, arrival, Some(backoff), tally) {
                return end;
            }
        }
        loop {
            // A job that was interrupted still has the rest of its batch.
            let mut is_first = false;
            if turn.batch.is_empty() {
                if !self.lane.take(&self.member, &mut turn.batch) {
                    return End::Done;
                }
                is_first = true;
            }
            let taken = turn.batch.len();
            let began = Instant::now();
            while !turn.batch.is_empty() {
                // The first delivery counts as begun since it was taken, under the lane's lock.
                if !std::mem::take(&mut is_first) && self.member.is_cancelled() {
                    self.lane
                        .hand_back(&self.member, None, &mut turn.batch, true);
                    return End::Done;
                }
                self.member.set_begun(turn.batch.len() - 1);
                let end = match turn.batch.queue.pop_front() {
                    Some(arrival) => self.serve(turn, arrival, None, tally),
                    None => self.serve_run(turn, tally),
                };
                if end.is_some() {
                    self.count(tally, Some(began));
                }
                if let Some(end) = end {
                    return end;
                }
            }
            self.count(tally, Some(began));
            if self.look(turn, taken < FEW) {
                return End::Yield;
            }
        }
    }

    /// Looks for the next delivery. Returns true if other jobs should get the thread first.
    fn look(&self, turn: &Turn, few: bool) -> bool {
        let pool = &self.lane.hub().pool;
        for look in 0..SPINS + LOOKS {
            let others_wait = pool.has_backlog();
            if turn.batch.run.has_more() || self.lane.has_queued() {
                if !others_wait && few {
                    for _ in 0..GATHER {
                        std::hint::spin_loop();
                    }
                }
                return others_wait;
            }
            if others_wait {
                return false;
            }
            match look < SPINS {
                true => std::hint::spin_loop(),
                false => thread::yield_now(),
            }
        }
        false
    }

    /// Calls the handler with one delivery. Returns `Some` if the job cannot continue now.
    #[inline]
    fn serve(
        &mut self,
        turn: &mut Turn,
        arrival: Arrival,
        backoff: Option<Backoff>,
        tally: &mut Tally,
    ) -> Option<End> {
        if arrival.attempt > 1 {
            tally.redelivered += 1;
        }
        let started = Self::call(&mut turn.context, &arrival.message, arrival.attempt);
        self.go_on_from(started, turn, arrival, backoff, tally)
    }

    /// Calls the handler with the first message of a run, in place. Returns `Some` if the job
    /// cannot continue now.
    #[inline]
    fn serve_run(&mut self, turn: &mut Turn, tally: &mut Tally) -> Option<End> {
        let Turn { batch, context } = turn;
        let message = batch.run.first()?;
        let started = Self::call(context, message, 1);
        if let Started::Done(Ok(())) = started {
            context.end();
            batch.run.pass();
            tally.delivered += 1;
            return None;
        }
        let arrival = Arrival::first(message.clone());
        batch.run.pass();
        self.go_on_from(started, turn, arrival, None, tally)
    }

    #[inline]
    fn call(context: &mut Context, message: &Message, attempt: u32) -> Started {
        context.begin(message, attempt);
        let watch = Watch::start();
        let called = catch_unwind(AssertUnwindSafe(|| {
            observe::handling(message, context, || {
                context.handler().start(message, context)
            })
        }));
        if !matches!(called, Ok(Started::Later(_))) {
            context.lane().hub().counters.meters.handled(watch);
        }
        called.unwrap_or_else(|panic| {
            let error =
                HandlerError::failed(format!("the handler panicked: {}", panic_text(&*panic)));
            quietly(|| drop(panic));
            Started::Done(Err(error))
        })
    }

    #[inline]
    fn go_on_from(
        &mut self,
        started: Started,
        turn: &mut Turn,
        arrival: Arrival,
        backoff: Option<Backoff>,
        tally: &mut Tally,
    ) -> Option<End> {
        let outcome = match started {
            Started::Done(outcome) => outcome,
            Started::Later(unfinished) => {
                return Some(self.suspend(&mut turn.context, arrival, backoff, &unfinished));
            }
        };
        turn.context.end();
        self.conclude(turn, arrival, outcome, backoff, tally)
    }

    #[cold]
    fn suspend(
        &self,
        context: &mut Context,
        arrival: Arrival,
        backoff: Option<Backoff>,
        unfinished: &Arc<dyn Unfinished>,
    ) -> End {
        self.member.set_unfinished(&context.token(), unfinished);
        let parking = context.take_parking().unwrap_or_default();
        End::Later(parking, arrival, backoff, Instant::now())
    }

    /// Acts on the outcome of a delivery. Returns `Some` if the job cannot continue now.
    #[inline]
    fn conclude(
        &mut self,
        turn: &mut Turn,
        arrival: Arrival,
        outcome: Outcome,
        backoff: Option<Backoff>,
        tally: &mut Tally,
    ) -> Option<End> {
        match outcome {
            Ok(()) => {
                tally.delivered += 1;
                self.lane.settle(arrival.tag, Verdict::Handled);
                match &self.lane.hub().spent {
                    Some(spent) if Spent::takes(&arrival.message) => {
                        turn.batch.spent.push(arrival.message);
                        if turn.batch.spent.len() >= MANY {
                            spent.keep(&mut turn.batch.spent);
                        }
                    }
                    _ => {
                        quietly(|| drop(arrival));
                    }
                }
                None
            }
            Err(error) => self.fail(arrival, error, backoff, &mut turn.batch, tally),
        }
    }

    #[cold]
    fn fail(
        &mut self,
        mut arrival: Arrival,
        error: HandlerError,
        backoff: Option<Backoff>,
        batch: &mut Batch,
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
        let is_attempt = !matches!(error, HandlerError::HandBack);
        let wanted = match error {
            HandlerError::Retry(wait) => Some(wait),
            _ => None,
        };
        quietly(|| drop(error));
        if !is_attempt && self.member.is_cancelled() {
            self.lane
                .hand_back(&self.member, Some(arrival), batch, true);
            return Some(End::Done);
        }
        let limit = self.member.attempts();
        let requeues =
            self.lane.group().is_some() && self.member.redelivery() == Redelivery::Requeue;
        // A server also counts deliveries that no handler saw. So a message that comes with a count
        // is tried once more before it is given up. Where each attempt is a delivery, there is no
        // other count.
        let is_counted = requeues || arrival.attempt == 1 || backoff.is_some();
        let is_last = limit != 0 && arrival.attempt >= limit && is_counted && is_attempt;
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
            quietly(|| drop(arrival));
            return None;
        }
        let mut backoff = backoff.unwrap_or_else(|| Backoff::new(self.member.backoff()));
        let wait = wanted.unwrap_or_else(|| backoff.next_wait(Duration::ZERO));
        if requeues && self.lane.settles() {
            self.lane.settle(arrival.tag, Verdict::Requeued);
            quietly(|| drop(arrival));
            return None;
        }
        arrival.attempt = arrival.attempt.saturating_add(u32::from(is_attempt));
        let due = clock::after(wait);
        if requeues {
            self.lane.delay();
            hub.pool
                .at(due, Timed::Requeue(Arc::clone(&self.lane), arrival));
            return None;
        }
        self.lane.hand_back(&self.member, None, batch, false);
        self.held = Some(Box::new(Held { arrival, backoff }));
        Some(End::At(due))
    }
}
