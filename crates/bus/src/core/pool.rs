//! The threads that call asynchronous listeners.
//!
//! There are few of them while listeners return soon. Jobs that wait are looked at every
//! millisecond by the thread `fanfeed-bus-watch`: if no job has ended since it last looked, it
//! starts one thread, and after some such looks several, up to the limit. A thread whose listener
//! waits for a dispatch or a bus is replaced at once and does not count. The watching thread also
//! runs the timers. Threads that had nothing to do for ten seconds end.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::{Job, Overrun};
use crate::quietly::quietly;
use crate::sync::{Condvar, Mutex, mutant, thread, thread_local};

/// How often the watching thread looks while jobs wait.
const TICK: Duration = Duration::from_millis(1);
/// How often a thread that finds no job yields and looks again before it sleeps.
const SEARCHES: u32 = if cfg!(fanfeed_shuttle) { 0 } else { 16 };
/// How long a thread without work stays.
const STAY: Duration = Duration::from_secs(10);

/// How many threads to start after this many ticks without progress.
fn growth(stalled: u32) -> usize {
    1 << (stalled / 8).min(5)
}

/// What a thread of the pool does next.
pub(crate) enum Work {
    Call(Job),
    Run(Box<dyn FnOnce() + Send>),
}

impl Work {
    fn run(self) {
        match self {
            Self::Call(job) => job.run(),
            Self::Run(run) => run(),
        }
    }

    /// There is no thread for it any more.
    fn abandon(self) {
        match self {
            Self::Call(job) => job.abandon(),
            Self::Run(run) => run(),
        }
    }
}

pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Where threads wait for jobs.
    work: Condvar,
    /// Where the watching thread waits.
    watch: Condvar,
    threads: usize,
    limit: usize,
    exhausted: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Work>,
    /// How many jobs have ended: the watching thread sees progress by this.
    ended: u64,
    threads: usize,
    /// Threads that were started and have not run yet.
    starting: usize,
    /// Threads whose listener waits for a dispatch or a bus.
    blocked: usize,
    /// Threads that wait at `work`, and how many of them have been notified and have not yet
    /// looked.
    idle: usize,
    notified: usize,
    /// Threads that found no job and are about to look again.
    searching: usize,
    timers: BTreeMap<(Instant, u64), Arc<Overrun>>,
    /// The number of the last timer.
    timer: u64,
    watching: Watching,
    is_closed: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Watching {
    #[default]
    Absent,
    /// It waits for the next timer.
    Asleep,
    /// It looks every tick.
    Awake,
}

thread_local! {
    /// The pool that the calling thread belongs to.
    static OWN: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Runs something that waits for listeners. If the calling thread belongs to a pool, another one
/// takes its place meanwhile.
pub(crate) fn blocking<R>(wait: impl FnOnce() -> R) -> R {
    struct Blocked(Option<Arc<Shared>>);
    impl Drop for Blocked {
        fn drop(&mut self) {
            if let Some(pool) = &self.0 {
                pool.state.lock().blocked -= 1;
            }
        }
    }
    let pool = OWN.try_with(|own| own.borrow().clone()).ok().flatten();
    let blocked = Blocked(pool.filter(|_| !mutant!("bus::waiting_thread_is_not_replaced")));
    if let Some(pool) = &blocked.0 {
        let mut state = pool.state.lock();
        state.blocked += 1;
        pool.call_for_help(&mut state);
    }
    wait()
}

impl Pool {
    pub(crate) fn new(
        threads: usize,
        limit: usize,
        exhausted: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                watch: Condvar::new(),
                threads,
                limit,
                exhausted,
            }),
        }
    }

    /// Runs a job soon. After the end of the pool it is abandoned, on the calling thread.
    pub(crate) fn submit(&self, work: Work) {
        let mut state = self.shared.state.lock();
        if state.is_closed {
            drop(state);
            return work.abandon();
        }
        state.jobs.push_back(work);
        self.shared.call_for_help(&mut state);
    }

    /// Fires at the given time, unless it is taken back. The number identifies the timer.
    pub(crate) fn set_timer(&self, due: Instant, overrun: Arc<Overrun>) -> (Instant, u64) {
        let mut state = self.shared.state.lock();
        state.timer += 1;
        let key = (due, state.timer);
        let is_first = state
            .timers
            .first_key_value()
            .is_none_or(|(first, _)| key < *first);
        state.timers.insert(key, overrun);
        self.shared.watch(&mut state);
        if is_first {
            self.shared.watch.notify_one();
        }
        key
    }

    pub(crate) fn take_timer(&self, key: (Instant, u64)) {
        let mut state = self.shared.state.lock();
        let taken = state.timers.remove(&key);
        if state.is_closed {
            // The watching thread ends with the last timer.
            self.shared.watch.notify_all();
        }
        drop(state);
        drop(taken);
    }

    pub(crate) fn threads(&self) -> usize {
        self.shared.state.lock().threads
    }

    /// Takes out the jobs that no thread has begun.
    pub(crate) fn abandon_jobs(&self) {
        let jobs = std::mem::take(&mut self.shared.state.lock().jobs);
        jobs.into_iter().for_each(Work::abandon);
    }

    /// Lets the threads end. Jobs that still wait are abandoned, on the calling thread: all threads
    /// may be stuck in listeners, or none could be started.
    pub(crate) fn close(&self) {
        let jobs = {
            let mut state = self.shared.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.jobs)
        };
        self.shared.work.notify_all();
        self.shared.watch.notify_all();
        jobs.into_iter().for_each(Work::abandon);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Makes sure that threads take the waiting jobs. It wakes or starts one thread at a time, and
    /// each thread that takes a job calls for the next. While a thread is searching for a job, none
    /// has to be woken.
    fn call_for_help(self: &Arc<Self>, state: &mut State) {
        if state.jobs.is_empty() || state.searching > 0 {
            return;
        }
        if state.idle > state.notified {
            state.notified += 1;
            self.work.notify_one();
        } else if state.threads - state.blocked < self.threads {
            self.start_thread(state);
        } else {
            self.wake_watch(state);
        }
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) {
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("fanfeed-bus".into());
        // If no thread could be started now, the watching thread tries again while jobs wait.
        match thread.spawn(move || shared.work()) {
            Ok(_) => {
                state.threads += 1;
                state.starting += 1;
            }
            Err(_) => self.wake_watch(state),
        }
    }

    fn wake_watch(self: &Arc<Self>, state: &mut State) {
        self.watch(state);
        if state.watching == Watching::Asleep {
            state.watching = Watching::Awake;
            self.watch.notify_one();
        }
    }

    /// Makes sure that the watching thread runs.
    fn watch(self: &Arc<Self>, state: &mut State) {
        if state.watching == Watching::Absent {
            let shared = Arc::clone(self);
            let thread = thread::Builder::new().name("fanfeed-bus-watch".into());
            if thread.spawn(move || shared.keep_watch()).is_ok() {
                state.watching = Watching::Asleep;
            }
        }
    }

    /// What a thread of the pool does.
    fn work(self: Arc<Self>) {
        let _ = OWN.try_with(|own| own.replace(Some(Arc::clone(&self))));
        let mut state = self.state.lock();
        state.starting -= 1;
        let mut searches = 0;
        loop {
            if let Some(work) = state.jobs.pop_front() {
                self.call_for_help(&mut state);
                drop(state);
                searches = 0;
                // A listener's panic is caught where it is called. This keeps a fault of the crate
                // from taking the thread.
                quietly(|| work.run());
                state = self.state.lock();
                state.ended += 1;
                continue;
            }
            if state.is_closed {
                break;
            }
            if searches != SEARCHES {
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
        state.threads -= 1;
        if state.is_closed {
            // It ends when the last job is done.
            self.watch.notify_all();
        }
        drop(state);
        let own = OWN.try_with(|own| own.take());
        drop(own);
    }

    /// What the watching thread does.
    fn keep_watch(self: Arc<Self>) {
        let mut state = self.state.lock();
        let mut seen = state.ended;
        let mut is_exhausted = false;
        // Ticks in which jobs waited and none ended.
        let mut stalled = 0;
        loop {
            let now = Instant::now();
            let due = state.timers.first_key_value().map(|((due, _), _)| *due);
            if due.is_some_and(|due| due <= now) {
                let fired = state.timers.pop_first();
                drop(state);
                quietly(|| fired.map(|(_, overrun)| overrun.fire()));
                state = self.state.lock();
                continue;
            }
            if state.is_closed && state.jobs.is_empty() && due.is_none() {
                break;
            }
            if state.jobs.is_empty() {
                state.watching = Watching::Asleep;
                (is_exhausted, stalled) = (false, 0);
            } else if state.starting > 0 {
                // The system is too busy to run the last ones that were started: more of them would
                // not help.
            } else if state.watching == Watching::Awake && state.ended == seen {
                stalled += 1;
                let room = self.limit.saturating_sub(state.threads - state.blocked);
                for _ in 0..growth(stalled).min(room).min(state.jobs.len()) {
                    self.start_thread(&mut state);
                }
                if room == 0 && !is_exhausted {
                    is_exhausted = true;
                    drop(state);
                    quietly(|| (self.exhausted)());
                    state = self.state.lock();
                    // The pool may have been closed meanwhile.
                    continue;
                }
            } else {
                state.watching = Watching::Awake;
                stalled = 0;
            }
            seen = state.ended;
            let wait = match (state.watching, due) {
                (Watching::Awake, _) => TICK,
                (_, Some(due)) => due.saturating_duration_since(now).min(STAY),
                (_, None) => STAY,
            };
            let waited = self.watch.wait_for(&mut state, wait);
            let is_unused = state.jobs.is_empty() && state.timers.is_empty();
            if waited.timed_out() && is_unused && due.is_none() {
                break;
            }
        }
        state.watching = Watching::Absent;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}
