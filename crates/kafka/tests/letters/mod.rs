//! Dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed_broker::{
    Broker, BrokerSubscription, Context, Event, HandlerError, Message, Start, Subscribe,
    SubscribeOptions, SubscriberExt,
};
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{Tally, scenario, wait_until};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::common::{Cluster, LONG, connect, count, number, publish};

/// A cluster with a topic and that of its letters, which have one partition each.
fn with_letters() -> Cluster {
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    cluster.topic("dead.k", 1);
    cluster
}

/// A member that gives every message up.
fn rejects_all(broker: &Arc<dyn Broker>) -> BrokerSubscription {
    broker
        .subscribe_group("k", "g", |_, _| Err(HandlerError::Reject))
        .unwrap()
}

/// Waits until the cluster has the letters of so many messages.
fn wait_for_letters(broker: &Arc<dyn Broker>, messages: usize) {
    let tally = Arc::new(Tally::new(messages));
    let request = Subscribe::new("dead.k", count(&tally));
    let request = request.options(SubscribeOptions::new().start(Start::Earliest));
    let _dead = broker.subscribe_with(request).unwrap();
    tally.wait_complete(LONG);
}

#[test]
fn a_message_that_is_given_up_is_kept_with_the_dead() {
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    let member = scenario::rejects_one(&broker, "k", "g");
    let (dead, letters) = crossbeam_channel::unbounded();
    let request = Subscribe::new("dead.k", move |message: &Message, _: &Context| {
        Ok(dead.send(message.clone())?)
    });
    let request = request.options(SubscribeOptions::new().start(Start::Earliest));
    let _dead = broker.subscribe_with(request).unwrap();
    let letter = letters.recv_timeout(LONG).unwrap();
    assert_eq!(number(&letter), 1);
    assert_eq!(letter.headers().get("ff-dead-group"), Some("g"));
    assert_eq!(letter.headers().get("ff-dead-topic"), Some("k"));
    // It does not come again to the next member.
    drop(member);
    let seen = Arc::new(AtomicUsize::new(0));
    let last = Arc::new(AtomicUsize::new(0));
    let (counting, telling) = (Arc::clone(&seen), Arc::clone(&last));
    let _next = broker
        .subscribe_group("k", "g", move |message, _| {
            counting.fetch_add(1, Ordering::AcqRel);
            telling.store(number(message), Ordering::Release);
            Ok(())
        })
        .unwrap();
    publish(&broker, "k", 7..8);
    wait_until("the next message comes", || {
        last.load(Ordering::Acquire) == 7
    });
    assert_eq!(seen.load(Ordering::Acquire), 1);
}

#[test]
fn dead_letters_are_as_large_as_messages_and_their_loss_is_reported() {
    let cluster = Cluster::start(1);
    let broker = connect(cluster.config().max_message(2_000_000));
    let reject = |key: &str| {
        let subscribed = broker.subscribe_group(key, "g", |_, _| Err(HandlerError::Reject));
        subscribed.unwrap()
    };
    let _members = ["large", "denied"].map(reject);
    broker
        .publish(Message::new("large", vec![0; 1_500_000]))
        .unwrap();
    let (dead, letters) = crossbeam_channel::unbounded();
    let request = Subscribe::new("dead.large", move |message: &Message, _: &Context| {
        Ok(dead.send(message.payload().len())?)
    });
    let request = request.options(SubscribeOptions::new().start(Start::Earliest));
    let _dead = broker.subscribe_with(request).unwrap();
    assert_eq!(letters.recv_timeout(LONG), Ok(1_500_000));
    let mut events = broker.events();
    cluster.topic("dead.denied", 1);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock().topic_error("dead.denied", denied).unwrap();
    broker.publish(Message::new("denied", "x")).unwrap();
    let error = scenario::undecodable(&mut events);
    says(&error, &["dead.denied may not be used"]);
}

#[test]
fn dead_letters_that_there_was_no_room_for_are_tried_again() {
    const ALL: usize = 3;
    let cluster = with_letters();
    let writer = cluster.connect();
    let one = ("queue.buffering.max.messages", "1");
    let broker = connect(cluster.config().property(one.0, one.1));
    let member = rejects_all(&broker);
    // The first letter fills the producer as long as the topic has no leader.
    cluster.lead("dead.k", 0, None);
    publish(&writer, "k", 0..ALL);
    wait_until("all are given up", || broker.stats().given_up == ALL as u64);
    cluster.lead("dead.k", 0, Some(1));
    wait_for_letters(&writer, ALL);
    wait_until("their offsets are committed", || {
        cluster.committed("k", "g") == Some(ALL as i64)
    });
    drop(member);
    broker.close(LONG).unwrap();
    let next = Arc::new(Tally::new(ALL + 1));
    let _next = writer.subscribe_group("k", "g", count(&next)).unwrap();
    publish(&writer, "k", ALL..ALL + 1);
    next.wait_for(1, LONG);
    assert_eq!(next.order(), [ALL]);
}

/// Three letters wait for the cluster when the member leaves, and are confirmed together. None of
/// their messages comes again.
#[test]
fn a_member_that_leaves_commits_all_letters_that_are_confirmed_together() {
    const ALL: usize = 3;
    let cluster = with_letters();
    let writer = cluster.connect();
    let broker = cluster.connect();
    let member = rejects_all(&broker);
    cluster.lead("dead.k", 0, None);
    publish(&writer, "k", 0..ALL);
    wait_until("all are given up", || broker.stats().given_up == ALL as u64);
    drop(member);
    cluster.lead("dead.k", 0, Some(1));
    wait_until("their offsets are committed", || {
        cluster.committed("k", "g") == Some(ALL as i64)
    });
}

/// No offset behind a letter can be committed. So a group stops reading if the cluster does not
/// confirm one, although few letters wait.
#[test]
fn groups_read_no_further_while_a_letter_waits_for_long() {
    let cluster = with_letters();
    let writer = cluster.connect();
    let broker = connect(cluster.config().confirm_timeout(Duration::from_secs(1)));
    let mut events = broker.events();
    let _member = rejects_all(&broker);
    cluster.lead("dead.k", 0, None);
    publish(&writer, "k", 0..1);
    says(scenario::undecodable(&mut events), &["read no further"]);
    cluster.lead("dead.k", 0, Some(1));
    publish(&writer, "k", 1..2);
    wait_until("their offsets are committed", || {
        cluster.committed("k", "g") == Some(2)
    });
}

/// A message is given up while the topic of its letter has no leader, and its broker is closed. The
/// letter is not on the cluster, so the next member gets the message again.
#[test]
fn a_message_whose_letter_is_not_confirmed_comes_again_after_a_close() {
    let cluster = with_letters();
    let writer = cluster.connect();
    let broker = cluster.connect();
    let _member = rejects_all(&broker);
    cluster.lead("dead.k", 0, None);
    publish(&writer, "k", 0..1);
    wait_until("it is given up", || broker.stats().given_up == 1);
    broker.close(LONG).unwrap();
    let tally = Arc::new(Tally::new(1));
    let _next = writer.subscribe_group("k", "g", count(&tally)).unwrap();
    tally.wait_complete(LONG);
}

/// The handlers give their messages up while the broker is closed, and the cluster refuses the
/// letters. Each is reported and counted, or its message comes again.
#[test]
fn letters_that_are_refused_during_a_close_are_reported_and_counted() {
    const ALL: usize = 4;
    let cluster = with_letters();
    let writer = cluster.connect();
    let broker = cluster.connect();
    let mut events = broker.events();
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let _member = broker
        .subscribe_group("k", "g", move |message, _| {
            if number(message) > 0 {
                let _ = gate.recv();
            }
            Err(HandlerError::Reject)
        })
        .unwrap();
    publish(&writer, "k", 0..ALL);
    writer.flush(LONG).unwrap();
    // The first letter is kept, so the producer of the letters knows the topic.
    wait_for_letters(&writer, 1);
    wait_until("the others wait", || broker.health().pending == ALL - 2);
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let produce = RDKafkaApiKey::Produce;
    cluster.mock().request_errors(produce, &[denied; 64]);
    let closing = thread::spawn({
        let broker = Arc::clone(&broker);
        move || broker.close(LONG)
    });
    wait_until("it closes", || broker.is_closed());
    drop(go);
    closing.join().unwrap().unwrap();
    cluster.mock().clear_request_errors(produce);
    let told = events.try_iter().filter(|event| match event {
        Event::Undecodable { error, .. } => error.contains("dead.k may not be used"),
        _ => false,
    });
    let lost = broker.stats().dead_letters_lost as usize;
    assert_eq!(told.count(), lost);
    // A letter that was not refused in time leaves its message to the next member.
    let next = Arc::new(Tally::new(ALL + 1));
    let _next = writer.subscribe_group("k", "g", count(&next)).unwrap();
    publish(&writer, "k", ALL..ALL + 1);
    wait_until("the others come again", || next.different() >= ALL - lost);
}

#[test]
fn groups_read_no_further_while_too_many_letters_wait() {
    const ALL: usize = 6000;
    /// The letters that may wait, and what may be delivered before their number is looked at: a
    /// round of records and a buffer.
    const MOST: u64 = 1000 + 1000 + 1000;
    let cluster = with_letters();
    let writer = cluster.connect();
    let broker = cluster.connect();
    let mut events = broker.events_with(1 << 14);
    let _member = rejects_all(&broker);
    cluster.lead("dead.k", 0, None);
    publish(&writer, "k", 0..ALL);
    says(scenario::undecodable(&mut events), &["read no further"]);
    assert!(broker.stats().given_up <= MOST);
    cluster.lead("dead.k", 0, Some(1));
    wait_for_letters(&writer, ALL);
}

/// A group gives up a message of another program for whose letter no producer ever has room.
#[test]
fn a_letter_larger_than_the_memory_of_the_producer_is_lost_and_holds_nothing_up() {
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let writer = cluster.connect();
    let config = cluster.config().property("queue.buffering.max.kbytes", "8");
    let broker = connect(config);
    let mut events = broker.events();
    let _member = rejects_all(&broker);
    writer.publish(Message::new("k", vec![0; 9000])).unwrap();
    let error = scenario::undecodable(&mut events);
    says(
        &error,
        &["not kept", "8192 bytes", "queue.buffering.max.kbytes"],
    );
    wait_until("it is counted", || broker.stats().dead_letters_lost == 1);
    publish(&writer, "k", 0..1);
    wait_until("both are committed", || {
        cluster.committed("k", "g") == Some(2)
    });
}
