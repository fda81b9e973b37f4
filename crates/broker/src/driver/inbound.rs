//! The thread that receives, and its tasks.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use fanfeed::Backoff;

use super::connection::{Connections, Side};
use super::engine::EngineOptions;
use super::guarded::{guarded, open};
use super::sink::Sink;
use super::transport::{Inbound, LinkError, SinkError, Transport, Verdict};
use crate::dispatch::Hub;
use crate::error::ConnectError;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// The tasks of the receiving thread.
pub(crate) struct InboundCommands {
    state: Mutex<State>,
    /// The thread waits here before it connects again, and other threads wait here for its end.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// All subscriptions, by the numbers of their sinks. They are opened again after a reconnect.
    sinks: HashMap<u64, Sink>,
    opens: Vec<(u64, Sender<Opened>)>,
    closes: Vec<Sink>,
    settles: Vec<(u64, u64, Verdict)>,
    interrupter: Option<Arc<dyn Fn() + Send + Sync>>,
    stopped: bool,
    ended: bool,
}

/// The outcome of opening a subscription.
pub(crate) enum Opened {
    Live,
    /// The connection was lost: it is opened after the reconnect.
    Pending,
    Refused(Arc<str>),
}

/// The subscriptions that a side opens later ([`SinkError::Later`]), by the numbers of their sinks,
/// and the callers that wait for them.
type Opening = HashMap<u64, (Sink, Option<Sender<Opened>>)>;

/// The number of references to a lane without jobs: from its sink and its member.
const LANE_HELD: usize = 2;

/// How long a `pump` may wait. It is interrupted when there is a task.
const PUMP: Duration = Duration::from_millis(500);

impl InboundCommands {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.state.lock().sinks.len()
    }

    pub(crate) fn sinks(&self) -> Vec<Sink> {
        self.state.lock().sinks.values().cloned().collect()
    }

    /// Adds a subscription. The answer comes over the channel. Returns false after the end of the
    /// thread.
    pub(crate) fn open(&self, sink: Sink, answer: Sender<Opened>) -> bool {
        let mut state = self.state.lock();
        if state.stopped {
            return false;
        }
        state.opens.push((sink.id(), answer));
        state.sinks.insert(sink.id(), sink);
        self.interrupt(state);
        true
    }

    pub(crate) fn close(&self, id: u64) {
        let mut state = self.state.lock();
        let Some(sink) = state.sinks.remove(&id) else {
            return;
        };
        sink.close();
        state.opens.retain(|(open, _)| *open != id);
        // If no side knows the subscription, there is nothing to close: a program that subscribes
        // and unsubscribes while the server is away leaves nothing behind. After the end of the
        // thread, no thread would take the task, and dropping it may end the broker.
        if state.ended || !sink.was_tried() {
            drop(state);
            return;
        }
        state.closes.push(sink);
        self.interrupt(state);
    }

    pub(crate) fn settle(&self, id: u64, tag: u64, verdict: Verdict) {
        let mut state = self.state.lock();
        if state.ended {
            return;
        }
        state.settles.push((id, tag, verdict));
        if state.settles.len() == 1 {
            self.interrupt(state);
        }
    }

    pub(crate) fn wake(&self) {
        self.interrupt(self.state.lock());
    }

    fn interrupt(&self, state: MutexGuard<'_, State>) {
        let interrupter = state.interrupter.clone();
        drop(state);
        if let Some(interrupter) = interrupter {
            interrupter();
        }
    }

    /// Makes the thread end when it has done its tasks.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        self.changed.notify_all();
        self.interrupt(state);
    }

    /// Waits for the end of the thread until the deadline.
    pub(crate) fn wait_ended(&self, deadline: Instant) {
        let mut state = self.state.lock();
        while !state.ended && !self.changed.wait_until(&mut state, deadline).timed_out() {}
    }

    /// Runs the thread: opens the side that receives, and receives until the end. `opened` gets the
    /// result of the first attempt.
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
        let mut side: Option<Box<dyn Inbound>> = None;
        let mut up_since = Instant::now();
        // Closed sinks for which the thread may still get verdicts.
        let mut gone: HashMap<u64, Sink> = HashMap::new();
        let mut opening = Opening::new();
        loop {
            let Some(link) = &mut side else {
                match open(|| transport.open_inbound()) {
                    Ok(mut link) => {
                        up_since = Instant::now();
                        self.state.lock().interrupter = Some(link.interrupter());
                        if let Err(error) = self.open_again(&mut *link, &mut opening) {
                            connections.down(Side::Inbound, error.reason(), hub);
                            self.pend(&mut opening);
                            drop_side(link);
                            if !self.wait_before_retry(backoff.next_wait(Duration::ZERO)) {
                                break;
                            }
                            continue;
                        }
                        side = Some(link);
                        connections.up(Side::Inbound, hub);
                    }
                    Err(error) => {
                        connections.down(Side::Inbound, &error.to_string(), hub);
                        let is_first = opened.is_some() && !options.lazy;
                        if let Some(opened) = opened.take() {
                            let _ = opened.send(Err(error));
                        }
                        self.pend(&mut opening);
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
            if let Some(spent) = &hub.spent {
                spent.drop_all();
            }
            let stopped = match self.obey(&mut **link, &mut gone, &mut opening) {
                Ok(true) => break,
                Ok(false) => guarded(|| link.pump(PUMP))
                    .and_then(|()| conclude_opened(&mut **link, &mut opening)),
                Err(error) => Err(error),
            };
            if let Err(error) = stopped {
                self.state.lock().interrupter = None;
                if let Some(link) = side.take() {
                    drop_side(link);
                }
                connections.down(Side::Inbound, error.reason(), hub);
                self.pend(&mut opening);
                if !self.wait_before_retry(backoff.next_wait(up_since.elapsed())) {
                    break;
                }
            }
        }
        if let Some(mut link) = side {
            let _ = guarded(|| {
                link.finish();
                Ok(())
            });
            drop_side(link);
        }
        let _ = catch_unwind(AssertUnwindSafe(|| transport.ended()));
        let mut state = self.state.lock();
        state.interrupter = None;
        state.stopped = true;
        state.ended = true;
        state.opens.clear();
        state.settles.clear();
        // They refer to the broker, which refers to this.
        let closes = std::mem::take(&mut state.closes);
        let late: Vec<Sink> = state.sinks.values().cloned().collect();
        drop(state);
        self.changed.notify_all();
        drop(closes);
        // Subscriptions that were added after `close` had ended the others.
        for sink in late {
            sink.member().end_with(None, false);
        }
    }

    /// Opens all subscriptions on a new connection.
    fn open_again(&self, link: &mut dyn Inbound, opening: &mut Opening) -> Result<(), LinkError> {
        // Under one lock. With two, a subscription that is added in between would be missed. The
        // next `obey` closes the closed subscriptions, after their last verdicts.
        let (sinks, mut asked) = {
            let mut state = self.state.lock();
            let asked: HashMap<u64, Sender<Opened>> = state.opens.drain(..).collect();
            let sinks: Vec<Sink> = state.sinks.values().cloned().collect();
            sinks.iter().for_each(Sink::set_tried);
            (sinks, asked)
        };
        for sink in sinks {
            let answer = asked.remove(&sink.id());
            let result = open_sink(link, &sink, answer, opening);
            if result.is_err() {
                // The callers of the remaining subscriptions learn that these are pending.
                for (_, answer) in asked {
                    let _ = answer.send(Opened::Pending);
                }
                return result;
            }
        }
        Ok(())
    }

    /// Does the tasks of the thread. Returns true if the thread has to end.
    fn obey(
        &self,
        link: &mut dyn Inbound,
        gone: &mut HashMap<u64, Sink>,
        opening: &mut Opening,
    ) -> Result<bool, LinkError> {
        // Closed sinks whose last verdict has arrived: every job that could still send a verdict
        // holds a reference to the lane.
        let is_over = |sink: &Sink| Arc::strong_count(sink.lane()) <= LANE_HELD;
        let over: HashSet<u64> = gone
            .iter()
            .filter(|(_, sink)| is_over(sink))
            .map(|(id, _)| *id)
            .collect();
        let (opens, closes, settles, sinks, stopped) = {
            let mut state = self.state.lock();
            let opens = std::mem::take(&mut state.opens);
            let settles = std::mem::take(&mut state.settles);
            // Consecutive verdicts are mostly about the same subscription.
            let runs = settles.chunk_by(|(one, ..), (other, ..)| one == other);
            let wanted: HashSet<u64> = opens
                .iter()
                .map(|(id, _)| *id)
                .chain(runs.map(|run| run[0].0))
                .collect();
            let known = |id: &u64| state.sinks.get(id).map(|sink| (*id, sink.clone()));
            let sinks: HashMap<u64, Sink> = wanted.iter().filter_map(known).collect();
            sinks.values().for_each(Sink::set_tried);
            (
                opens,
                std::mem::take(&mut state.closes),
                settles,
                sinks,
                state.stopped,
            )
        };
        gone.extend(closes.iter().map(|sink| (sink.id(), sink.clone())));
        let (mut settles, mut opens) = (settles.into_iter(), opens.into_iter());
        let mut closes = closes.into_iter();
        let done = (|| {
            let mut last = None;
            for (id, tag, verdict) in settles.by_ref() {
                let known = match last {
                    Some((last, sink)) if last == id => sink,
                    _ => sinks.get(&id).or_else(|| gone.get(&id)),
                };
                last = Some((id, known));
                if let Some(sink) = known {
                    guarded(|| {
                        link.settle(sink, tag, verdict);
                        Ok(())
                    })?;
                }
            }
            for (id, answer) in opens.by_ref() {
                if let Some(sink) = sinks.get(&id) {
                    open_sink(link, sink, Some(answer), opening)?;
                }
            }
            for sink in closes.by_ref() {
                opening.remove(&sink.id());
                guarded(|| {
                    link.close(&sink);
                    Ok(())
                })?;
            }
            Ok(())
        })();
        if let Err(error) = done {
            for (_, answer) in opens {
                let _ = answer.send(Opened::Pending);
            }
            // The next connection gets the tasks that this one did not do.
            let mut state = self.state.lock();
            state.settles.splice(0..0, settles);
            state.closes.splice(0..0, closes);
            return Err(error);
        }
        gone.retain(|id, _| !over.contains(id));
        Ok(stopped)
    }

    /// Tells the callers that wait for their subscription that it is pending.
    fn pend(&self, opening: &mut Opening) {
        let opens = std::mem::take(&mut self.state.lock().opens);
        let asked = opens.into_iter().map(|(_, answer)| answer);
        let later = opening.drain().filter_map(|(_, (_, answer))| answer);
        for answer in asked.chain(later) {
            let _ = answer.send(Opened::Pending);
        }
    }

    /// Waits before the next attempt to connect. Returns false if the thread has to end.
    fn wait_before_retry(&self, wait: Duration) -> bool {
        let deadline = Instant::now() + wait;
        loop {
            let mut state = self.state.lock();
            if state.stopped {
                return false;
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return !state.stopped;
            }
        }
    }
}

/// Opens one subscription, or begins to open it.
fn open_sink(
    link: &mut dyn Inbound,
    sink: &Sink,
    answer: Option<Sender<Opened>>,
    opening: &mut Opening,
) -> Result<(), LinkError> {
    let result = guarded(|| Ok(link.open(sink))).unwrap_or_else(|error| Err(error.into()));
    conclude(sink.clone(), answer, result, opening)
}

/// Takes the outcomes of the subscriptions that a side opened later.
fn conclude_opened(link: &mut dyn Inbound, opening: &mut Opening) -> Result<(), LinkError> {
    for (id, result) in guarded(|| Ok(link.opened()))? {
        if let Some((sink, answer)) = opening.remove(&id) {
            conclude(sink, answer, result, opening)?;
        }
    }
    Ok(())
}

/// Tells the caller that waits for a subscription its outcome.
fn conclude(
    sink: Sink,
    answer: Option<Sender<Opened>>,
    result: Result<(), SinkError>,
    opening: &mut Opening,
) -> Result<(), LinkError> {
    let tell = |opened| {
        let answer = answer.as_ref();
        answer.is_some_and(|answer| answer.send(opened).is_ok())
    };
    match result {
        Ok(()) => {
            sink.member().live().set();
            tell(Opened::Live);
            Ok(())
        }
        Err(SinkError::Refused(reason)) => {
            if tell(Opened::Refused(Arc::clone(&reason))) {
                sink.member().set_told();
            }
            sink.fail(SinkError::Refused(reason));
            Ok(())
        }
        Err(SinkError::Link(error)) => {
            tell(Opened::Pending);
            Err(error)
        }
        Err(SinkError::Later) => {
            opening.insert(sink.id(), (sink, answer));
            Ok(())
        }
    }
}

fn drop_side(link: Box<dyn Inbound>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(link)));
}
