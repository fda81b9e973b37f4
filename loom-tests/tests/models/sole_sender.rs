//! A sole sender, and a second thread that begins to send.
//!
//! Modelled: each thread sends one or two values to a channel that has room for all; the receiver
//! takes them. In models there is one takeover, and then the feed is shared. Bounds: two threads,
//! three to five preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-loom-tests --release --test models sole_sender::
//! ```
use fanfeed::Feed;
use fanfeed_loom_tests::{Ledger, Model, Why};
use loom::thread;

/// The one that was first goes on while the second begins. Nothing is lost, and nothing comes
/// twice.
fn a_second_sender() {
    let ledger = Ledger::new();
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    assert_eq!(feed.send(ledger.token(1)), 1);
    let second = {
        let (feed, ledger) = (feed.clone(), ledger.clone());
        thread::spawn(move || assert_eq!(feed.send(ledger.token(3)), 1))
    };
    assert_eq!(feed.send(ledger.token(2)), 1);
    second.join().unwrap();
    drop(feed);
    let numbers: Vec<_> = receiver.iter().map(|token| token.number()).collect();
    assert!(
        [[1, 2, 3], [1, 3, 2]].contains(&numbers[..].try_into().expect("all three arrive")),
        "{numbers:?}"
    );
    drop(receiver);
    ledger.assert_settled();
}

/// The second one takes the right over, the first one sends again, and then both share.
fn there_and_back() {
    let feed = Feed::new();
    let mut receiver = feed.channel(4).unwrap();
    assert_eq!(feed.send(1), 1);
    let second = {
        let feed = feed.clone();
        thread::spawn(move || feed.send(3) + feed.send(4))
    };
    assert_eq!(feed.send(2), 1);
    assert_eq!(second.join().unwrap(), 2);
    drop(feed);
    let numbers: Vec<_> = receiver.iter().collect();
    let of = |numbers: &[u32], wanted: [u32; 2]| {
        let mut numbers = numbers.iter().filter(|number| wanted.contains(number));
        [numbers.next(), numbers.next()] == [Some(&wanted[0]), Some(&wanted[1])]
    };
    assert_eq!(numbers.len(), 4, "{numbers:?}");
    assert!(of(&numbers, [1, 2]) && of(&numbers, [3, 4]), "{numbers:?}");
}

/// Both begin at once, on a feed on which nobody has sent.
fn two_first_senders() {
    let feed = Feed::new();
    let mut receiver = feed.channel(2).unwrap();
    let second = {
        let feed = feed.clone();
        thread::spawn(move || assert_eq!(feed.send(2), 1))
    };
    assert_eq!(feed.send(1), 1);
    second.join().unwrap();
    let mut numbers = [(); 2].map(|()| receiver.try_recv().unwrap());
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_second_sender_loses_nothing() {
    Model::bound(5).holds(a_second_sender);
}

#[test]
fn a_right_that_goes_from_thread_to_thread_loses_nothing() {
    Model::bound(3).holds(there_and_back);
}

#[test]
fn two_first_senders_lose_nothing() {
    Model::bound(3).holds(two_first_senders);
}

#[test]
fn the_only_sender_has_to_be_waited_for() {
    Model::bound(3)
        .because(Why::Race)
        .fails_with("sole_sender_is_not_waited_for", a_second_sender);
}

#[test]
fn a_sender_to_one_subscriber_has_to_look_again() {
    Model::bound(5).because(Why::Race).fails_with(
        "only_subscriber_is_served_beside_a_second_sender",
        a_second_sender,
    );
}

#[test]
fn a_sender_to_one_subscriber_has_to_show_itself_first() {
    Model::bound(5)
        .because(Why::Race)
        .fails_with("sole_delivery_begins_without_light_fence", a_second_sender);
}

#[test]
fn the_only_sender_has_to_be_revoked_in_order() {
    for mutant in [
        "window_is_opened_without_light_fence",
        "sole_sender_is_revoked_without_heavy_fence",
    ] {
        Model::bound(5)
            .because(Why::Race)
            .fails_with(mutant, a_second_sender);
    }
}
