//! Full channels under each overflow policy.
//!
//! Modelled: one or two threads that send to a channel of capacity 1, whose receiver takes what it
//! finds. The receiver is told exactly what it misses, in order. Timers do not fire. Bounds: two or
//! three threads, two or three values, one to three preemptions; with two, two senders take five
//! minutes.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models overflow::
//! ```
use fanfeed::{Feed, Overflow, Receiver, RecvError};
use fanfeed_loom_tests::{Ledger, Model, Token, Why};
use loom::thread;

fn channel(feed: &Feed<Token>, overflow: Overflow) -> Receiver<Token> {
    let options = feed.subscriber().capacity(1).overflow(overflow);
    options.channel().unwrap()
}

/// Receives to the end. Asserts that values and misses are in order: counted together they give
/// each value its number.
fn receive_in_order(receiver: &mut Receiver<Token>) -> (Vec<u32>, u64, RecvError) {
    let (mut values, mut missed) = (Vec::new(), 0);
    loop {
        match receiver.recv() {
            Ok(value) => {
                let before = values.len() as u64 + missed;
                assert_eq!(u64::from(value.number()), before, "a miss is out of order");
                values.push(value.number());
            }
            Err(RecvError::Lagged(count)) => missed += count,
            Err(end) => return (values, missed, end),
        }
    }
}

/// One sender of the values 0, 1 and 2.
fn one_sender(overflow: Overflow) {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = channel(&feed, overflow);
    let sender = {
        let ledger = ledger.clone();
        thread::spawn(move || {
            let sent: usize = (0..3).map(|number| feed.send(ledger.token(number))).sum();
            feed.close();
            sent
        })
    };
    let (values, missed, end) = receive_in_order(&mut receiver);
    let sent = sender.join().unwrap();
    match overflow {
        Overflow::Block => assert_eq!((values.len(), missed, end), (3, 0, RecvError::Closed)),
        Overflow::DropNewest => {
            assert_eq!((values.len(), end), (sent, RecvError::Closed));
            assert_eq!(sent as u64 + missed, 3, "misses were not told");
        }
        Overflow::DropOldest => {
            assert_eq!((sent, end), (3, RecvError::Closed));
            assert_eq!(values.len() as u64 + missed, 3);
        }
        Overflow::Disconnect => {
            assert_eq!((values.len(), missed), (sent, 0));
            assert_eq!(end == RecvError::Overflowed, sent < 3, "another end");
        }
    }
    let stats = receiver.stats();
    assert_eq!(stats.delivered, values.len() as u64);
    assert_eq!(
        stats.dropped,
        missed + u64::from(end == RecvError::Overflowed)
    );
    drop(receiver);
    ledger.assert_settled();
}

/// Two senders; one has the values 10 and 11, the other 20.
///
/// Under `DropOldest` the receiver comes later: while a thread is preempted between claiming a slot
/// and filling or freeing it the others try again, and two that do so in turn are more executions
/// than an end.
fn two_senders(overflow: Overflow) {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = channel(&feed, overflow);
    let numbers: [&[u32]; 2] = match overflow {
        Overflow::Block | Overflow::DropNewest => [&[10], &[20]],
        _ => [&[10, 11], &[20]],
    };
    let in_all = numbers.concat().len();
    let mut senders = numbers
        .map(|numbers| {
            let (feed, ledger) = (feed.clone(), ledger.clone());
            thread::spawn(move || {
                let sent = numbers
                    .iter()
                    .map(|&number| feed.send(ledger.token(number)));
                sent.sum::<usize>()
            })
        })
        .map(Some);
    drop(feed);
    let mut sent = 0;
    let mut join = || {
        sent += senders
            .iter_mut()
            .filter_map(Option::take)
            .map(|sender| sender.join().unwrap())
            .sum::<usize>()
    };
    if overflow == Overflow::DropOldest {
        join();
    }
    let (mut values, mut missed) = (Vec::new(), 0);
    let end = loop {
        match receiver.recv() {
            Ok(value) => values.push(value.number()),
            Err(RecvError::Lagged(count)) => {
                let is_late = overflow == Overflow::DropOldest || !values.is_empty();
                assert!(is_late, "nothing is refused before the channel is full");
                missed += count;
            }
            Err(end) => break end,
        }
    };
    join();
    let of_first: Vec<_> = values.iter().filter(|&&value| value < 20).collect();
    assert!(of_first.is_sorted(), "out of order: {values:?}");
    match overflow {
        Overflow::Block => assert_eq!((sent, values.len(), missed), (in_all, in_all, 0)),
        Overflow::DropNewest => {
            assert_eq!(values.len(), sent);
            assert_eq!(sent + missed as usize, in_all);
        }
        Overflow::DropOldest => {
            assert_eq!(sent, in_all);
            assert_eq!(values.len() + missed as usize, in_all);
        }
        Overflow::Disconnect => {
            assert_eq!((values.len(), missed), (sent, 0));
            assert_eq!(end == RecvError::Overflowed, sent < in_all);
            let error = receiver.subscription().err().try_recv();
            assert_eq!(error.is_ok(), sent < in_all, "another error: {error:?}");
        }
    }
    drop(receiver);
    ledger.assert_settled();
}

#[test]
fn block_loses_nothing() {
    Model::bound(2).holds(|| one_sender(Overflow::Block));
}

#[test]
fn drop_newest_tells_its_misses_in_order() {
    Model::bound(2).holds(|| one_sender(Overflow::DropNewest));
}

#[test]
fn drop_oldest_tells_its_misses_in_order() {
    Model::bound(2).holds(|| one_sender(Overflow::DropOldest));
}

#[test]
fn disconnect_ends_with_what_was_sent_before() {
    Model::bound(3).holds(|| one_sender(Overflow::Disconnect));
}

#[test]
fn block_loses_nothing_of_two() {
    Model::bound(1).holds(|| two_senders(Overflow::Block));
}

#[test]
fn drop_newest_counts_the_misses_of_two() {
    Model::bound(1).holds(|| two_senders(Overflow::DropNewest));
}

#[test]
fn drop_oldest_counts_the_misses_of_two() {
    Model::bound(1).holds(|| two_senders(Overflow::DropOldest));
}

#[test]
fn disconnect_ends_for_one_of_two() {
    Model::bound(1).holds(|| two_senders(Overflow::Disconnect));
}

#[test]
fn an_evicted_slot_has_to_be_given_back() {
    Model::bound(2)
        .because(Why::Race)
        .fails_with("evicted_slot_is_freed_relaxed", || {
            one_sender(Overflow::DropOldest);
        });
}
