//! The threads that call the handlers.
//!
//! There are few threads while handlers return soon. While jobs wait, a thread named
//! `fanfeed-watch` checks the pool every millisecond (a tick) and starts threads, up to the limit.
//! If no job has ended since the last tick, it starts one thread, and after several such ticks more
//! than one. Every ten ticks it counts the threads that still run the same job as ten ticks before.
//! If fewer threads than usual remain for the other jobs, it starts one more, up to [`CROWD`] times
//! the usual number. So a long handler does not take a thread away from the other handlers. The
//! watching thread cannot distinguish handlers that wait from handlers that compute. The same
//! thread runs the timers: retries and timeouts of handlers. Threads that have been idle for ten
//! seconds end.

mod options;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::options::PoolOptions;
use crate::dispatch::timers::{Timed, Timers};
use crate::dispatch::{Job, Member};
use crate::sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, Ordering},
    thread,
};

/// The interval between ticks of the watching thread while jobs wait.
const TICK: Duration = Duration::from_millis(1);
/// The number of ticks after which a job that is still running counts as long.
const LONG: u32 = 10;
/// How many times the usual number of threads there may be because of long jobs, while other jobs
/// end.
const CROWD: usize = 8;
/// How often a thread without a job yields and looks again before it sleeps. These few microseconds
/// save a stream of messages the cost of wake-ups.
const SEARCHES: u32 = 16;
/// How long a thread without work stays.
const STAY: Duration = Duration::from_secs(10);

/// The number of threads to start after this many ticks without progress: one at first, for
/// handlers that work for some milliseconds, and then a growing number, for many handlers that
/// block. After fifty ticks there are five hundred threads.
fn growth(stalled: u32) -> usize {
    1 << (stalled / 8).min(5)
}

pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Threads wait here for jobs.
    work: Condvar,
    /// The watching thread waits here.
    watch: Condvar,
    options: PoolOptions,
    exhausted: Box<dyn Fn() + Send + Sync>,
    /// Whether jobs wait. Written under the lock, read without it.
    backlog: AtomicBool,
}

const NO_JOB: u64 = 0;
const NO_THREAD: u64 = u64::MAX;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// The number of runs of jobs that have ended. The watching thread reads it to see progress.
    ended: u64,
    /// The state of each thread: the number of a run of a job, from 1, or [`NO_JOB`]. [`NO_THREAD`]
    /// if the place has no thread.
    running: Vec<u64>,
    begun: u64,
    threads: usize,
    /// Threads that were started and have not run yet.
    starting: usize,
    /// Threads that wait at `work`, and the number of them that have been notified and have not
    /// looked yet.
    idle: usize,
    notified: usize,
    /// Threads that found no job and will look again.
    searching: usize,
    timers: Timers,
    watching: Watching,
    closed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Watching {
    /// The watching thread does not run.
    #[default]
    Absent,
    /// It waits for the next timer.
    Asleep,
    /// It checks the pool every tick.
    Awake,
}

/// Starts a thread. Returns false if the system cannot.
fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> bool {
    #[cfg(test)]
    if tests::HAS_NO_THREADS.get() {
        return false;
    }
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(body).is_ok()
}

impl Pool {
    pub(crate) fn new(options: PoolOptions, exhausted: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                watch: Condvar::new(),
                options,
                exhausted,
                backlog: AtomicBool::new(false),
            }),
        }
    }

    /// Runs a job soon. After the pool has ended, the job only gives up its place, on the calling
    /// thread.
    pub(crate) fn submit(&self, job: Job) {
        self.submit_all(vec![job]);
    }

    /// Runs jobs soon, as [`submit`](Self::submit) does.
    #[inline]
    pub(crate) fn submit_all(&self, jobs: Vec<Job>) {
        if !jobs.is_empty() {
            self.shared.submit(jobs);
        }
    }

    /// Whether other jobs wait.
    pub(crate) fn has_backlog(&self) -> bool {
        // ORDERING: a hint, read for each batch. It does no harm if a job yields for nothing, or
        // one batch late.
        self.shared.backlog.load(Ordering::Relaxed)
    }

    /// Sets a timer.
    pub(crate) fn at(&self, due: Instant, what: Timed) {
        let mut state = self.shared.state.lock();
        if state.closed {
            drop(state);
            return what.abandon();
        }
        state.timers.set(due, what);
        self.shared.watch(&mut state);
        self.shared.watch.notify_one();
    }

    /// Makes the jobs of a member that wait for a timer continue now.
    pub(crate) fn hurry(&self, member: &Arc<Member>) {
        let hurried = self.shared.state.lock().timers.take_jobs_of(member);
        for what in hurried {
            self.fire(what);
        }
    }

    fn fire(&self, what: Timed) {
        self.shared.fire(what);
    }

    pub(crate) fn threads(&self) -> usize {
        self.shared.state.lock().threads
    }

    /// Makes the threads end when they have run the waiting jobs.
    pub(crate) fn close(&self) {
        let (timers, jobs) = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            // If no thread could be started, no thread will run the jobs.
            let jobs = match state.threads {
                0 => std::mem::take(&mut state.jobs),
                _ => VecDeque::new(),
            };
            (std::mem::take(&mut state.timers), jobs)
        };
        self.shared.work.notify_all();
        self.shared.watch.notify_all();
        for what in timers.into_all() {
            what.abandon();
        }
        jobs.into_iter().for_each(Job::abandon);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// Returns a place in `running` for a new thread.
    fn take_place(&mut self) -> usize {
        let free = self.running.iter().position(|job| *job == NO_THREAD);
        let place = free.unwrap_or_else(|| {
            self.running.push(NO_JOB);
            self.running.len() - 1
        });
        self.running[place] = NO_JOB;
        place
    }

    /// Returns the number of threads to start while jobs wait. `usual` is the number when no
    /// handler blocks.
    fn wanted(&self, seen: &mut Option<Seen>, usual: usize) -> usize {
        let Some(last) = seen else {
            *seen = Some(Seen {
                ended: self.ended,
                stalled: 0,
                running: self.running.clone(),
                looks: 0,
            });
            return 0;
        };
        let has_stalled = last.ended == self.ended;
        last.ended = self.ended;
        last.stalled = if has_stalled { last.stalled + 1 } else { 0 };
        last.looks += 1;
        let mut is_crowded = false;
        if last.looks == LONG {
            let both = self.running.iter().zip(&last.running);
            let long = both
                .filter(|(now, last)| now == last && ![NO_JOB, NO_THREAD].contains(now))
                .count();
            is_crowded = self.threads - long < usual && self.threads < CROWD * usual;
            last.looks = 0;
            last.running.clone_from(&self.running);
        }
        match has_stalled {
            true => growth(last.stalled),
            false => usize::from(is_crowded),
        }
    }
}

/// What the watching thread saw at earlier ticks.
struct Seen {
    ended: u64,
    /// The number of consecutive ticks at which jobs waited and no job had ended.
    stalled: u32,
    /// The runs of some ticks ago.
    running: Vec<u64>,
    looks: u32,
}

impl Shared {
    fn submit(self: &Arc<Self>, jobs: Vec<Job>) {
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return jobs.into_iter().for_each(Job::abandon);
        }
        state.jobs.extend(jobs);
        // ORDERING: see `has_backlog`.
        self.backlog.store(true, Ordering::Relaxed);
        self.call_for_help(&mut state);
    }

    /// Ensures that threads take the waiting jobs. It wakes or starts one thread at a time, and
    /// each thread that takes a job wakes the next. While a thread is searching for a job, no other
    /// thread has to be woken.
    fn call_for_help(self: &Arc<Self>, state: &mut State) {
        if state.jobs.is_empty() || state.searching > 0 {
            return;
        }
        if state.idle > state.notified {
            state.notified += 1;
            self.work.notify_one();
        } else if state.threads < self.options.threads {
            self.start_thread(state);
        } else {
            self.wake_watch(state);
        }
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) {
        let shared = Arc::clone(self);
        // If no thread could be started now, the watching thread tries again while jobs wait.
        match spawn("fanfeed-handler", move || shared.work()) {
            true => {
                state.threads += 1;
                state.starting += 1;
            }
            false => self.wake_watch(state),
        }
    }

    /// Makes the watching thread check the pool every tick. If the thread cannot be started now,
    /// the next call tries again.
    fn wake_watch(self: &Arc<Self>, state: &mut State) {
        self.watch(state);
        if state.watching == Watching::Asleep {
            state.watching = Watching::Awake;
            self.watch.notify_one();
        }
    }

    /// Ensures that the watching thread runs.
    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.watching == Watching::Absent {
            let shared = Arc::clone(self);
            if spawn("fanfeed-watch", move || shared.keep_watch()) {
                state.watching = Watching::Asleep;
            }
        }
    }

    /// Runs a thread of the pool.
    fn work(self: Arc<Self>) {
        let mut state = self.state.lock();
        state.starting -= 1;
        let place = state.take_place();
        let mut searches = 0;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                if state.jobs.is_empty() {
                    // ORDERING: see `has_backlog`.
                    self.backlog.store(false, Ordering::Relaxed);
                }
                state.begun += 1;
                state.running[place] = state.begun;
                self.call_for_help(&mut state);
                drop(state);
                searches = 0;
                // A job catches the panics of its handler. This catches all other panics, such as a
                // panic of an observer of events, so that the thread survives.
                let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
                state = self.state.lock();
                state.ended += 1;
                state.running[place] = NO_JOB;
                continue;
            }
            if state.closed {
                break;
            }
            if searches < SEARCHES {
                searches += 1;
                state.searching += 1;
                drop(state);
                thread::yield_now();
                state = self.state.lock();
                state.searching -= 1;
                continue;
            }
            state.idle += 1;
            let waited = self.work.wait_for(&mut state, STAY);
            state.idle -= 1;
            if state.notified > 0 && !waited.timed_out() {
                state.notified -= 1;
            }
            state.notified = state.notified.min(state.idle);
            if waited.timed_out() && state.jobs.is_empty() {
                break;
            }
        }
        state.running[place] = NO_THREAD;
        state.threads -= 1;
    }

    /// Runs the watching thread.
    fn keep_watch(self: Arc<Self>) {
        let mut state = self.state.lock();
        // What it saw at the previous tick.
        let mut seen: Option<Seen> = None;
        let mut exhausted = false;
        loop {
            let now = Instant::now();
            let mut due = Vec::new();
            while let Some(what) = state.timers.take_due(now) {
                due.push(what);
            }
            if !due.is_empty() {
                drop(state);
                for what in due {
                    let _ = catch_unwind(AssertUnwindSafe(|| self.fire(what)));
                }
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            if state.jobs.is_empty() {
                state.watching = Watching::Asleep;
                exhausted = false;
                seen = None;
            } else if state.starting > 0 {
                // The system is too busy to run the threads that were started last. More threads
                // would not help.
            } else {
                state.watching = Watching::Awake;
                let wanted = state.wanted(&mut seen, self.options.threads);
                let room = self.options.limit.saturating_sub(state.threads);
                for _ in 0..wanted.min(room).min(state.jobs.len()) {
                    self.start_thread(&mut state);
                }
                let is_stalled = seen.as_ref().is_some_and(|seen| seen.stalled > 0);
                if is_stalled && room == 0 && !exhausted {
                    exhausted = true;
                    drop(state);
                    let _ = catch_unwind(AssertUnwindSafe(|| (self.exhausted)()));
                    state = self.state.lock();
                }
            }
            let next = state.timers.next_due();
            let wait = match (state.watching, next) {
                (Watching::Awake, _) => TICK,
                (_, Some(next)) => next.saturating_duration_since(now),
                (_, None) => STAY,
            };
            let waited = self.watch.wait_for(&mut state, wait);
            let unused = state.watching != Watching::Awake
                && state.jobs.is_empty()
                && state.timers.is_empty();
            if waited.timed_out() && unused && next.is_none() {
                break;
            }
        }
        state.watching = Watching::Absent;
    }

    fn fire(self: &Arc<Self>, what: Timed) {
        match what {
            Timed::Job(job) => self.submit(vec![job]),
            Timed::Requeue(lane, arrival) => lane.requeue(arrival),
            Timed::Overrun(member) => member.look_for_overruns(),
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Pool")
            .field("threads", &state.threads)
            .field("jobs", &state.jobs.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::{LONG, NO_JOB, PoolOptions, State};
    use crate::{Broker, HandlerError, MemoryOptions, Message, Publisher, SubscriberExt};

    std::thread_local! {
        /// Makes the start of a thread fail on the threads for which it is set.
        pub(super) static HAS_NO_THREADS: Cell<bool> = const { Cell::new(false) };
    }

    #[test]
    fn a_thread_is_started_for_each_that_a_handler_blocks() {
        let mut state = State::default();
        let places = [(); 3].map(|()| state.take_place());
        assert_eq!(places, [0, 1, 2]);
        state.threads = 3;
        let mut seen = None;
        // Two threads run short jobs, and the third runs one that blocks.
        let mut looks = |usual: usize, blocked: u64| {
            let looks = (0..LONG).map(|_| {
                state.begun += 2;
                state.ended += 1;
                state.running = vec![state.begun, blocked, NO_JOB];
                state.wanted(&mut seen, usual)
            });
            looks.sum::<usize>()
        };
        assert_eq!(looks(3, 7), 0, "it has seen nothing yet");
        assert_eq!(looks(3, 7), 1, "it is still there");
        assert_eq!(looks(2, 7), 0, "two others are enough");
        assert_eq!(looks(3, 9), 0, "it has gone on");
        // No job ends.
        let growing = [(); 9].map(|()| state.wanted(&mut seen, 3));
        assert_eq!(growing, [1, 1, 1, 1, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn what_no_thread_came_for_is_given_back_at_the_end() {
        let broker = MemoryOptions::new().build();
        let subscription = broker.subscribe("k", |_, _| Ok(())).unwrap();
        HAS_NO_THREADS.set(true);
        broker.publish(Message::new("k", "x")).unwrap();
        broker.close(Duration::ZERO).unwrap_err();
        HAS_NO_THREADS.set(false);
        assert!(subscription.closed().wait_timeout(Duration::from_secs(10)));
    }

    #[test]
    fn retries_go_on_after_a_time_without_threads() {
        let pool = PoolOptions::new().threads(1);
        let broker = MemoryOptions::new().pool(pool).build();
        let (tx, rx) = crossbeam_channel::unbounded();
        let told = tx.clone();
        let fails = AtomicBool::new(true);
        let handler = move |message: &Message, _: &crate::Context| {
            if fails.swap(false, Ordering::Relaxed) {
                return Err(HandlerError::Retry(Duration::from_millis(1)));
            }
            Ok(told.send(message.clone())?)
        };
        let _fails = broker.subscribe("fails", handler).unwrap();
        let _other = broker
            .subscribe("other", move |message, _| Ok(tx.send(message.clone())?))
            .unwrap();
        HAS_NO_THREADS.set(true);
        broker.publish(Message::new("fails", "x")).unwrap();
        HAS_NO_THREADS.set(false);
        broker.publish(Message::new("other", "x")).unwrap();
        for _ in 0..2 {
            rx.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }
}
