//! Timed wake-ups: for tasks whose carriers cannot tell when they have room, and for the watch of a
//! [`WakerSet`](super::WakerSet).
//!
//! One thread serves all of them. It is started when first needed, and ends after an idle period.
//!
//! One lock protects the set alarms, and whether there is a thread. A thread that sets an alarm
//! sees under the lock that the alarm thread runs, or starts it. The alarm thread ends only if it
//! sees under the lock that nothing is set. Wakers are cloned, woken and dropped outside of the
//! lock.

use std::collections::BTreeMap;
use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::parker::Parker;
use super::quietly::{quietly, wake};
use crate::sync::{self, MODELLED, Mutex, global, mutant, spawn_named};

/// How long the thread waits for an alarm before it ends.
const IDLE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 10_000 });

/// If no thread can be started, a task is delayed for at most this long, and then polls again.
const LONGEST_SLEEP: Duration = Duration::from_millis(1);

global! {
    static ALARMS: Mutex<Alarms> = Mutex::new(Alarms::new());
}

/// The time of an alarm, and a number that distinguishes it from other alarms at that time.
type Key = (Instant, u64);

struct Alarms {
    set: BTreeMap<Key, Waker>,
    next: u64,
    has_thread: bool,
    /// Wakes the thread, while it sleeps.
    sleeper: Option<Waker>,
}

/// The alarm of one task. Setting it again replaces it, dropping it cancels it.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Key>);

impl Alarm {
    /// The time that the alarm is set for, which may be past.
    pub(crate) fn at(&self) -> Option<Instant> {
        self.0.map(|(at, _)| at)
    }

    /// Wakes `waker` at `at` instead of the time set before. An alarm that is already set for both
    /// is left as it is.
    ///
    /// If the thread cannot be started, this sleeps until `at`, at most a millisecond, and then
    /// wakes `waker`.
    pub(crate) fn set(&mut self, at: Instant, waker: &Waker) {
        let is_set = |key: &Key| {
            let alarms = ALARMS.lock();
            let held = alarms.set.get(key);
            key.0 == at && held.is_some_and(|held| held.will_wake(waker))
        };
        if self.0.as_ref().is_some_and(is_set) {
            return;
        }
        match insert(at, Duration::ZERO, waker.clone()) {
            Ok(key) => drop(remove(self.0.replace(key))),
            Err(_) => {
                drop(remove(self.0.take()));
                let left = at.saturating_duration_since(Instant::now());
                sync::sleep(left.min(LONGEST_SLEEP));
                waker.wake_by_ref();
            }
        }
    }

    /// Cancels the alarm and drops the waker.
    pub(crate) fn cancel(&mut self) {
        if self.0.is_none() {
            return;
        }
        let waker = remove(self.0.take());
        // The caller may be unwinding.
        quietly(|| drop(waker));
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Wakes `waker` once: at `at`, or up to `slack` earlier if there is an alarm at such a time. So
/// many callers take few wake-ups of the thread.
///
/// # Errors
///
/// If the thread cannot be started. Then `waker` will not be woken.
pub(crate) fn wake_at(at: Instant, slack: Duration, waker: Waker) -> io::Result<()> {
    insert(at, slack, waker).map(drop)
}

fn insert(at: Instant, slack: Duration, waker: Waker) -> io::Result<Key> {
    let mut alarms = ALARMS.lock();
    if !alarms.has_thread && sync::timers_fire() {
        spawn_named("fanfeed-alarm", run)?;
        alarms.has_thread = true;
    }
    let key = (alarms.shared_time(at, slack), alarms.next);
    alarms.next += 1;
    alarms.set.insert(key, waker);
    let is_next = alarms
        .set
        .first_key_value()
        .is_some_and(|(first, _)| *first == key);
    let sleeper = alarms.sleeper.take_if(|_| is_next);
    drop(alarms);
    if let Some(sleeper) = sleeper {
        sleeper.wake();
    }
    Ok(key)
}

fn remove(key: Option<Key>) -> Option<Waker> {
    let key = key?;
    ALARMS.lock().set.remove(&key)
}

/// Whether the alarm thread still runs.
#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
pub fn has_alarm_thread() -> bool {
    ALARMS.lock().has_thread
}

fn run() {
    let parker = Parker::current();
    let mut idle_until = Instant::now() + IDLE;
    loop {
        let now = Instant::now();
        let step = ALARMS.lock().step(now, idle_until, parker.waker());
        match step {
            Step::Wake(waker) => {
                wake(waker);
                idle_until = now + IDLE;
            }
            Step::Sleep(until) => parker.park(Some(until)),
            Step::End => {
                if mutant!("alarm_ends_without_another_look") {
                    ALARMS.lock().has_thread = false;
                }
                return;
            }
        }
    }
}

/// The thread's next step.
enum Step {
    Wake(Waker),
    Sleep(Instant),
    End,
}

impl Alarms {
    const fn new() -> Self {
        Self {
            set: BTreeMap::new(),
            next: 0,
            has_thread: false,
            sleeper: None,
        }
    }

    /// The time of the last alarm up to `at`, if it is at most `slack` earlier, or else `at`. No
    /// alarm is between the two, so a new alarm comes in the same order at either.
    fn shared_time(&self, at: Instant, slack: Duration) -> Instant {
        let Some(earliest) = at.checked_sub(slack).filter(|earliest| *earliest < at) else {
            return at;
        };
        let mut others = self.set.range((earliest, 0)..=(at, u64::MAX));
        others.next_back().map_or(at, |((time, _), _)| *time)
    }

    fn step(&mut self, now: Instant, idle_until: Instant, thread: &Waker) -> Step {
        self.sleeper = None;
        let until = match self.set.first_entry() {
            // In a model every time is already past.
            Some(first) if first.key().0 <= now || MODELLED => return Step::Wake(first.remove()),
            Some(first) => first.key().0,
            None if idle_until <= now || MODELLED => {
                self.has_thread = mutant!("alarm_ends_without_another_look");
                return Step::End;
            }
            None => idle_until,
        };
        self.sleeper = Some(thread.clone());
        Step::Sleep(until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Wake, Waker};
    use std::time::{Duration, Instant};

    use super::{ALARMS, Alarm, Alarms, IDLE, wake_at};

    const LIMIT: Duration = Duration::from_secs(20);

    struct Bell(std::sync::mpsc::Sender<Instant>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(Instant::now());
        }
    }

    fn eventually(mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < LIMIT, "the condition is not met");
            crate::sync::yield_now();
        }
    }

    #[test]
    fn the_thread_lasts_while_there_are_alarms() {
        let (ring, rung) = std::sync::mpsc::channel();
        let waker = Waker::from(Arc::new(Bell(ring)));
        // Later than the thread waits for work. Each is set before the one before it rings.
        let begun = Instant::now();
        for idle in [1, 3, 2] {
            let at = begun + idle * IDLE + IDLE / 2;
            wake_at(at, Duration::ZERO, waker.clone()).unwrap();
        }
        for idle in 1..=3 {
            let at = rung.recv_timeout(LIMIT).unwrap();
            assert!(at >= begun + idle * IDLE, "rung before its time");
        }
        eventually(|| !ALARMS.lock().has_thread);
        // A later alarm starts another thread.
        wake_at(Instant::now(), Duration::ZERO, waker).unwrap();
        rung.recv_timeout(LIMIT).unwrap();
    }

    #[test]
    fn alarms_share_the_time_of_the_last_one_within_their_slack() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let slack = Duration::from_millis(10);
        let mut alarms = Alarms::new();
        assert_eq!(alarms.shared_time(at(100), slack), at(100));
        for (number, millis) in (0..).zip([80, 90, 95, 101]) {
            alarms
                .set
                .insert((at(millis), number), Waker::noop().clone());
        }
        assert_eq!(alarms.shared_time(at(100), slack), at(95));
        assert_eq!(alarms.shared_time(at(100), Duration::ZERO), at(100));
        assert_eq!(alarms.shared_time(at(200), slack), at(200));
        assert_eq!(alarms.shared_time(at(101), slack), at(101));
    }

    #[test]
    fn an_alarm_is_set_once_however_often_and_is_removed_when_dropped() {
        let (ring, rung) = std::sync::mpsc::channel();
        let bell = Arc::new(Bell(ring));
        let waker = Waker::from(Arc::clone(&bell));
        let mut alarm = Alarm::default();
        let far = Instant::now() + Duration::from_secs(3600);
        for _ in 0..1000 {
            alarm.set(far, &waker);
        }
        assert_eq!(Arc::strong_count(&bell), 3, "the waker is held once");
        for later in 1..1000 {
            alarm.set(far + Duration::from_secs(later), &waker);
        }
        assert_eq!(Arc::strong_count(&bell), 3);
        let other = Waker::noop();
        alarm.set(far, other);
        assert_eq!(Arc::strong_count(&bell), 2, "another waker has its place");
        alarm.set(far, &waker);
        drop(alarm);
        assert_eq!(Arc::strong_count(&bell), 2, "it is dropped with the alarm");
        // Neither a later alarm nor a cancelled one delays an earlier alarm.
        let mut alarm = Alarm::default();
        alarm.set(far, &waker);
        alarm.set(Instant::now(), &waker);
        rung.recv_timeout(LIMIT).unwrap();
        // The alarm thread drops its reference a moment after it has woken the waker.
        let deadline = Instant::now() + LIMIT;
        while Arc::strong_count(&bell) != 2 {
            assert!(Instant::now() < deadline, "the waker is still held");
            std::thread::yield_now();
        }
        alarm.cancel();
        assert!(rung.try_recv().is_err());
    }
}
