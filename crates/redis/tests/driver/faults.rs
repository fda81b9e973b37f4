//! Servers are killed, connections are cut, members die: what was promised is counted.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::common::{Foreign, LONG, RELEASES, config, connect, count, patient, publish, quick};
use fanfeed_broker::{SubscribeOptions, SubscriberExt};
use fanfeed_testkit::numbers::{Census, under_load};
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{Line, Proxy, RedisServer, Release, Tally, scenario, wait_for, wait_until};

#[test]
fn nothing_is_lost_when_the_server_is_killed_and_restarted() {
    const ALL: usize = 40_000;
    for release in RELEASES {
        let mut server = RedisServer::builder(release).append_only().start();
        let brokers = [(); 3].map(|()| connect(config(&server)));
        let [writer, reader, other] = &brokers;
        let census = Census::start(&[reader, other], ALL);
        under_load(writer, "k", ALL, |_| {
            server.kill();
            server.restart();
        });
        census.complete();
        for broker in &brokers {
            broker.close(LONG).unwrap();
        }
    }
}

#[test]
fn nothing_is_lost_when_connections_are_cut_delayed_and_half_closed() {
    const ALL: usize = 20_000;
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    let through = || connect(quick(&server.url_through(proxy.address())));
    let (writer, reader) = (through(), through());
    let census = Census::start(&[&reader], ALL);
    under_load(&writer, "k", ALL, scenario::spoil(&proxy));
    census.complete();
}

#[test]
fn a_server_that_stalls_is_left_and_found_again() {
    let server = RedisServer::start(Release::New);
    let config = config(&server)
        .read_timeout(Duration::from_millis(300))
        .dial_timeout(Duration::from_millis(300));
    let brokers = [&connect(config.clone()), &connect(config)];
    scenario::stalls(brokers, &server, "in time", |_| {});
}

#[test]
fn a_stock_server_that_forgets_is_reported_and_used_again() {
    let mut server = RedisServer::start(Release::Old);
    let (writer, reader) = (connect(config(&server)), connect(config(&server)));
    scenario::forgets(&writer, &reader, || {
        server.kill();
        server.restart();
    });
}

#[test]
fn a_group_that_was_destroyed_is_made_again_and_reported() {
    let server = RedisServer::start(Release::Old);
    let broker = connect(config(&server));
    let tally = Arc::new(Tally::new(20));
    let _member = broker.subscribe_group("k", "g", count(&tally)).unwrap();
    publish(&broker, "k", 0..10);
    tally.wait_for(10, LONG);
    let mut events = broker.events();
    let _: i64 = Foreign::new(&server).run("DEL fanfeed:s:{k}");
    publish(&broker, "k", 10..20);
    tally.wait_complete(LONG);
    assert_eq!(scenario::gap(&mut events).0.as_deref(), Some("g"));
}

#[test]
fn what_was_trimmed_before_it_was_read_is_reported_with_its_size() {
    let server = RedisServer::start(Release::New);
    let proxy = Proxy::start(server.address());
    let writer = connect(config(&server));
    let reader = connect(quick(&server.url_through(proxy.address())));
    let tally = Arc::new(Tally::new(30));
    let _plain = reader.subscribe("k", count(&tally)).unwrap();
    publish(&writer, "k", 0..10);
    tally.wait_for(10, LONG);
    let mut events = reader.events();
    proxy.refuse(true);
    proxy.cut();
    publish(&writer, "k", 10..30);
    writer.flush(LONG).unwrap();
    let _: i64 = Foreign::new(&server).run("XTRIM fanfeed:s:{k} MAXLEN 5");
    proxy.refuse(false);
    assert_eq!(scenario::gap(&mut events).1, Some(15));
    tally.wait_for(15, LONG);
    assert_eq!(tally.order()[10..], [25, 26, 27, 28, 29]);
}

#[test]
fn the_messages_of_a_killed_process_go_to_the_others() {
    scenario::be_killed_if_child(|url| connect(quick(url)));
    let server = RedisServer::start(Release::Old);
    let broker = connect(config(&server));
    let test = "faults::the_messages_of_a_killed_process_go_to_the_others";
    let (_member, attempts) = scenario::killed_process(test, &broker, &server.url(), 100);
    assert!(attempts >= 2, "the server counted the earlier delivery");
    let mut foreign = Foreign::new(&server);
    wait_until(
        "everything is acknowledged, and the dead member is gone",
        || {
            let consumers: Vec<redis::Value> = foreign.run("XINFO CONSUMERS fanfeed:s:{k} g");
            foreign.pending() == 0 && consumers.len() <= 2
        },
    );
}

#[test]
fn a_member_with_many_subscriptions_to_open_again_keeps_its_message() {
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    // It counts as dead after 1.5 s.
    let config = |url: &str| quick(url).heartbeat(Duration::from_millis(500));
    let many = connect(config(&server.url_through(proxy.address())));
    scenario::opens_many_again([many, connect(config(&server.url()))], &proxy);
}

#[test]
fn a_long_handler_keeps_its_message_as_long_as_its_member_lives() {
    let server = RedisServer::start(Release::Old);
    // The handler takes fifteen heartbeats.
    scenario::long_handler([(); 2].map(|()| connect(config(&server))));
}

#[test]
fn a_member_that_leaves_hands_on_what_it_had_not_begun() {
    let server = RedisServer::start(Release::Old);
    let (one, two) = (connect(patient(&server)), connect(patient(&server)));
    let tally = Arc::new(Tally::new(100));
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let (begun, began) = crossbeam_channel::bounded::<()>(1);
    let counting = count(&tally);
    let leaving = one
        .subscribe_group("k", "g", move |message, context| {
            let _ = begun.try_send(());
            let _ = gate.recv();
            counting(message, context)
        })
        .unwrap();
    publish(&one, "k", 0..100);
    began.recv_timeout(LONG).unwrap();
    // The drop waits for the running handler. Most entries that the group gave to this member are
    // not in its buffer yet.
    let left = thread::spawn(move || drop(leaving));
    let _staying = two.subscribe_group("k", "g", count(&tally)).unwrap();
    tally.wait_for(99, LONG);
    drop(go);
    left.join().unwrap();
    tally.wait_complete(LONG);
    two.close(LONG).unwrap();
    tally.assert_exactly_once();
}

#[test]
fn a_member_whose_broker_closes_hands_on_what_no_handler_has_begun() {
    let server = RedisServer::start(Release::Old);
    // Nobody finds a member dead in time, and no sweep looks for what is left over.
    let slow = || {
        let config = config(&server).heartbeat(Duration::from_secs(600));
        config.sweep(Duration::from_secs(3600))
    };
    scenario::closes_with_a_running_handler([(); 2].map(|()| connect(slow())));
}

#[test]
fn a_failing_message_is_tried_again_by_any_member_if_it_is_requeued() {
    let server = RedisServer::start(Release::New);
    // No sweep in time: the handover rings.
    let config = config(&server).sweep(Duration::from_secs(3600));
    let options = SubscribeOptions::new().backoff(Duration::from_millis(10));
    scenario::requeued([&connect(config.clone()), &connect(config)], options);
}

#[test]
fn a_message_that_is_given_up_is_kept_with_the_dead() {
    let server = RedisServer::start(Release::Old);
    let broker = connect(config(&server));
    let _member = scenario::rejects_one(&broker, "k", "g");
    let mut foreign = Foreign::new(&server);
    let dead = wait_for(LONG, "the message is with the dead", || {
        let dead: Vec<redis::Value> = foreign.run("XRANGE fanfeed:dead:{k} - +");
        (!dead.is_empty()).then_some(dead)
    });
    says(format!("{dead:?}"), &["group", "position", "payload"]);
    wait_until("nothing is pending", || foreign.pending() == 0);
}

#[test]
fn a_subscription_made_while_the_server_is_away_becomes_live() {
    let mut server = RedisServer::builder(Release::Old).append_only().start();
    scenario::becomes_live(&connect(config(&server)), &mut server);
}
