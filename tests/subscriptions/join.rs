//! Many subscriptions as one.

use crate::deadline::{DEADLINE, a_moment, eventually, in_time};
use crossbeam_channel::{Receiver, TryRecvError, bounded};
use fanfeed::{CancelToken, Feed, Overflow, Stats, Subscription};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

type Ended = Result<(), Infallible>;

fn until_cancelled() -> Subscription {
    Subscription::spawn(|token| -> Ended {
        let _ = token.channel().recv();
        Ok(())
    })
}

/// Ends, once told, with what it is told.
fn told_to_end() -> (
    crossbeam_channel::Sender<Result<(), &'static str>>,
    Subscription,
) {
    let (tell, told) = bounded(1);
    let subscription = Subscription::spawn(move |token| {
        crossbeam_channel::select! {
            recv(told) -> end => end.unwrap_or(Ok(())),
            recv(token.channel()) -> _ => Ok(()),
        }
    });
    (tell, subscription)
}

/// Counts itself while it runs, and takes a while to end.
fn counted(running: &Arc<AtomicUsize>) -> Subscription {
    running.fetch_add(1, Ordering::SeqCst);
    let running = Arc::clone(running);
    Subscription::spawn(move |token| -> Ended {
        assert!(token.wait_timeout(DEADLINE), "not cancelled");
        a_moment();
        running.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    })
}

fn assert_ended_well(subscription: &Subscription) {
    assert!(subscription.is_closed());
    assert_eq!(
        subscription.err().try_recv().unwrap_err(),
        TryRecvError::Disconnected
    );
}

#[test]
fn unsubscribing_it_ends_all_and_waits_for_all() {
    for _ in 0..50 {
        let running = Arc::new(AtomicUsize::new(0));
        let joined = Subscription::join((0..5).map(|_| counted(&running)));
        assert!(!joined.is_closed());
        joined.unsubscribe();
        assert_eq!(running.load(Ordering::SeqCst), 0);
        assert_ended_well(&joined);
        joined.unsubscribe();
    }
}

#[test]
fn dropping_it_ends_all() {
    let running = Arc::new(AtomicUsize::new(0));
    drop(Subscription::join((0..5).map(|_| counted(&running))));
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[test]
fn the_first_error_ends_all_others_and_is_its_error() {
    for _ in 0..50 {
        let running = Arc::new(AtomicUsize::new(0));
        let (tell, failing) = told_to_end();
        let joined = Subscription::join([counted(&running), failing, counted(&running)]);
        tell.send(Err("broken")).unwrap();
        let error = joined.err().recv_timeout(DEADLINE).unwrap();
        assert!(error.to_string().ends_with(": broken"), "{error}");
        // The error is out when the others have ended, and not before.
        assert_eq!(running.load(Ordering::SeqCst), 0);
        assert!(joined.is_closed());
    }
}

#[test]
fn of_many_errors_at_once_it_has_one() {
    for _ in 0..100 {
        let start = Arc::new(Barrier::new(3));
        let joined = Subscription::join((0..3).map(|i| {
            let start = Arc::clone(&start);
            Subscription::spawn(move |_| {
                start.wait();
                Err(format!("broken {i}"))
            })
        }));
        let err = joined.err();
        assert!(err.recv_timeout(DEADLINE).unwrap().is_failed());
        assert!(err.recv_timeout(DEADLINE).unwrap_err().is_disconnected());
    }
}

#[test]
fn a_panic_of_one_ends_all_others_too() {
    let running = Arc::new(AtomicUsize::new(0));
    let panicking = Subscription::spawn(|_| -> Ended { panic!("this test's") });
    let joined = Subscription::join([panicking, counted(&running)]);
    assert!(joined.err().recv_timeout(DEADLINE).unwrap().is_panicked());
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[test]
fn one_that_ends_well_leaves_the_others_to_go_on_and_the_last_ends_it() {
    let (tell_first, first) = told_to_end();
    let (tell_last, last) = told_to_end();
    let first_ended = first.closed();
    let joined = Subscription::join([first, last]);
    tell_first.send(Ok(())).unwrap();
    in_time(|| first_ended.wait());
    assert!(!joined.is_closed());
    tell_last.send(Ok(())).unwrap();
    assert!(joined.closed().wait_timeout(DEADLINE));
    assert_ended_well(&joined);
}

#[test]
fn one_that_had_failed_before_ends_it() {
    let running = Arc::new(AtomicUsize::new(0));
    let failed = Subscription::spawn(|_| Err("early"));
    assert!(failed.closed().wait_timeout(DEADLINE));
    let joined = Subscription::join([counted(&running), failed, counted(&running)]);
    assert!(joined.err().recv_timeout(DEADLINE).unwrap().is_failed());
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[test]
fn of_those_that_had_all_ended_well_it_has_ended() {
    let ended = || {
        let subscription = Subscription::spawn(|_| -> Ended { Ok(()) });
        assert!(subscription.closed().wait_timeout(DEADLINE));
        subscription
    };
    assert_ended_well(&Subscription::join([ended(), ended()]));
}

#[test]
fn of_none_it_lasts_until_it_is_unsubscribed() {
    let joined = Subscription::join([]);
    assert!(!joined.is_closed());
    assert_eq!(joined.err().try_recv().unwrap_err(), TryRecvError::Empty);
    assert_eq!(joined.stats(), Stats::default());
    joined.unsubscribe();
    assert_ended_well(&joined);
}

#[test]
fn a_joined_subscription_without_members_ends_with_the_others() {
    let failing = Subscription::spawn(|_| Err("broken"));
    let joined = Subscription::join([Subscription::join([]), failing]);
    assert!(joined.err().recv_timeout(DEADLINE).unwrap().is_failed());
}

#[test]
fn a_detached_one_still_ends_all_at_the_first_error() {
    let running = Arc::new(AtomicUsize::new(0));
    let (tell, failing) = told_to_end();
    Subscription::join([counted(&running), failing]).detach();
    assert_eq!(running.load(Ordering::SeqCst), 1);
    tell.send(Err("broken")).unwrap();
    eventually("the other has ended", || {
        running.load(Ordering::SeqCst) == 0
    });
}

/// Joins one that has the joined handle with others, and runs `f` in it.
fn with_own_handle(f: impl FnOnce(CancelToken, Subscription) + Send + 'static) -> Receiver<()> {
    let (give, take) = bounded(1);
    let (ended, end) = bounded::<()>(0);
    let member = Subscription::spawn(move |token| -> Ended {
        let _ended = ended;
        f(token, take.recv().unwrap());
        Ok(())
    });
    let joined = Subscription::join([until_cancelled(), member, until_cancelled()]);
    give.send(joined).unwrap();
    end
}

#[test]
fn a_member_unsubscribes_or_drops_the_whole() {
    let unsubscribed = with_own_handle(|token, joined| {
        joined.unsubscribe();
        assert!(token.is_cancelled());
        assert!(!joined.is_closed(), "one has not ended: this runs");
    });
    let dropped = with_own_handle(|token, joined| {
        drop(joined);
        assert!(token.is_cancelled());
    });
    for end in [unsubscribed, dropped] {
        assert!(
            end.recv_timeout(DEADLINE)
                .is_err_and(|error| error.is_disconnected())
        );
    }
}

#[test]
fn joined_ones_can_be_joined() {
    let running = Arc::new(AtomicUsize::new(0));
    let (tell, failing) = told_to_end();
    let mut joined = Subscription::join([failing, counted(&running)]);
    for _ in 0..50 {
        joined = Subscription::join([joined, counted(&running)]);
    }
    tell.send(Err("deep")).unwrap();
    assert!(
        joined
            .err()
            .recv_timeout(DEADLINE)
            .unwrap()
            .to_string()
            .contains("deep")
    );
    assert_eq!(running.load(Ordering::SeqCst), 0);
}

#[test]
fn a_failure_while_it_is_unsubscribed_leaves_nothing_running() {
    for _ in 0..300 {
        let running = Arc::new(AtomicUsize::new(0));
        let start = Arc::new(Barrier::new(2));
        let failing = {
            let start = Arc::clone(&start);
            Subscription::spawn(move |_| {
                start.wait();
                Err("broken")
            })
        };
        let joined = Subscription::join([failing, counted(&running)]);
        start.wait();
        let joined = in_time(move || {
            joined.unsubscribe();
            joined
        });
        assert!(joined.is_closed());
        assert_eq!(running.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn all_threads_that_unsubscribe_at_once_return_after_the_end() {
    for _ in 0..100 {
        let running = Arc::new(AtomicUsize::new(0));
        let joined = Arc::new(Subscription::join((0..3).map(|_| counted(&running))));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (joined, running) = (Arc::clone(&joined), Arc::clone(&running));
                thread::spawn(move || {
                    joined.unsubscribe();
                    assert!(joined.is_closed());
                    assert_eq!(running.load(Ordering::SeqCst), 0);
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
fn the_thread_that_fails_does_not_wait_for_the_others() {
    let (release, held) = bounded::<()>(0);
    let ended = Arc::new(AtomicBool::new(false));
    // Cancelled, it stays until it is released.
    let stubborn = {
        let ended = Arc::clone(&ended);
        Subscription::spawn(move |token| -> Ended {
            let _ = token.channel().recv();
            let _ = held.recv();
            ended.store(true, Ordering::SeqCst);
            Ok(())
        })
    };
    let failing = Subscription::spawn(|_| Err("broken"));
    let (mut failed, joined) = (failing.closed(), Subscription::join([failing, stubborn]));
    assert!(failed.wait_timeout(DEADLINE));
    assert!(!joined.is_closed() && !ended.load(Ordering::SeqCst));
    drop(release);
    assert!(joined.err().recv_timeout(DEADLINE).unwrap().is_failed());
    assert!(ended.load(Ordering::SeqCst));
}

#[test]
fn a_feed_that_closes_one_leaves_the_others_and_a_failure_ends_them() {
    let feeds = [Feed::new(), Feed::new(), Feed::new()];
    let (tx, rx) = bounded(8);
    let (lagging, overflowing) = feeds[2]
        .subscriber()
        .capacity(1)
        .overflow(Overflow::Disconnect)
        .channel()
        .unwrap()
        .split();
    let joined = Subscription::join([
        feeds[0].subscribe(tx.clone()),
        feeds[1].subscribe(tx),
        overflowing,
    ]);
    feeds[0].close();
    assert!(!joined.is_closed());
    assert_eq!(feeds[1].send(1), 1);
    assert_eq!(feeds[2].send(2), 1);
    let stats = joined.stats();
    assert_eq!((stats.delivered, stats.depth), (2, Some(2)));

    // The second value finds the third full: it fails inside this send, and takes the second with
    // it.
    feeds[2].send(3);
    assert!(joined.err().try_recv().unwrap().is_overflowed());
    assert_eq!(feeds[1].send(4), 0);
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1]);
    drop(lagging);
}

/// Guards against ends, cancellations, figures and drops that go down a chain by recursion, or
/// through it again and again.
#[test]
fn a_chain_of_joined_subscriptions_may_be_of_any_length() {
    const LINKS: usize = 20_000;
    for way in 0..4 {
        let feed = Feed::<u8>::new();
        let (tell, first) = told_to_end();
        let (sender, receiver) = bounded(1);
        let mut chain = Subscription::join([first, feed.subscribe(sender)]);
        for _ in 0..LINKS {
            chain = Subscription::join([chain, feed.subscribe_fn(|_| {})]);
        }
        let end = chain.closed();
        assert_eq!(chain.stats().delivered, 0);
        match way {
            0 => chain.unsubscribe(),
            1 => drop(chain),
            2 => {
                tell.send(Err("lost")).unwrap();
                end.wait();
                assert!(chain.err().recv().unwrap().is_failed());
                // Its thread drops the channel once it has told everybody.
                assert!(receiver.recv().is_err());
                drop(chain);
            }
            _ => {
                feed.close();
                tell.send(Ok(())).unwrap();
                end.wait();
                assert_ended_well(&chain);
            }
        }
        assert_eq!(feed.subscriber_count(), 0);
        assert!(receiver.recv().is_err());
    }
}

/// Guards against a thread that fails one of them, and waits for a closure that waits for that.
#[test]
fn the_thread_that_ends_the_first_member_waits_for_no_other() {
    in_time(|| {
        let feed = Feed::new();
        let (tell, failing) = told_to_end();
        let end = failing.closed();
        let (inside, entered) = bounded(1);
        let end = std::sync::Mutex::new(Some(end));
        let waiting = feed.subscribe_fn(move |_: &u8| {
            inside.send(()).unwrap();
            end.lock()
                .unwrap()
                .take()
                .expect("it is called once")
                .wait();
        });
        let joined = Subscription::join([failing, waiting]);
        let sender = thread::spawn(move || feed.send(1));
        entered.recv().unwrap();
        tell.send(Err("lost")).unwrap();
        joined.closed().wait();
        assert_eq!(sender.join().unwrap(), 1);
    });
}

#[test]
fn a_panic_of_the_iterator_ends_the_subscriptions_it_has_yielded() {
    let feed = Feed::new();
    let members = (0..3).map(|index| {
        assert!(index < 2, "this test's");
        feed.subscribe_fn(|_: &u8| {})
    });
    assert!(catch_unwind(AssertUnwindSafe(|| Subscription::join(members))).is_err());
    assert_eq!(feed.subscriber_count(), 0);
}
