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
const IDLE: Duration = Duration::from_secs(10);

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
