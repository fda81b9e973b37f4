//! The broker: another member gets what a leaving member of a group held, and the queue to a server
//! survives a reconnect.
//!
//! Programs: two members of a group in memory, of which one leaves while two threads publish; two
//! threads that publish to followers of a log, of which one is full and one leaves; two threads
//! that publish with a timeout to followers that are full; two threads that publish to a server
//! whose connection breaks in the middle of a batch. The code is `crates/broker` itself, over its
//! `src/sync.rs`. Not modelled: arc-swap, crossbeam's channels and the clock.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test broker
//! ```
#![cfg(fanfeed_shuttle)]

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::driver::{
    Engine, EngineOptions, Inbound, LinkError, Outbound, Published, Sink, SinkError, Transport,
    Verdict,
};
use fanfeed_broker::{
    BrokerSubscription, Capabilities, ConnectError, Context, HandlerError, MemoryOptions, Message,
    Overflow, PoolOptions, Publisher, Receipt, Subscribe, SubscribeOptions, Subscriber,
    SubscriberExt,
};
use fanfeed_shuttle_tests::{Schedules, Why};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

fn numbered(key: &str, n: usize) -> Message {
    Message::new(key, n.to_string())
}

fn number(message: &Message) -> usize {
    let text = std::str::from_utf8(message.payload()).unwrap();
    text.parse().unwrap()
}

/// One member asks for a retry of everything that it gets, which is far off, and leaves. The other
/// one gets it all.
fn a_group_is_handed_over() {
    const COUNT: usize = 2;
    let pool = PoolOptions::new().threads(2);
    let broker = MemoryOptions::new().pool(pool).build();
    let handled = Arc::new((Mutex::new([0; COUNT]), Condvar::new()));
    let in_handler = Arc::clone(&handled);
    let stayer = broker
        .subscribe_group("k", "g", move |message: &Message, _: &Context| {
            in_handler.0.lock().unwrap()[number(message)] += 1;
            in_handler.1.notify_all();
            Ok(())
        })
        .unwrap();
    let leaver = broker
        .subscribe_group("k", "g", |_: &Message, _: &Context| {
            Err(HandlerError::Retry(Duration::from_secs(3600)))
        })
        .unwrap();
    let publisher = {
        let broker = broker.clone();
        thread::spawn(move || {
            for n in 0..COUNT {
                broker.publish(numbered("k", n)).unwrap();
            }
        })
    };
    let leaving = thread::spawn(move || drop(leaver));
    publisher.join().unwrap();
    leaving.join().unwrap();
    let mut counts = handled.0.lock().unwrap();
    while counts.contains(&0) {
        counts = handled.1.wait(counts).unwrap();
    }
    drop(counts);
    drop(stayer);
    let counts = *handled.0.lock().unwrap();
    assert_eq!(counts, [1; COUNT], "a message came twice");
}

/// A member leaves while a message is published, for which it may have been called.
fn a_member_leaves() {
    let pool = PoolOptions::new().threads(2);
    let broker = MemoryOptions::new().pool(pool).build();
    let handled = Arc::new((Mutex::new(0), Condvar::new()));
    let join = || {
        let handled = Arc::clone(&handled);
        let handler = move |_: &Message, _: &Context| {
            *handled.0.lock().unwrap() += 1;
            handled.1.notify_all();
            Ok(())
        };
        broker.subscribe_group("k", "g", handler).unwrap()
    };
    let (leaver, stayer) = (join(), join());
    let leaving = thread::spawn(move || drop(leaver));
    broker.publish(numbered("k", 0)).unwrap();
    let mut count = handled.0.lock().unwrap();
    while *count == 0 {
        count = handled.1.wait(count).unwrap();
    }
    drop(count);
    leaving.join().unwrap();
    drop(stayer);
    assert_eq!(*handled.0.lock().unwrap(), 1, "a message came twice");
}

/// Two publish two messages each to three subscriptions that follow the log of a key. One holds one
/// message and makes them wait, one holds one and drops, and one leaves. The first gets everything,
/// in each publisher's order; the second handles or drops each message, and gets one more at the
/// end, when it follows again.
fn followers_get_what_is_added() {
    let pool = PoolOptions::new().threads(1);
    let broker = MemoryOptions::new().pool(pool).build();
    let handled = Arc::new((Mutex::new([Vec::new(), Vec::new()]), Condvar::new()));
    let subscribe = |which: usize, overflow| {
        let handled = Arc::clone(&handled);
        let handler = move |message: &Message, _: &Context| {
            handled.0.lock().unwrap()[which].push(number(message));
            handled.1.notify_all();
            Ok(())
        };
        let options = SubscribeOptions::new().buffer(1).overflow(overflow);
        let request = Subscribe::new("k", handler).options(options);
        broker.subscribe_with(request).unwrap()
    };
    let blocking = subscribe(0, Overflow::Block);
    let dropping = subscribe(1, Overflow::Drop);
    let leaver = broker.subscribe("k", |_, _| Ok(())).unwrap();
    let publish = |first: usize| {
        let broker = broker.clone();
        thread::spawn(move || {
            for n in first..first + 2 {
                broker.publish(numbered("k", n)).unwrap();
            }
        })
    };
    let publishers = [publish(0), publish(10)];
    let leaving = thread::spawn(move || drop(leaver));
    for publisher in publishers {
        publisher.join().unwrap();
    }
    leaving.join().unwrap();
    let wait_for = |total: usize| {
        let mut lists = handled.0.lock().unwrap();
        while lists[0].len() < total || lists[1].len() + (dropping.dropped() as usize) < total {
            lists = handled.1.wait(lists).unwrap();
        }
    };
    wait_for(4);
    broker.publish(numbered("k", 20)).unwrap();
    wait_for(5);
    drop((blocking, dropping));
    let lists = handled.0.lock().unwrap().clone();
    for list in &lists {
        let of = |first: usize| list.iter().filter(move |n| (first..first + 2).contains(*n));
        let is_sorted = of(0).is_sorted() && of(10).is_sorted();
        assert!(is_sorted, "a message was overtaken: {lists:?}");
        assert_eq!(list.last(), Some(&20), "{lists:?}");
    }
    assert_eq!(lists[0].len(), 5, "a message came twice: {lists:?}");
}

/// Two that publish with a time limit to two subscriptions. One holds one message and makes them
/// wait, and a publisher that waited finds it idle. The other one has room.
fn a_full_follower_is_idle() {
    // With two messages of each, the mutant's livelock is drawn before its repeated message.
    publish_with_a_limit(3, |_| {});
}

/// The same, and each publisher looks how many messages wait.
fn a_full_follower_is_watched() {
    publish_with_a_limit(2, |blocking| {
        let depth = blocking.stats().depth.unwrap();
        assert!(depth <= 1, "a buffer of one holds more");
    });
}

fn publish_with_a_limit(count: usize, look: fn(&BrokerSubscription)) {
    let pool = PoolOptions::new().threads(1);
    let broker = MemoryOptions::new().pool(pool).build();
    let handled = Arc::new((Mutex::new(vec![0; 2 * count]), Condvar::new()));
    let in_handler = Arc::clone(&handled);
    let handler = move |message: &Message, _: &Context| {
        in_handler.0.lock().unwrap()[number(message)] += 1;
        in_handler.1.notify_all();
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(1).overflow(Overflow::Block);
    let request = Subscribe::new("k", handler).options(options);
    let blocking = Arc::new(broker.subscribe_with(request).unwrap());
    let other = broker.subscribe("k", |_, _| Ok(())).unwrap();
    let publishers = [0, count].map(|first| {
        let (broker, blocking) = (broker.clone(), Arc::clone(&blocking));
        thread::spawn(move || {
            for n in first..first + count {
                let limit = Duration::from_secs(3600);
                broker.publish_timeout(numbered("k", n), limit).unwrap();
                look(&blocking);
            }
        })
    });
    for publisher in publishers {
        publisher.join().unwrap();
    }
    let mut counts = handled.0.lock().unwrap();
    while counts.contains(&0) || blocking.stats().depth != Some(0) {
        counts = handled.1.wait(counts).unwrap();
    }
    drop(counts);
    drop((blocking, other));
    let counts = handled.0.lock().unwrap().clone();
    assert_eq!(counts, vec![1; 2 * count], "a message came twice");
}

/// A server that is a list, and whose first connection breaks in the middle of a batch. It has the
/// last message of a batch when the next one comes.
#[derive(Clone, Default)]
struct Server {
    log: Arc<Mutex<Vec<usize>>>,
    broken: Arc<Mutex<bool>>,
    late: Arc<Mutex<Vec<usize>>>,
}

impl Transport for Server {
    fn capabilities(&self) -> &'static Capabilities {
        const PROMISES: Capabilities = Capabilities::new("model");
        &PROMISES
    }

    fn open_outbound(&self) -> Result<Box<dyn Outbound>, ConnectError> {
        Ok(Box::new(self.clone()))
    }

    fn open_inbound(&self) -> Result<Box<dyn Inbound>, ConnectError> {
        Ok(Box::new(Silent::default()))
    }
}

impl Outbound for Server {
    fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError> {
        let breaks = !std::mem::replace(&mut *self.broken.lock().unwrap(), true);
        let arrive = if breaks { batch.len() / 2 } else { batch.len() };
        let mut log = self.log.lock().unwrap();
        log.extend(batch[..arrive].iter().map(number));
        if breaks {
            return Err(LinkError::new("it breaks"));
        }
        let done = |message: &Message| Published::Done(Receipt::new(message.id().clone(), None));
        let mut published: Vec<Published> = batch.iter().map(done).collect();
        let mut late = self.late.lock().unwrap();
        if let Some(last) = batch.last().map(number)
            && !late.contains(&last)
        {
            late.push(last);
            log.pop();
            published.pop();
            published.push(Published::Pending);
        }
        Ok(published)
    }
}

/// A side on which nothing arrives.
#[derive(Default)]
struct Silent(Arc<(Mutex<bool>, Condvar)>);

impl Inbound for Silent {
    fn open(&mut self, _: &Sink) -> Result<(), SinkError> {
        Ok(())
    }

    fn close(&mut self, _: &Sink) {}

    fn settle(&mut self, _: &Sink, _: u64, _: Verdict) {}

    fn pump(&mut self, _: Duration) -> Result<(), LinkError> {
        let mut interrupted = self.0.0.lock().unwrap();
        while !std::mem::take(&mut *interrupted) {
            interrupted = self.0.1.wait(interrupted).unwrap();
        }
        Ok(())
    }

    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::clone(&self.0);
        Arc::new(move || {
            *shared.0.lock().unwrap() = true;
            shared.1.notify_all();
        })
    }
}

/// Two publish two messages each, and a flush that says `Ok` is right: everything is there, in each
/// publisher's order.
fn a_queue_survives_a_reconnect() {
    let server = Server::default();
    let broker = Engine::start(server.clone(), EngineOptions::new().lazy(true)).unwrap();
    let publishers = [0, 10].map(|first| {
        let broker = broker.clone();
        thread::spawn(move || {
            for n in first..first + 2 {
                broker.publish(numbered("k", n)).unwrap();
            }
        })
    });
    for publisher in publishers {
        publisher.join().unwrap();
    }
    // Without a time limit, for timers fire here.
    assert_eq!(broker.flush(Duration::MAX), Ok(()));
    let log = server.log.lock().unwrap().clone();
    for pair in [[0, 1], [10, 11]] {
        let firsts = pair.map(|n| log.iter().position(|logged| *logged == n));
        let [Some(first), Some(second)] = firsts else {
            panic!("a message is not on the server: {log:?}");
        };
        assert!(first < second, "a message was overtaken: {log:?}");
    }
    drop(broker);
}

#[test]
fn what_a_leaving_member_held_goes_to_another() {
    Schedules::new().hold(a_group_is_handed_over);
}

#[test]
fn what_a_leaving_member_was_called_for_goes_to_another() {
    Schedules::new().hold(a_member_leaves);
}

#[test]
fn what_is_added_to_a_log_reaches_its_followers() {
    Schedules::new().hold(followers_get_what_is_added);
}

#[test]
fn a_follower_that_is_full_and_idle_gets_each_message_once() {
    Schedules::new().hold(a_full_follower_is_watched);
}

#[test]
fn a_follower_that_goes_apart_is_not_idle() {
    Schedules::new()
        .because(Why::Says("a message came twice"))
        .find("broker::apart_and_idle", a_full_follower_is_idle);
}

#[test]
fn a_follower_has_no_more_than_it_has_room_for() {
    Schedules::new()
        .because(Why::Says("a buffer of one holds more"))
        .find("broker::clear_for_too_long", a_full_follower_is_watched);
}

#[test]
fn a_follower_rests_under_the_lock_of_its_log() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("broker::end_read_early", followers_get_what_is_added);
}

#[test]
fn a_place_is_given_up_under_the_lock() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("broker::place_given_up_late", a_group_is_handed_over);
}

#[test]
fn a_member_is_called_for_a_message_that_is_handed_back() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("broker::no_recruits", a_group_is_handed_over);
}

#[test]
fn the_retries_of_a_member_that_left_are_hurried() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("broker::no_hurry", a_group_is_handed_over);
}

#[test]
fn a_retry_that_is_set_late_finds_that_its_member_left() {
    Schedules::new()
        .because(Why::Deadlock)
        .find("broker::no_look_after_the_timer", a_group_is_handed_over);
}

#[test]
fn a_batch_survives_a_reconnect_in_order() {
    Schedules::new()
        .with_timers()
        .hold(a_queue_survives_a_reconnect);
}

#[test]
fn a_lost_batch_is_sent_again() {
    Schedules::new()
        .with_timers()
        .because(Why::Says("a message is not on the server"))
        .find("broker::batch_forgotten", a_queue_survives_a_reconnect);
}

#[test]
fn a_lost_batch_goes_before_the_others() {
    Schedules::new()
        .with_timers()
        .because(Why::Says("a message was overtaken"))
        .find("broker::batch_behind", a_queue_survives_a_reconnect);
}

#[test]
fn a_flush_waits_for_the_batch_in_flight() {
    Schedules::new()
        .with_timers()
        .because(Why::Says("a message is not on the server"))
        .find(
            "broker::flush_before_the_batch",
            a_queue_survives_a_reconnect,
        );
}
