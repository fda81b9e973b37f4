//! Subscriptions whose source is their own thread.

use crate::deadline::{DEADLINE, a_moment, eventually, in_time};
use crossbeam_channel::{Receiver, TryRecvError, bounded, select, unbounded};
use fanfeed::{CancelToken, Subscription, SubscriptionError};
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

type Ended = Result<(), Infallible>;

/// A producer that ends when it is cancelled, and takes a while to. What it has set afterwards says
/// that it has ended.
fn slow_to_end(ended: &Arc<AtomicBool>) -> Subscription {
    let ended = Arc::clone(ended);
    Subscription::spawn(move |token| -> Ended {
        assert!(token.wait_timeout(DEADLINE), "not cancelled");
        a_moment();
        ended.store(true, Ordering::SeqCst);
        Ok(())
    })
}

/// Gives a producer its own handle.
fn spawn_with_handle(
    producer: impl FnOnce(CancelToken, Subscription) + Send + 'static,
) -> Receiver<()> {
    let (give, take) = bounded(1);
    let (ended, end) = bounded::<()>(0);
    let subscription = Subscription::spawn(move |token| -> Ended {
        let _ended = ended;
        producer(token, take.recv().unwrap());
        Ok(())
    });
    give.send(subscription).unwrap();
    end
}

fn wait_for(end: &Receiver<()>) {
    assert!(
        end.recv_timeout(DEADLINE)
            .is_err_and(|error| error.is_disconnected()),
        "the producer has not ended"
    );
}

#[test]
fn values_come_until_the_error_and_the_error_comes_once() {
    let (tx, rx) = bounded(0);
    let subscription = Subscription::spawn(move |token| {
        for i in 0..10 {
            if i == 2 {
                return Err("error in subscribe_ints");
            }
            select! {
                send(tx, i) -> _ => {}
                recv(token.channel()) -> _ => return Ok(()),
            }
        }
        Ok(())
    });
    let err = subscription.err();
    let mut received = Vec::new();
    let error = loop {
        select! {
            recv(rx) -> value => received.extend(value),
            recv(err) -> error => break error.unwrap(),
            default(DEADLINE) => panic!("neither a value nor an error"),
        }
    };
    assert_eq!(received, [0, 1]);
    assert!(error.is_failed());
    assert!(error.to_string().ends_with("error in subscribe_ints"));
    subscription.unsubscribe();
    assert_eq!(
        subscription.err().try_recv().unwrap_err(),
        TryRecvError::Disconnected
    );
}

#[test]
fn the_error_keeps_its_type() {
    let subscription = Subscription::spawn(|_| "x".parse::<u8>().map(drop));
    match subscription.err().recv_timeout(DEADLINE) {
        Ok(SubscriptionError::Failed(error)) => {
            assert!(error.is::<std::num::ParseIntError>());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_producer_that_ends_well_ends_its_subscription_without_an_error() {
    let (go, wait) = bounded::<()>(0);
    let subscription = Subscription::spawn(move |_| -> Ended {
        let _ = wait.recv();
        Ok(())
    });
    assert!(!subscription.is_closed());
    assert_eq!(
        subscription.err().try_recv().unwrap_err(),
        TryRecvError::Empty
    );
    drop(go);
    assert!(subscription.closed().wait_timeout(DEADLINE));
    assert!(subscription.is_closed());
    assert_eq!(
        subscription.err().try_recv().unwrap_err(),
        TryRecvError::Disconnected
    );
}

#[test]
fn a_panic_is_the_error_with_its_message() {
    let message = |panic: fn()| {
        let subscription = Subscription::spawn(move |_| -> Ended {
            panic();
            Ok(())
        });
        match subscription.err().recv_timeout(DEADLINE) {
            Ok(SubscriptionError::Panicked(message)) => message.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(message(|| panic!("told")), "told");
    assert_eq!(message(|| panic!("told {}", 7)), "told 7");
    assert_eq!(
        message(|| std::panic::panic_any(7)),
        "(a panic without a message)"
    );
}

#[test]
fn unsubscribe_returns_when_the_producer_has_ended() {
    for _ in 0..100 {
        let ended = Arc::new(AtomicBool::new(false));
        let subscription = slow_to_end(&ended);
        subscription.unsubscribe();
        assert!(ended.load(Ordering::SeqCst));
        assert!(subscription.is_closed());
        subscription.unsubscribe();
    }
}

#[test]
fn dropping_the_handle_unsubscribes_and_waits() {
    for _ in 0..100 {
        let ended = Arc::new(AtomicBool::new(false));
        drop(slow_to_end(&ended));
        assert!(ended.load(Ordering::SeqCst));
    }
}

#[test]
fn a_detached_producer_runs_on() {
    let (tx, rx) = bounded(0);
    Subscription::spawn(move |token| -> Ended {
        for i in 0..3 {
            assert!(!token.is_cancelled());
            tx.send(i).unwrap();
        }
        Ok(())
    })
    .detach();
    for i in 0..3 {
        assert_eq!(rx.recv_timeout(DEADLINE), Ok(i));
    }
}

#[test]
fn what_the_producer_owned_is_dropped_when_unsubscribe_returns() {
    for _ in 0..100 {
        let owned = Arc::new(());
        let weak = Arc::downgrade(&owned);
        let subscription = Subscription::spawn(move |token| -> Ended {
            let _owned = owned;
            let _ = token.channel().recv();
            Ok(())
        });
        subscription.unsubscribe();
        assert!(weak.upgrade().is_none());
    }
}

#[test]
fn an_error_after_the_cancellation_is_not_a_failure() {
    let subscription = Subscription::spawn(|token| {
        let _ = token.channel().recv();
        Err("interrupted")
    });
    let err = subscription.err();
    subscription.unsubscribe();
    assert_eq!(err.try_recv().unwrap_err(), TryRecvError::Disconnected);
}

#[test]
fn a_panic_after_the_cancellation_is_not_a_failure() {
    let subscription = Subscription::spawn(|token| -> Ended {
        let _ = token.channel().recv();
        panic!("interrupted (this test's)");
    });
    let err = subscription.err();
    subscription.unsubscribe();
    assert_eq!(err.try_recv().unwrap_err(), TryRecvError::Disconnected);
}

#[test]
fn an_error_whose_drop_panics_keeps_no_thread_waiting() {
    #[derive(Debug)]
    struct Vicious;
    impl fmt::Display for Vicious {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("vicious")
        }
    }
    impl Error for Vicious {}
    impl Drop for Vicious {
        fn drop(&mut self) {
            panic!("dropped (this test's)");
        }
    }
    in_time(|| {
        Subscription::spawn(|token| {
            let _ = token.channel().recv();
            Err(Vicious)
        })
        .unsubscribe();
        Subscription::spawn(|token| -> Ended {
            let _ = token.channel().recv();
            std::panic::panic_any(Vicious)
        })
        .unsubscribe();
    });
}

#[test]
fn any_number_of_threads_unsubscribe_at_once_and_all_return_after_the_end() {
    for _ in 0..50 {
        let ended = Arc::new(AtomicBool::new(false));
        let subscription = Arc::new(slow_to_end(&ended));
        let start = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (subscription, ended, start) = (
                    Arc::clone(&subscription),
                    Arc::clone(&ended),
                    Arc::clone(&start),
                );
                thread::spawn(move || {
                    start.wait();
                    subscription.unsubscribe();
                    assert!(ended.load(Ordering::SeqCst));
                    assert!(subscription.is_closed());
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
fn a_producer_unsubscribes_itself_and_goes_on() {
    let end = spawn_with_handle(|token, own| {
        own.unsubscribe();
        assert!(token.is_cancelled());
        assert!(!own.is_closed(), "it has not ended: this runs");
        own.unsubscribe();
    });
    wait_for(&end);
}

#[test]
fn a_producer_drops_its_own_handle() {
    let end = spawn_with_handle(|token, own| {
        drop(own);
        assert!(token.is_cancelled());
    });
    wait_for(&end);
}

#[test]
fn others_wait_for_a_producer_that_unsubscribed_itself() {
    let (give, take) = bounded::<Arc<Subscription>>(1);
    let (called, calls) = bounded(1);
    let ended = Arc::new(AtomicBool::new(false));
    let subscription = {
        let ended = Arc::clone(&ended);
        Arc::new(Subscription::spawn(move |_| -> Ended {
            take.recv().unwrap().unsubscribe();
            called.send(()).unwrap();
            a_moment();
            ended.store(true, Ordering::SeqCst);
            Ok(())
        }))
    };
    give.send(Arc::clone(&subscription)).unwrap();
    calls.recv_timeout(DEADLINE).unwrap();
    subscription.unsubscribe();
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn a_producer_waits_for_another_that_it_unsubscribes() {
    for _ in 0..50 {
        let ended = Arc::new(AtomicBool::new(false));
        let other = slow_to_end(&ended);
        let (tx, rx) = bounded(1);
        let outer = Subscription::spawn(move |_| -> Ended {
            other.unsubscribe();
            tx.send(ended.load(Ordering::SeqCst)).unwrap();
            Ok(())
        });
        assert_eq!(rx.recv_timeout(DEADLINE), Ok(true));
        drop(outer);
    }
}

#[test]
fn producers_that_unsubscribe_one_another_in_a_circle_all_end() {
    for around in [2, 3, 5] {
        for _ in 0..100 {
            let (give, take): (Vec<_>, Vec<_>) =
                (0..around).map(|_| bounded::<Subscription>(1)).unzip();
            let start = Arc::new(Barrier::new(around));
            let (ended, end) = bounded::<()>(0);
            for (i, take) in take.into_iter().enumerate() {
                let (start, ended) = (Arc::clone(&start), ended.clone());
                let subscription = Subscription::spawn(move |_| -> Ended {
                    let _ended = ended;
                    let next = take.recv().unwrap();
                    start.wait();
                    next.unsubscribe();
                    Ok(())
                });
                give[(i + 1) % around].send(subscription).unwrap();
            }
            drop(ended);
            wait_for(&end);
        }
    }
}

#[test]
fn tokens_end_every_kind_of_wait() {
    let (tokens, token) = bounded(1);
    let subscription = Subscription::spawn(move |token: CancelToken| -> Ended {
        tokens.send(token.clone()).unwrap();
        let _ = token.channel().recv();
        Ok(())
    });
    let token = token.recv_timeout(DEADLINE).unwrap();
    assert!(!token.is_cancelled());
    assert!(!token.wait_timeout(Duration::ZERO));
    assert!(!token.wait_timeout(Duration::from_millis(1)));
    assert_eq!(token.channel().try_recv(), Err(TryRecvError::Empty));
    assert_eq!(format!("{token:?}"), "CancelToken { cancelled: false, .. }");

    let waiting = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = [Duration::from_secs(3600), Duration::MAX]
        .into_iter()
        .map(|timeout| {
            let (token, waiting) = (token.clone(), Arc::clone(&waiting));
            thread::spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                token.wait_timeout(timeout)
            })
        })
        .collect();
    eventually("both wait", || waiting.load(Ordering::SeqCst) == 2);
    subscription.unsubscribe();
    for waiter in waiters {
        assert!(in_time(|| waiter.join().unwrap()));
    }
    assert!(token.is_cancelled());
    assert!(token.wait_timeout(Duration::ZERO));
    assert_eq!(token.channel().try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(format!("{token:?}"), "CancelToken { cancelled: true, .. }");
}

#[test]
fn threads_that_wait_on_a_token_are_released_when_the_producer_ends_by_itself() {
    let (tokens, token) = bounded(1);
    let subscription = Subscription::spawn(move |token: CancelToken| -> Ended {
        tokens.send(token).unwrap();
        Ok(())
    });
    let token = token.recv_timeout(DEADLINE).unwrap();
    subscription.detach();
    assert!(in_time(move || token.wait_timeout(Duration::MAX)));
}

#[test]
fn a_thread_that_begins_to_wait_never_misses_a_cancellation() {
    for _ in 0..300 {
        let (tx, rx) = unbounded();
        let subscription = Subscription::spawn(move |token: CancelToken| -> Ended {
            tx.send(token.wait_timeout(Duration::MAX)).unwrap();
            Ok(())
        });
        in_time(move || subscription.unsubscribe());
        assert_eq!(rx.try_recv(), Ok(true));
    }
}

#[test]
fn names_and_figures_are_none() {
    let subscription = Subscription::spawn(|_| -> Ended { Ok(()) });
    assert_eq!(subscription.name(), None);
    assert_eq!(subscription.stats(), fanfeed::Stats::default());
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<CancelToken>();
    is_send_and_sync::<Subscription>();
}

#[cfg(target_os = "linux")]
fn where_no_thread_can_be_made() {
    let owned = Arc::new(());
    let weak = Arc::downgrade(&owned);
    let subscription = Subscription::spawn(move |_| -> Ended {
        drop(owned);
        Ok(())
    });
    assert!(subscription.is_closed());
    match subscription.err().try_recv() {
        Ok(SubscriptionError::Failed(error)) => assert!(error.is::<std::io::Error>()),
        other => panic!("{other:?}"),
    }
    assert!(weak.upgrade().is_none(), "the producer has been dropped");
    subscription.unsubscribe();
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_thread_the_subscription_fails() {
    use crate::child::{WITHOUT_THREADS, in_child};
    in_child(
        "spawn::without_a_thread_the_subscription_fails",
        &[WITHOUT_THREADS],
        where_no_thread_can_be_made,
    );
}
