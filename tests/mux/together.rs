//! Many posts, subscriptions and stops at the same time, and tasks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded, unbounded};
use fanfeed::{TryRecvError, TypeMux, mux};

use crate::common::{eventually, join, watchdog};
use crate::{Does, Letter, Number};

#[test]
fn subscribers_come_and_go_while_others_post() {
    const SUBSCRIBERS: usize = 200;
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    let posters = [(); 3].map(|()| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || while mux.post(Number(0)).is_ok() {})
    });
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|index| {
            let mux = Arc::clone(&mux);
            thread::spawn(move || {
                let before = Instant::now();
                let capacity = 1 + index % 3;
                let subscriber = mux.subscriber::<(Number, Letter)>().capacity(capacity);
                let mut subscription = subscriber.channel().unwrap();
                let event = subscription.recv().unwrap();
                assert!(before <= event.time());
                subscription.unsubscribe();
                let rest = subscription.iter().count();
                assert!(rest <= capacity);
                assert_eq!(subscription.stats().delivered, 1 + rest as u64);
            })
        })
        .collect();
    subscribers.into_iter().for_each(join);
    mux.stop();
    posters.into_iter().for_each(join);
}

/// Whether a channel has ended, apart from what is left in it.
fn has_ended(channel: &mut mux::Subscription) -> bool {
    channel.try_iter().for_each(drop);
    channel.try_recv().unwrap_err() == TryRecvError::Closed
}

fn is_disconnected(channel: &Receiver<mux::Event>) -> bool {
    channel.try_iter().for_each(drop);
    channel.try_recv().unwrap_err() == crossbeam_channel::TryRecvError::Disconnected
}

/// The posts of other threads free what has ended, and may be doing so when `unsubscribe` returns.
#[test]
fn channels_have_ended_when_unsubscribe_returns() {
    const RACES: usize = 5_000;
    let _watchdog = watchdog();
    let mux = Arc::new(TypeMux::new());
    // They keep both types in use.
    let _stays = mux
        .subscriber::<(Number, Letter)>()
        .subscribe(Does(|_: &mux::Event| {}));
    let posters = [0, 1].map(|poster| {
        let mux = Arc::clone(&mux);
        thread::spawn(move || {
            while if poster == 0 {
                mux.post(Number(0)).is_ok()
            } else {
                mux.post(Letter('a')).is_ok()
            } {}
        })
    });
    for race in 0..RACES {
        let mut own = mux.subscribe::<(Number, Letter)>();
        own.unsubscribe();
        assert!(has_ended(&mut own), "race {race}: too early");
        let (tx, brought) = unbounded();
        let subscription = mux.subscriber::<(Number, Letter)>().subscribe(tx);
        subscription.unsubscribe();
        assert!(is_disconnected(&brought), "race {race}: too early");
    }
    mux.stop();
    posters.into_iter().for_each(join);
}

#[test]
fn channels_have_ended_when_any_stop_returns() {
    const RACES: usize = 3_000;
    let _watchdog = watchdog();
    let at_once = Barrier::new(2);
    let slot = Mutex::new(None);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..RACES {
                at_once.wait();
                let mux: Arc<TypeMux> = slot.lock().unwrap().take().unwrap();
                mux.stop();
                at_once.wait();
            }
        });
        for race in 0..RACES {
            let mux = Arc::new(TypeMux::new());
            let mut own = mux.subscribe::<(Number, Letter)>();
            let (tx, brought) = unbounded();
            let _brought = mux.subscriber::<(Letter, Number)>().subscribe(tx);
            *slot.lock().unwrap() = Some(Arc::clone(&mux));
            at_once.wait();
            (0..race % 100).for_each(|_| std::hint::spin_loop());
            mux.stop();
            let ended = (has_ended(&mut own), is_disconnected(&brought));
            at_once.wait();
            assert_eq!(ended, (true, true), "race {race}: too early");
        }
    });
}

#[test]
fn what_posts_return_adds_up_to_what_was_received() {
    let _watchdog = watchdog();
    for round in 0..20 {
        let mux = Arc::new(TypeMux::new());
        let (tx, brought) = bounded(2);
        let _brought = mux.subscriber::<(Number, Letter)>().subscribe(tx);
        let own = mux
            .subscriber::<(Letter, Number)>()
            .capacity(3)
            .channel()
            .unwrap();
        let posters = [0, 1].map(|poster| {
            let mux = Arc::clone(&mux);
            thread::spawn(move || {
                let mut reached = 0;
                while let Ok(count) = if poster == 0 {
                    mux.post(Number(0)).map_err(drop)
                } else {
                    mux.post(Letter('a')).map_err(drop)
                } {
                    reached += count;
                }
                reached
            })
        });
        let enough = Arc::new(AtomicUsize::new(0));
        let receivers = [count_brought(brought, &enough), count_own(own, &enough)];
        eventually(|| enough.load(Ordering::Relaxed) > 100 * round);
        mux.stop();
        let reached: usize = posters.into_iter().map(join).sum();
        let received: usize = receivers.into_iter().map(join).sum();
        assert_eq!(reached, received);
    }
}

fn count_brought(receiver: Receiver<mux::Event>, all: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let all = Arc::clone(all);
    let count = move |_: &mux::Event| {
        all.fetch_add(1, Ordering::Relaxed);
    };
    thread::spawn(move || receiver.iter().inspect(count).count())
}

fn count_own(mut receiver: mux::Subscription, all: &Arc<AtomicUsize>) -> JoinHandle<usize> {
    let all = Arc::clone(all);
    let count = move |_: &mux::Event| {
        all.fetch_add(1, Ordering::Relaxed);
    };
    thread::spawn(move || receiver.iter().inspect(count).count())
}

// ---- Tasks ----

#[cfg(feature = "async")]
#[test]
fn a_subscription_is_a_stream() {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_core::Stream;

    let (woken, waker) = crate::common::tasks::counting_waker();
    let mut context = Context::from_waker(&waker);
    let mux = TypeMux::new();
    let mut subscription = mux.subscribe::<(Number, Letter)>();
    let mut poll = || Pin::new(&mut subscription).poll_next(&mut context);

    assert!(poll().is_pending());
    mux.post(Letter('a')).unwrap();
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(matches!(poll(), Poll::Ready(Some(event)) if event.is::<Letter>()));
    assert!(poll().is_pending());
    mux.stop();
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert!(matches!(poll(), Poll::Ready(None)));
}
