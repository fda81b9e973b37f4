//! Subscriptions that share the log of their key: what each gets, and what the log keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};
use fanfeed_broker::{
    Broker, BrokerSubscription, HandlerError, MemoryBroker, MemoryOptions, Message, Overflow,
    PoolOptions, Publisher, Subscribe, SubscribeOptions, Subscriber, SubscriberExt,
};

use crate::SOON;
use crate::common::{Gate, LIMIT, eventually, payload};

/// A subscription that sends on what it gets.
pub(crate) fn listen(
    broker: &MemoryBroker,
    buffer: usize,
    overflow: Overflow,
) -> (BrokerSubscription, Receiver<Message>) {
    let (tx, rx) = unbounded();
    let handler = move |message: &Message, _: &_| Ok(tx.send(message.clone())?);
    let options = SubscribeOptions::new().buffer(buffer).overflow(overflow);
    let request = Subscribe::new("k", handler).options(options);
    (broker.subscribe_with(request).unwrap(), rx)
}

pub(crate) fn number(message: &Message) -> usize {
    std::str::from_utf8(message.payload())
        .unwrap()
        .parse()
        .unwrap()
}

/// Small buffers, so that subscriptions leave the log and follow it again all the time, and others
/// come and go.
#[test]
fn each_publishers_messages_keep_their_order_and_none_is_lost_uncounted() {
    const EACH: usize = 3000;
    const PUBLISHERS: usize = 3;
    let broker = MemoryBroker::new();
    let blocking: Vec<_> = (1..4)
        .map(|buffer| listen(&broker, buffer, Overflow::Block))
        .collect();
    let dropping: Vec<_> = (1..4)
        .map(|n| listen(&broker, n * n, Overflow::Drop))
        .collect();
    std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let broker = &broker;
            scope.spawn(move || {
                for n in 0..EACH {
                    broker.publish(payload("k", publisher * EACH + n)).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for n in 0..200 {
                let (_guest, rx) = listen(&broker, 1 + n % 7, Overflow::Block);
                if n % 3 == 0 {
                    let _ = rx.try_recv();
                }
            }
        });
    });
    broker.close(SOON).unwrap();
    for (n, (subscription, rx)) in blocking.iter().chain(&dropping).enumerate() {
        let got: Vec<usize> = rx.try_iter().map(|message| number(&message)).collect();
        let dropped = subscription.dropped() as usize;
        assert_eq!(got.len() + dropped, PUBLISHERS * EACH, "subscription {n}");
        assert!(n >= blocking.len() || dropped == 0);
        for publisher in 0..PUBLISHERS {
            let own = publisher * EACH..(publisher + 1) * EACH;
            assert!(
                got.iter()
                    .filter(|n| own.contains(n))
                    .is_sorted_by(|a, b| a < b)
            );
        }
    }
}

/// The messages wait where no thread is free, and the first one goes to the buffer without the log.
#[test]
fn a_buffer_takes_no_more_than_its_size() {
    let pool = PoolOptions::new().threads(1).limit(1);
    let broker = MemoryOptions::new().pool(pool).build();
    let gate = Gate::new();
    let own = gate.clone();
    let handler = move |_: &Message, _: &_| {
        own.pass();
        Ok(())
    };
    let _busy = broker.subscribe("busy", handler).unwrap();
    broker.publish(payload("busy", 0)).unwrap();
    gate.wait_for_visitor();
    let (subscription, rx) = listen(&broker, 2, Overflow::Drop);
    for n in 0..4 {
        broker.publish(payload("k", n)).unwrap();
    }
    assert_eq!(subscription.stats().depth, Some(2));
    assert_eq!(subscription.dropped(), 2);
    gate.open();
    for n in 0..2 {
        assert_eq!(number(&rx.recv_timeout(SOON).unwrap()), n);
    }
    broker.close(SOON).unwrap();
    assert!(rx.is_empty());
}

/// A publisher that waits with a time limit puts its message into the queue of a follower that has
/// just become idle. The follower is then full and idle, and the other publisher sends it apart.
#[test]
fn a_follower_that_is_full_and_idle_gets_each_message_once() {
    const EACH: usize = 5000;
    let broker = MemoryBroker::new();
    let (blocking, all) = listen(&broker, 1, Overflow::Block);
    let (dropping, some) = listen(&broker, 1, Overflow::Drop);
    std::thread::scope(|scope| {
        for publisher in 0..2 {
            let (broker, both) = (&broker, [&blocking, &dropping]);
            scope.spawn(move || {
                for n in 0..EACH {
                    let message = payload("k", publisher * EACH + n);
                    broker.publish_timeout(message, LIMIT).unwrap();
                    let depths = both.map(|one| one.stats().depth);
                    assert!(depths.iter().all(|depth| *depth <= Some(1)), "{depths:?}");
                }
            });
        }
    });
    broker.close(SOON).unwrap();
    let sorted = |got: &Receiver<Message>| {
        let mut numbers: Vec<_> = got.try_iter().map(|message| number(&message)).collect();
        numbers.sort_unstable();
        numbers
    };
    assert!(sorted(&all).into_iter().eq(0..2 * EACH));
    let some = sorted(&some);
    assert!(some.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(some.len() + dropping.dropped() as usize, 2 * EACH);
}

/// A payload that counts how many of its kind there are.
struct Counted(Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        b"counted"
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn handled_messages_are_freed() {
    let broker = MemoryBroker::new();
    let live = Arc::new(AtomicUsize::new(0));
    let publish = |count: usize| {
        for _ in 0..count {
            live.fetch_add(1, Ordering::Relaxed);
            let payload = Bytes::from_owner(Counted(Arc::clone(&live)));
            broker.publish(Message::new("k", payload)).unwrap();
        }
    };
    let gate = Gate::new();
    let subscribe = |gate: &Gate| {
        let gate = gate.clone();
        let handler = move |_: &Message, _: &_| {
            gate.pass();
            Ok(())
        };
        let options = SubscribeOptions::new().buffer(2000);
        let request = Subscribe::new("k", handler).options(options);
        broker.subscribe_with(request).unwrap()
    };
    let open = Gate::new();
    open.open();
    let fast = [subscribe(&open), subscribe(&open)];
    for count in [1, 3, 1000] {
        publish(count);
        eventually("an idle log keeps nothing", || {
            live.load(Ordering::Relaxed) == 0
        });
    }
    // One that has not handled them keeps them, and takes them along when it leaves.
    let slow = subscribe(&gate);
    publish(1000);
    gate.wait_for_visitor();
    eventually("the fast ones have got all", || {
        fast.iter().all(|one| one.stats().delivered == 2004)
    });
    assert_eq!(live.load(Ordering::Relaxed), 1000);
    std::thread::scope(|scope| {
        scope.spawn(|| slow.cancel());
        eventually("it has left", || broker.health().subscriptions == 2);
        gate.open();
    });
    eventually("nothing is kept for one that left", || {
        live.load(Ordering::Relaxed) == 0
    });
}

/// The blocked one has taken a message from the log, and went apart because its buffer was full.
#[test]
fn a_blocked_handler_does_not_keep_what_others_have_handled() {
    const COUNT: usize = 10_000;
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let own = gate.clone();
    let handler = move |_: &Message, _: &_| {
        own.pass();
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(4);
    let blocked = Subscribe::new("k", handler).options(options.clone());
    let blocked = broker.subscribe_with(blocked).unwrap();
    let options = options.buffer(16).overflow(Overflow::Block);
    let fast = Subscribe::new("k", |_: &Message, _: &_| Ok(())).options(options);
    let fast = broker.subscribe_with(fast).unwrap();
    let live = Arc::new(AtomicUsize::new(0));
    let mut most = 0;
    for n in 0..COUNT {
        most = most.max(live.fetch_add(1, Ordering::Relaxed) + 1);
        let payload = Bytes::from_owner(Counted(Arc::clone(&live)));
        broker.publish(Message::new("k", payload)).unwrap();
        if n == 0 {
            gate.wait_for_visitor();
        }
    }
    // Four in the buffer of the one, 16 in that of the other, and two or three segments of at most
    // 64.
    assert!(most < 256, "{most} messages were kept");
    eventually("the fast one has got all", || {
        fast.stats().delivered == COUNT as u64
    });
    assert_eq!(blocked.dropped(), COUNT as u64 - 5);
    gate.open();
    eventually("nothing is kept", || live.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_failing_message_is_tried_again_before_those_behind_it() {
    let broker = MemoryBroker::new();
    let (tx, rx) = unbounded();
    let handler = move |message: &Message, context: &fanfeed_broker::Context| {
        tx.send((number(message), context.attempt()))?;
        match number(message) % 10 == 3 && context.attempt() == 1 {
            true => Err(HandlerError::Retry(std::time::Duration::from_millis(1))),
            false => Ok(()),
        }
    };
    let _subscription = broker.subscribe("k", handler).unwrap();
    let (_other, others) = listen(&broker, 256, Overflow::Drop);
    for n in 0..100 {
        broker.publish(payload("k", n)).unwrap();
    }
    for n in 0..100 {
        assert_eq!(rx.recv_timeout(SOON), Ok((n, 1)));
        if n % 10 == 3 {
            assert_eq!(rx.recv_timeout(SOON), Ok((n, 2)));
        }
        assert_eq!(number(&others.recv_timeout(SOON).unwrap()), n);
    }
}

#[test]
fn an_unsubscribe_inside_a_handler_ends_a_run() {
    let broker = MemoryBroker::new();
    let gate = Gate::new();
    let slot = Arc::new(std::sync::Mutex::new(None::<BrokerSubscription>));
    let count = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (gate, slot, count) = (gate.clone(), Arc::clone(&slot), Arc::clone(&count));
        move |_: &Message, _: &_| {
            gate.pass();
            if count.fetch_add(1, Ordering::Relaxed) == 4 {
                slot.lock().unwrap().take().unwrap().unsubscribe();
            }
            Ok(())
        }
    };
    *slot.lock().unwrap() = Some(broker.subscribe("k", handler).unwrap());
    let (_other, others) = listen(&broker, 256, Overflow::Drop);
    for n in 0..100 {
        broker.publish(payload("k", n)).unwrap();
    }
    gate.wait_for_visitor();
    gate.open();
    eventually("it has left", || broker.health().subscriptions == 1);
    for n in 0..100 {
        assert_eq!(number(&others.recv_timeout(SOON).unwrap()), n);
    }
    broker.close(SOON).unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 5);
}
