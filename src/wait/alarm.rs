//! Waking tasks at a time, for carriers that cannot tell when they have room.
//!
//! One thread serves all of them. It is made at the first need, and ends when there was none for a while.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::quietly::wake;
use crate::sync::{Mutex, global, spawn_named};

/// How long the thread waits for work before it ends.
const IDLE: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 10_000 });

global! {
    /// The way to the thread, while there is one.
    static THREAD: Mutex<Option<Sender<Alarm>>> = Mutex::new(None);
}

struct Alarm {
    at: Instant,
    waker: Waker,
}

/// Has `waker` woken then.
pub(crate) fn wake_at(at: Instant, waker: &Waker) {
    let alarm = Alarm {
        at,
        waker: waker.clone(),
    };
    let mut thread = THREAD.lock();
    let alarm = match &*thread {
        // It holds the receiver for as long as the sender stands here, so this cannot fail.
        Some(sender) => match sender.send(alarm) {
            Ok(()) => return,
            Err(error) => error.into_inner(),
        },
        None => alarm,
    };
    let (sender, receiver) = unbounded();
    if spawn_named("fanfeed-alarm", move || run(&receiver)).is_err() {
        // No thread to be had: the task looks again at once, and gives way to others in between.
        return wake(alarm.waker);
    }
    let _ = sender.send(alarm);
    *thread = Some(sender);
}

fn run(receiver: &Receiver<Alarm>) {
    let mut alarms = BinaryHeap::new();
    loop {
        let now = Instant::now();
        while alarms.peek().is_some_and(|alarm: &Alarm| alarm.at <= now) {
            if let Some(alarm) = alarms.pop() {
                wake(alarm.waker);
            }
        }
        let next = alarms.peek().map_or(now + IDLE, |alarm| alarm.at);
        match receiver.recv_deadline(next) {
            Ok(alarm) => alarms.push(alarm),
            Err(RecvTimeoutError::Timeout) if alarms.is_empty() => {
                let mut thread = THREAD.lock();
                if receiver.is_empty() {
                    *thread = None;
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

// The heap gives the greatest first, and that is to be the earliest.
impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

#[cfg(test)]
mod tests {
    use std::collections::BinaryHeap;
    use std::sync::Arc;
    use std::task::Waker;
    use std::time::{Duration, Instant};

    use super::{Alarm, IDLE, THREAD, wake_at};

    #[test]
    fn the_earliest_alarm_comes_out_first() {
        let now = Instant::now();
        let alarm = |at| Alarm {
            at: now + Duration::from_millis(at),
            waker: Waker::noop().clone(),
        };
        for times in [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2], [2, 4, 1, 3]] {
            let mut alarms: BinaryHeap<_> = times.into_iter().map(alarm).collect();
            alarms.push(alarm(0));
            let mut earliest = std::iter::from_fn(|| Some(alarms.pop()?.at));
            assert!((0..5).map(|at| alarm(at).at).eq(&mut earliest), "{times:?}");
        }
        assert!(alarm(1) == alarm(1));
        assert!(alarm(1) != alarm(2));
    }

    #[test]
    fn the_thread_lasts_for_as_long_as_there_are_alarms() {
        let (ring, rung) = std::sync::mpsc::channel();
        let waker = Waker::from(Arc::new(Bell(ring)));
        // Longer than the thread waits for work, and each known before the one before it has rung.
        let begun = Instant::now();
        for idle in [1, 3, 2] {
            wake_at(begun + idle * IDLE + IDLE / 2, &waker);
        }
        for idle in 1..=3 {
            let at = rung.recv_timeout(Duration::from_secs(20)).unwrap();
            assert!(at >= begun + idle * IDLE, "rung before its time");
        }
        while THREAD.lock().is_some() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "it has not ended"
            );
            std::thread::yield_now();
        }
        // Another is made when there is need.
        wake_at(Instant::now(), &waker);
        rung.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    struct Bell(std::sync::mpsc::Sender<Instant>);

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(Instant::now());
        }
    }
}
