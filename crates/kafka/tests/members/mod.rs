//! Members of groups that join, leave, and fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed_broker::{
    Broker, Context, Event, Message, Subscribe, SubscribeError, SubscribeOptions, SubscriberExt,
};
use fanfeed_testkit::numbers::under_load;
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{Tally, scenario, wait_until};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::common::{Cluster, LONG, connect, count, number, options, publish};

#[test]
fn members_come_and_go_without_a_loss() {
    const ALL: usize = 20_000;
    let cluster = Cluster::start(1);
    cluster.topic("k", 6);
    // Messages on all partitions.
    let config = cluster
        .config()
        .record_key(|message| message.payload().to_vec());
    let (writer, stayer) = (connect(config.clone()), connect(config.clone()));
    let tally = Arc::new(Tally::new(ALL));
    let _stayer = stayer.subscribe_group("k", "g", count(&tally)).unwrap();
    under_load(&writer, "k", ALL, |_| {
        let guest = connect(config.clone());
        let seen = Arc::new(AtomicBool::new(false));
        let (counting, told) = (count(&tally), Arc::clone(&seen));
        let _member = guest
            .subscribe_group("k", "g", move |message, context| {
                told.store(true, Ordering::Release);
                counting(message, context)
            })
            .unwrap();
        publish_until(&guest, || seen.load(Ordering::Acquire));
        guest.close(LONG).unwrap();
    });
    tally.wait_complete(LONG);
    assert!(tally.report().missing.is_empty());
    println!("of {ALL} repeated {}", tally.report().repeated.len());
}

/// Publishes strangers until the condition holds.
fn publish_until(broker: &Arc<dyn Broker>, mut condition: impl FnMut() -> bool) {
    let mut n = 1_000_000;
    wait_until("the guest gets a partition", || {
        n += 1;
        broker.publish(Message::new("k", n.to_string())).unwrap();
        condition()
    });
}

#[test]
fn a_failing_message_is_tried_again_by_any_member_if_it_is_requeued() {
    let cluster = Cluster::start(1);
    let broker = cluster.connect();
    let options = SubscribeOptions::new().backoff(Duration::from_millis(10));
    assert_eq!(scenario::requeued([&broker, &broker], options), 4);
}

#[test]
fn a_member_that_is_closed_while_the_cluster_is_away_leaves_its_partitions_to_others() {
    const ALL: usize = 100;
    let cluster = Cluster::start(1);
    cluster.topic("k", 4);
    // Messages on all partitions.
    let config = cluster
        .config()
        .record_key(|message| message.payload().to_vec());
    let (closed, other) = (connect(config.clone()), connect(config));
    let (first, tally) = (Arc::new(Tally::new(ALL)), Arc::new(Tally::new(ALL)));
    let member = closed.subscribe_group("k", "g", count(&first)).unwrap();
    publish(&other, "k", 0..ALL);
    first.wait_complete(LONG);
    cluster.mock().broker_down(1).unwrap();
    wait_until("the receiving side sees the loss", || {
        closed.health().inbound_fault.is_some()
    });
    // If something is left to be committed, this takes all of its time.
    closed.close(Duration::from_secs(1)).unwrap();
    cluster.mock().broker_up(1).unwrap();
    let _other = other.subscribe_group("k", "g", count(&tally)).unwrap();
    publish(&other, "k", 0..ALL);
    // The messages of the first round may come again.
    tally.wait_complete(LONG);
    // The handles outlive the broker.
    drop((member, closed));
}

#[test]
fn what_a_leaving_member_did_not_begin_was_no_attempt() {
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let broker = cluster.connect();
    let member = broker
        .subscribe_group("k", "g", |_, context| {
            assert!(context.token().wait_timeout(LONG));
            Ok(())
        })
        .unwrap();
    publish(&broker, "k", 0..4);
    wait_until("the member has them", || broker.health().pending == 3);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let _next = broker
        .subscribe_group("k", "g", move |message, context| {
            Ok(sender.send((number(message), context.attempt()))?)
        })
        .unwrap();
    member.unsubscribe();
    for n in 1..4 {
        assert_eq!(receiver.recv_timeout(LONG), Ok((n, 1)));
    }
}

/// Guards against one join that holds up all deliveries of its connection.
#[test]
fn a_join_that_takes_long_holds_no_other_subscription_up() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    let cluster = Cluster::start(1);
    for topic in ["slow", "other", "third", "fourth"] {
        cluster.topic(topic, 1);
    }
    let writer = cluster.connect();
    // The join may take as long as a wait of this test.
    let config = cluster.config().dial_timeout(LONG);
    let reader = fanfeed_kafka::connect(config, options().subscribe_timeout(LONG)).unwrap();
    let reader: Arc<dyn Broker> = Arc::new(reader);
    let mut events = reader.events();
    let (plain, third) = (Arc::new(Tally::new(1)), Arc::new(Tally::new(1)));
    let _plain = reader.subscribe("other", count(&plain)).unwrap();
    let refusals = [RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 5_000];
    let commits = RDKafkaApiKey::OffsetCommit;
    cluster.mock().request_errors(commits, &refusals);
    let slow = Arc::new(Tally::new(1));
    let joining = thread::spawn({
        let (reader, count) = (Arc::clone(&reader), count(&slow));
        move || reader.subscribe_group("slow", "g", count).unwrap()
    });
    wait_until("it joins", || reader.health().subscriptions == 2);
    publish(&writer, "other", 0..1);
    plain.wait_complete(LONG);
    let _third = reader.subscribe("third", count(&third)).unwrap();
    publish(&writer, "third", 0..1);
    third.wait_complete(LONG);
    assert!(!joining.is_finished());
    let lost = events
        .try_iter()
        .any(|event| matches!(event, Event::Disconnected { .. }));
    assert!(!lost, "the connection was given up");
    cluster.mock().clear_request_errors(commits);
    let _slow = joining.join().unwrap();
    publish(&writer, "slow", 0..1);
    slow.wait_complete(LONG);

    // A broker is closed while a member joins.
    cluster.mock().request_errors(commits, &refusals);
    let joining = thread::spawn({
        let reader = Arc::clone(&reader);
        move || reader.subscribe_group("fourth", "h", |_, _| Ok(()))
    });
    wait_until("it joins", || reader.health().subscriptions == 4);
    reader.close(LONG).unwrap();
    let error = joining.join().unwrap().unwrap_err();
    assert!(matches!(error, SubscribeError::Closed), "{error}");
}

/// Guards against a join that stays pending and says nothing.
#[test]
fn a_group_that_cannot_be_joined_in_time_is_reported_and_tried_again() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let broker = cluster.connect();
    let mut events = broker.events();
    // Far more than the driver asks for in that time.
    let refusals = [RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 5_000];
    let commits = RDKafkaApiKey::OffsetCommit;
    cluster.mock().request_errors(commits, &refusals);
    let tally = Arc::new(Tally::new(1));
    let member = broker.subscribe_group("k", "g", count(&tally)).unwrap();
    let lost = scenario::disconnected(&mut events);
    says(
        &lost,
        &["the group `g` could not be joined in time", "topic k"],
    );
    cluster.mock().clear_request_errors(commits);
    member.ready(LONG).unwrap();
    publish(&broker, "k", 0..1);
    tally.wait_for(1, LONG);
    broker.close(LONG).unwrap();
}

/// The cluster takes no offsets at first, so this process has to join before it can commit
/// where it begins. librdkafka reads a partition without a committed offset from its beginning.
#[test]
fn a_member_that_joins_before_it_commits_gets_no_older_messages() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    let (writer, reader) = (cluster.connect(), cluster.connect());
    publish(&writer, "k", 0..10);
    writer.flush(LONG).unwrap();
    let commits = RDKafkaApiKey::OffsetCommit;
    let refusals = [RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 5_000];
    cluster.mock().request_errors(commits, &refusals);
    let tally = Arc::new(Tally::new(20));
    cluster.count_requests();
    let joining = thread::spawn({
        let (reader, count) = (Arc::clone(&reader), count(&tally));
        move || reader.subscribe_group("k", "g", count).unwrap()
    });
    // So that it reads the partition before it commits. The second fetch comes after the first was
    // answered.
    wait_until("it reads the partition", || cluster.fetches() >= 2);
    cluster.mock().clear_request_errors(commits);
    let member = joining.join().unwrap();
    member.ready(LONG).unwrap();
    publish(&writer, "k", 10..20);
    tally.wait_for(10, LONG);
    wait_until("their offsets are committed", || {
        cluster.committed("k", "g") == Some(20)
    });
    assert_eq!(tally.order(), (10..20).collect::<Vec<_>>());
}

/// Guards against a member that reads a partition from its beginning because another member has
/// committed where it begins.
#[test]
fn a_member_whose_offsets_another_one_commits_gets_no_older_messages() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    let cluster = Cluster::start(1);
    cluster.topic("k", 2);
    // Messages on both partitions.
    let config = cluster
        .config()
        .record_key(|message| message.payload().to_vec());
    let brokers = [(); 3].map(|()| connect(config.clone()));
    let [writer, first, second] = &brokers;
    publish(writer, "k", 0..20);
    writer.flush(LONG).unwrap();
    let commits = RDKafkaApiKey::OffsetCommit;
    let refusals = [RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 5_000];
    cluster.mock().request_errors(commits, &refusals);
    let tally = Arc::new(Tally::new(40));
    let join = |reader: &Arc<dyn Broker>| {
        cluster.count_requests();
        let (reader, count) = (Arc::clone(reader), count(&tally));
        let joining = thread::spawn(move || reader.subscribe_group("k", "g", count).unwrap());
        wait_until("it reads", || cluster.fetches() >= 2);
        joining
    };
    let joining = [join(first), join(second)];
    cluster.mock().clear_request_errors(commits);
    let members = joining.map(|joining| joining.join().unwrap());
    for member in &members {
        member.ready(LONG).unwrap();
    }
    publish(writer, "k", 20..40);
    tally.wait_for(20, LONG);
    let seen = || tally.order();
    wait_until("all new messages arrive", || {
        (20..40).all(|n| seen().contains(&n))
    });
    assert!(seen().iter().all(|n| *n >= 20), "{:?}", seen());
}

/// Guards against a partition that stays paused because the subscription before had no room.
#[test]
fn a_subscription_reads_on_after_one_that_left_without_room() {
    let cluster = Cluster::start(1);
    cluster.topic("k", 1);
    cluster.topic("other", 1);
    let broker = cluster.connect();
    let subscribe = |subscribe: Subscribe| {
        let subscription = broker.subscribe_with(subscribe).unwrap();
        subscription.ready(LONG).unwrap();
        subscription
    };
    let (other, tally) = (Arc::new(Tally::new(2)), Arc::new(Tally::new(20)));
    let _other = subscribe(Subscribe::new("other", count(&other)));
    let wait = |_: &Message, context: &Context| {
        context.token().wait_timeout(LONG);
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(4);
    let stuck = subscribe(Subscribe::new("k", wait).options(options));
    publish(&broker, "k", 0..20);
    wait_until_paused(&broker, &broker, &other);
    stuck.unsubscribe();
    let _next = subscribe(Subscribe::new("k", count(&tally)));
    publish(&broker, "k", 0..20);
    tally.wait_complete(LONG);
}

/// Waits until the partitions of a subscription with a buffer of four are paused. `other` counts
/// the messages of another topic that the same consumer reads.
fn wait_until_paused(writer: &Arc<dyn Broker>, reader: &Arc<dyn Broker>, other: &Tally) {
    writer.flush(LONG).unwrap();
    wait_until("its buffer is full", || reader.health().pending >= 3);
    // The fetch that returns the first of these returns the rest of the others, if none before did.
    // The consumer returns the second after them.
    for n in 0..2 {
        publish(writer, "other", n..n + 1);
        other.wait_for(n + 1, LONG);
    }
}

/// Guards against a partition that comes back paused because the member had no room when the
/// partition was taken away. The member keeps its other partition: librdkafka forgets partitions
/// with their topic.
#[test]
fn a_member_reads_on_in_a_partition_that_was_taken_away_without_room_and_comes_back() {
    let cluster = Cluster::start(1);
    cluster.topic("k", 2);
    cluster.topic("other", 1);
    // Messages on both partitions.
    let config = cluster
        .config()
        .record_key(|message| message.payload().to_vec());
    let brokers = [(); 3].map(|()| connect(config.clone()));
    let [writer, reader, guest] = &brokers;
    let (other, tally) = (Arc::new(Tally::new(2)), Arc::new(Tally::new(80)));
    let other_member = reader.subscribe_group("other", "g", count(&other)).unwrap();
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let counting = count(&tally);
    let wait = move |message: &Message, context: &Context| {
        let _ = gate.recv();
        counting(message, context)
    };
    let options = SubscribeOptions::new().buffer(4);
    let request = Subscribe::new("k", wait).group("g").options(options);
    let member = reader.subscribe_with(request).unwrap();
    for joining in [&other_member, &member] {
        joining.ready(LONG).unwrap();
    }
    publish(writer, "k", 0..40);
    wait_until_paused(writer, reader, &other);
    let taken = Arc::new(Tally::new(40));
    let _guest = guest.subscribe_group("k", "g", count(&taken)).unwrap();
    taken.wait_for(1, LONG);
    guest.close(LONG).unwrap();
    drop(go);
    publish(writer, "k", 40..80);
    wait_until("all new messages arrive", || {
        let seen = tally.order();
        (40..80).all(|n| seen.contains(&n))
    });
}
