//! Subscriptions that are made again when they fail.

use crate::deadline::{DEADLINE, a_moment, eventually, in_time};
use crossbeam_channel::{bounded, unbounded};
use fanfeed::{
    Backoff, CancelToken, Subscription, SubscriptionError, resubscribe, resubscribe_with_error,
};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type Ended = Result<(), Infallible>;
type Attempt = Result<Subscription, &'static str>;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

fn succeeds() -> Subscription {
    Subscription::spawn(|_| -> Ended { Ok(()) })
}

fn until_cancelled() -> Subscription {
    Subscription::spawn(|token| -> Ended {
        let _ = token.channel().recv();
        Ok(())
    })
}

/// Waits for its end, and gives its error.
#[track_caller]
fn end_of(subscription: &Subscription) -> Option<SubscriptionError> {
    let result = subscription.err().recv_timeout(DEADLINE);
    assert!(subscription.is_closed(), "it has not ended: {result:?}");
    result.ok()
}

#[test]
fn it_calls_again_until_an_attempt_succeeds() {
    let calls = Arc::new(AtomicUsize::new(0));
    let subscription = {
        let calls = Arc::clone(&calls);
        resubscribe(20 * MS, move |_| {
            match calls.fetch_add(1, Ordering::SeqCst) + 1 {
                6 => Ok(succeeds()),
                _ => Err("oops"),
            }
        })
    };
    assert!(end_of(&subscription).is_none());
    assert_eq!(calls.load(Ordering::SeqCst), 6);
}

#[test]
fn it_calls_again_when_the_subscription_fails_and_hands_on_the_error() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let subscription = {
        let seen = Arc::clone(&seen);
        let mut i = 0;
        resubscribe_with_error(20 * MS, move |_, last| -> Attempt {
            i += 1;
            let attempt = i;
            seen.lock()
                .unwrap()
                .push(last.map_or(String::new(), |error| error.to_string()));
            Ok(Subscription::spawn(move |_| match attempt {
                6 => Ok(()),
                _ => Err(format!("err-{attempt}")),
            }))
        })
    };
    assert!(end_of(&subscription).is_none());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 6);
    assert_eq!(seen[0], "");
    for (i, error) in seen.iter().enumerate().skip(1) {
        assert!(error.ends_with(&format!(": err-{i}")), "{error}");
    }
}

#[test]
fn the_last_error_is_that_of_f_or_of_its_subscription_or_its_panic() {
    let (tx, rx) = unbounded();
    let mut i = 0;
    let subscription = resubscribe_with_error(MS, move |_, last| {
        tx.send(last).unwrap();
        i += 1;
        match i {
            1 => Err(std::io::Error::other("of f")),
            2 => Ok(Subscription::spawn(|_| -> Ended {
                panic!("of a producer (this test's)")
            })),
            _ => Ok(succeeds()),
        }
    });
    assert!(end_of(&subscription).is_none());
    assert!(rx.recv().unwrap().is_none());
    match rx.recv().unwrap() {
        Some(SubscriptionError::Failed(error)) => assert!(error.is::<std::io::Error>()),
        other => panic!("{other:?}"),
    }
    match rx.recv().unwrap() {
        Some(SubscriptionError::Panicked(message)) => {
            assert_eq!(&*message, "of a producer (this test's)");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_error_reaches_those_who_listen_to_the_attempt_as_well() {
    let (tx, rx) = unbounded();
    let mut i = 0;
    let subscription = resubscribe(MS, move |_| -> Attempt {
        i += 1;
        if i == 2 {
            return Ok(succeeds());
        }
        let failing = Subscription::spawn(|_| Err("seen by both"));
        tx.send(failing.err()).unwrap();
        Ok(failing)
    });
    assert!(end_of(&subscription).is_none());
    assert!(
        rx.recv()
            .unwrap()
            .recv_timeout(DEADLINE)
            .unwrap()
            .is_failed()
    );
}

#[test]
fn unsubscribe_cancels_the_attempt() {
    let (tx, rx) = bounded(1);
    let (started, start) = bounded(1);
    let subscription = resubscribe(Duration::ZERO, move |token| {
        started.send(()).unwrap();
        tx.send(token.wait_timeout(DEADLINE)).unwrap();
        Err("cancelled")
    });
    start.recv_timeout(DEADLINE).unwrap();
    subscription.unsubscribe();
    assert_eq!(rx.try_recv(), Ok(true));
    assert!(end_of(&subscription).is_none());
}

#[test]
fn unsubscribe_interrupts_the_wait() {
    for max in [HOUR, Duration::MAX] {
        let calls = Arc::new(AtomicUsize::new(0));
        let subscription = {
            let calls = Arc::clone(&calls);
            resubscribe(max, move |_| -> Attempt {
                calls.fetch_add(1, Ordering::SeqCst);
                Err("oops")
            })
        };
        eventually("called", || calls.load(Ordering::SeqCst) == 1);
        in_time(move || {
            subscription.unsubscribe();
            assert!(subscription.is_closed());
            assert!(subscription.err().try_recv().is_err());
        });
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn unsubscribe_ends_the_live_subscription_and_waits_for_it() {
    for _ in 0..50 {
        let live = Arc::new(AtomicUsize::new(0));
        let subscription = {
            let live = Arc::clone(&live);
            resubscribe(HOUR, move |_| -> Attempt {
                let live = Arc::clone(&live);
                live.fetch_add(1, Ordering::SeqCst);
                Ok(Subscription::spawn(move |token| {
                    let _ = token.channel().recv();
                    a_moment();
                    live.fetch_sub(1, Ordering::SeqCst);
                    Err("an answer to the cancellation")
                }))
            })
        };
        let subscription = in_time(move || {
            subscription.unsubscribe();
            subscription
        });
        assert_eq!(live.load(Ordering::SeqCst), 0);
        assert!(end_of(&subscription).is_none());
    }
}

#[test]
fn a_subscription_made_after_the_cancellation_is_ended_at_once() {
    let ended = Arc::new(AtomicBool::new(false));
    let (started, start) = bounded(1);
    let subscription = {
        let ended = Arc::clone(&ended);
        resubscribe(HOUR, move |token| -> Attempt {
            started.send(()).unwrap();
            assert!(token.wait_timeout(DEADLINE));
            let ended = Arc::clone(&ended);
            Ok(Subscription::spawn(move |token| -> Ended {
                let _ = token.channel().recv();
                ended.store(true, Ordering::SeqCst);
                Ok(())
            }))
        })
    };
    start.recv_timeout(DEADLINE).unwrap();
    in_time(move || subscription.unsubscribe());
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn dropping_the_handle_stops_it_and_detaching_does_not() {
    let make = |calls: &Arc<AtomicUsize>| {
        let calls = Arc::clone(calls);
        resubscribe(MS, move |_| -> Attempt {
            calls.fetch_add(1, Ordering::SeqCst);
            match calls.load(Ordering::SeqCst) {
                50.. => Ok(succeeds()),
                _ => Err("oops"),
            }
        })
    };
    let calls = Arc::new(AtomicUsize::new(0));
    drop(make(&calls));
    let after_drop = calls.load(Ordering::SeqCst);
    assert_eq!(Arc::strong_count(&calls), 1, "f has been dropped");
    assert!(after_drop < 50);

    let calls = Arc::new(AtomicUsize::new(0));
    make(&calls).detach();
    eventually("it has gone on", || calls.load(Ordering::SeqCst) == 50);
}

#[test]
fn all_threads_that_unsubscribe_at_once_return_after_the_end() {
    for _ in 0..50 {
        let held = Arc::new(());
        let subscription = {
            let held = Arc::clone(&held);
            Arc::new(resubscribe(HOUR, move |_| -> Attempt {
                let _held = &held;
                Ok(until_cancelled())
            }))
        };
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (subscription, held) = (Arc::clone(&subscription), Arc::downgrade(&held));
                thread::spawn(move || {
                    subscription.unsubscribe();
                    assert!(subscription.is_closed());
                    assert!(held.strong_count() <= 1, "f has been dropped");
                })
            })
            .collect();
        in_time(move || {
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}

#[test]
fn a_panic_of_f_is_its_error() {
    let mut i = 0;
    let subscription = resubscribe(MS, move |_| -> Attempt {
        i += 1;
        if i == 3 {
            panic!("in f (this test's)");
        }
        Err("oops")
    });
    match end_of(&subscription) {
        Some(SubscriptionError::Panicked(message)) => assert_eq!(&*message, "in f (this test's)"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn f_unsubscribes_its_own_resubscription() {
    let (give, take) = bounded::<Subscription>(1);
    let (tx, rx) = unbounded();
    let subscription = resubscribe(Duration::ZERO, move |token: CancelToken| -> Attempt {
        take.recv().unwrap().unsubscribe();
        tx.send(token.is_cancelled()).unwrap();
        Err("not called again")
    });
    give.send(subscription).unwrap();
    assert_eq!(rx.recv_timeout(DEADLINE), Ok(true));
    assert!(
        rx.recv_timeout(DEADLINE)
            .is_err_and(|error| error.is_disconnected()),
        "f has been dropped"
    );
}

#[test]
fn an_attempt_unsubscribes_the_resubscription_it_belongs_to() {
    for _ in 0..100 {
        let (give, take) = bounded::<Arc<Subscription>>(1);
        let subscription = Arc::new(resubscribe(HOUR, move |_| -> Attempt {
            let take = take.clone();
            Ok(Subscription::spawn(move |_| -> Ended {
                take.recv().unwrap().unsubscribe();
                Ok(())
            }))
        }));
        give.send(Arc::clone(&subscription)).unwrap();
        assert!(subscription.closed().wait_timeout(DEADLINE));
    }
}

/// When each attempt began, for attempts that fail at once, in `f` or (odd ones) in the
/// subscription it made.
fn beginnings(backoff: impl Into<Backoff>, attempts: usize) -> Vec<Instant> {
    let (tx, rx) = unbounded();
    let mut i = 0;
    let subscription = resubscribe(backoff, move |_| {
        tx.send(Instant::now()).unwrap();
        i += 1;
        if i % 2 == 1 {
            Ok(Subscription::spawn(|_| Err("at once")))
        } else {
            Err("in f")
        }
    });
    let beginnings = (0..attempts)
        .map(|_| rx.recv_timeout(DEADLINE).unwrap())
        .collect();
    drop(subscription);
    beginnings
}

#[test]
fn a_backoff_of_its_own_decides_the_waits() {
    let max = Duration::from_secs(1);
    let mut same = Backoff::with_seed(max, 42);
    let beginnings = beginnings(Backoff::with_seed(max, 42), 4);
    for pair in beginnings.windows(2) {
        let wait = same.next_wait(Duration::ZERO);
        assert!(pair[1] - pair[0] >= wait, "waited less than {wait:?}");
    }
}

#[test]
fn a_max_of_zero_does_not_burn() {
    let began = Instant::now();
    beginnings(Duration::ZERO, 101);
    // A hundred of the shortest waits there are.
    assert!(began.elapsed() >= 100 * Duration::from_micros(50));
}

#[test]
fn an_attempt_longer_than_max_returns_the_wait_to_a_tenth() {
    let max = Duration::from_secs(1);
    let (tx, rx) = unbounded();
    let mut i = 0;
    let subscription = resubscribe(max, move |token| -> Attempt {
        tx.send(Instant::now()).unwrap();
        i += 1;
        if i == 4 {
            let began = Instant::now();
            while began.elapsed() <= max {
                assert!(!token.wait_timeout(max));
            }
            // What counts is from here.
            tx.send(Instant::now()).unwrap();
        }
        Err("oops")
    });
    let times: Vec<_> = (0..6).map(|_| rx.recv_timeout(DEADLINE).unwrap()).collect();
    drop(subscription);
    // The waits before: at least a twentieth, a tenth, two tenths. The next would have been at
    // least four.
    assert!(times[3] - times[0] >= 350 * MS);
    assert!(times[5] - times[4] < 400 * MS);
}
