//! The numbers of a thread's visits to a feed at the end of 32 bits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use super::Feed;

#[test]
fn visits_are_numbered_in_32_bits_and_go_round() {
    let feed = Feed::new();
    let calls = Arc::new(AtomicUsize::new(0));
    // The record of this thread is made by the first send.
    feed.send(0);
    feed.core.records().set_visits(u32::MAX - 20);
    for number in 0..40 {
        let mut channel = feed.channel(1).unwrap();
        let closure = feed.subscribe_fn({
            let calls = Arc::clone(&calls);
            move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(feed.send(number), 2);
        closure.unsubscribe();
        assert_eq!(channel.try_recv(), Ok(number));
    }
    assert_eq!(calls.load(Ordering::Relaxed), 40);
    assert_eq!(feed.subscriber_count(), 0);
}

#[test]
fn the_visit_with_the_last_number_is_waited_for() {
    for last in (u32::MAX - 8)..=u32::MAX {
        let feed = Feed::new();
        let (entered, inside) = mpsc::channel();
        let (leave, left) = mpsc::channel::<()>();
        let left = std::sync::Mutex::new(left);
        let done = Arc::new(AtomicUsize::new(0));
        let subscription = feed.subscribe_fn({
            let done = Arc::clone(&done);
            move |number: &u64| {
                if *number == 1 {
                    entered.send(()).unwrap();
                    let _ = left.lock().unwrap().recv();
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let sender = thread::spawn({
            let feed = feed.clone();
            move || {
                feed.send(0);
                feed.core.records().set_visits(last);
                feed.send(1);
            }
        });
        inside.recv().unwrap();
        let unsubscriber = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                subscription.unsubscribe();
                done.load(Ordering::SeqCst)
            }
        });
        while feed.subscriber_count() != 0 {
            thread::yield_now();
        }
        drop(leave);
        assert_eq!(unsubscriber.join().unwrap(), 1, "it waited for the visit");
        sender.join().unwrap();
    }
}
