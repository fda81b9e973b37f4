//! Sends that wait as tasks: a future that is kept without being polled, and the alarm thread.
//!
//! Modelled: a full channel of capacity 1 with a future in front of a blocked thread; a carrier
//! that cannot tell when it has room, whose sends the alarm wakes, two of them one after the other,
//! so that the thread may be ending when the second is set. Timers fire once the other threads have
//! run. Bounds: three threads, two to four preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models tasks::
//! ```
use std::future::Future;
use std::task::{Context, Waker};

use fanfeed::{Carrier, Feed, TrySendError, has_alarm_thread};
use fanfeed_loom_tests::{Model, Why, block_on};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Full for the first two of three tries, and cannot tell when it has room.
struct FullAtFirst(AtomicUsize);

impl Carrier<u8> for FullAtFirst {
    fn try_send(&self, value: u8) -> Result<(), TrySendError<u8>> {
        if self.0.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            Ok(())
        } else {
            Err(TrySendError::Full(value))
        }
    }
}

fn an_idle_future_in_front() {
    let feed = Feed::new();
    let mut receiver = feed.channel(1).unwrap();
    feed.send(0);
    let mut idle = Box::pin(feed.send_async(1));
    let mut context = Context::from_waker(Waker::noop());
    assert!(idle.as_mut().poll(&mut context).is_pending());
    let sender = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(2))
    };
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(sender.join().unwrap(), 1);
    assert_eq!(receiver.try_recv(), Ok(2));
    drop(idle);
    wait_for_the_alarm();
}

/// What is global in a model goes with its main thread, which no other may outlive.
fn wait_for_the_alarm() {
    while has_alarm_thread() {
        thread::yield_now();
    }
}

fn two_alarms() {
    let feed = Feed::new();
    let _subscription = feed.subscribe(FullAtFirst(AtomicUsize::new(0)));
    for value in 0..2 {
        assert_eq!(block_on(feed.send_async(value)), 1);
    }
    wait_for_the_alarm();
}

#[test]
fn a_wake_up_is_passed_on() {
    Model::bound(3).with_timers().holds(an_idle_future_in_front);
}

#[test]
fn a_wake_up_has_to_be_passed_on() {
    let model = Model::bound(2).with_timers().because(Why::Deadlock);
    model.fails_with("wake_up_is_not_passed_on", an_idle_future_in_front);
}

#[test]
fn an_alarm_that_is_set_while_the_thread_ends_rings() {
    Model::bound(4).with_timers().holds(two_alarms);
}

#[test]
fn the_thread_has_to_look_once_more_before_it_ends() {
    let model = Model::bound(2).with_timers().because(Why::Deadlock);
    model.fails_with("alarm_ends_without_another_look", two_alarms);
}
