//! Servers are killed, connections are cut, members die: what was promised is counted.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{LONG, RELEASES, config, connect, count, number, publish, quick};
use fanfeed_broker::{Broker, Event, Message, Subscribe, SubscribeOptions, SubscriberExt};
use fanfeed_testkit::proxy::Way;
use fanfeed_testkit::{Proxy, RedisServer, Release, Tally, wait_until};

/// Publishes `0..all` while `disturb` is called each time another tenth is on its way.
fn under_load(writer: &Arc<dyn Broker>, key: &str, all: usize, mut disturb: impl FnMut(usize)) {
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..all {
                writer
                    .publish(Message::new(key, number.to_string()))
                    .unwrap();
                sent.store(number + 1, Ordering::Release);
            }
        });
        for tenth in 1..=3 {
            wait_until("another part is sent", || {
                sent.load(Ordering::Acquire) >= tenth * all / 4
            });
            disturb(tenth);
        }
    });
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_and_restarted() {
    const ALL: usize = 40_000;
    for release in RELEASES {
        let mut server = RedisServer::builder(release).append_only().start();
        let (writer, reader, other) = (
            connect(config(&server)),
            connect(config(&server)),
            connect(config(&server)),
        );
        let (plain, group) = (Arc::new(Tally::new(ALL)), Arc::new(Tally::new(ALL)));
        let _plain = reader.subscribe("k", count(&plain)).unwrap();
        let _one = reader.subscribe_group("k", "g", count(&group)).unwrap();
        let _two = other.subscribe_group("k", "g", count(&group)).unwrap();
        under_load(&writer, "k", ALL, |_| {
            server.kill();
            server.restart();
        });
        plain.wait_complete(LONG);
        group.wait_complete(LONG);
        assert!(plain.report().is_complete() && group.report().is_complete());
        writer.close(LONG).unwrap();
        reader.close(LONG).unwrap();
        other.close(LONG).unwrap();
        let (plain, group) = (plain.report().repeated.len(), group.report().repeated.len());
        println!("{release:?}: of {ALL} repeated: plain {plain}, group {group}");
    }
}

#[test]
fn nothing_is_lost_when_connections_are_cut_delayed_and_half_closed() {
    const ALL: usize = 20_000;
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    let through = || connect(quick(&server.url_through(proxy.address())));
    let (writer, reader) = (through(), through());
    let (plain, group) = (Arc::new(Tally::new(ALL)), Arc::new(Tally::new(ALL)));
    let _plain = reader.subscribe("k", count(&plain)).unwrap();
    let _member = reader.subscribe_group("k", "g", count(&group)).unwrap();
    under_load(&writer, "k", ALL, |part| match part {
        1 => proxy.cut(),
        2 => {
            proxy.delay(Duration::from_millis(5));
            proxy.half_close(Way::ToServer);
        }
        _ => {
            proxy.half_close(Way::ToClient);
            proxy.delay(Duration::ZERO);
            proxy.cut();
        }
    });
    plain.wait_complete(LONG);
    group.wait_complete(LONG);
    assert!(plain.report().is_complete() && group.report().is_complete());
}

#[test]
fn a_server_that_stalls_is_left_and_found_again() {
    let server = RedisServer::start(Release::New);
    let config = config(&server)
        .read_timeout(Duration::from_millis(300))
        .dial_timeout(Duration::from_millis(300));
    let (writer, reader) = (connect(config.clone()), connect(config));
    let tally = Arc::new(Tally::new(200));
    let _member = reader.subscribe_group("k", "g", count(&tally)).unwrap();
    publish(&writer, "k", 0..100);
    tally.wait_for(100, LONG);
    let mut events = reader.events();
    server.pause();
    loop {
        if let Event::Disconnected { reason } = events.recv_timeout(LONG).unwrap() {
            assert!(reason.contains("in time"), "{reason}");
            break;
        }
    }
    server.resume();
    publish(&writer, "k", 100..200);
    tally.wait_complete(LONG);
}

#[test]
fn a_stock_server_that_forgets_is_reported_and_used_again() {
    let mut server = RedisServer::start(Release::Old);
    let (writer, reader) = (connect(config(&server)), connect(config(&server)));
    let (plain, group) = (Arc::new(Tally::new(20)), Arc::new(Tally::new(20)));
    let _plain = reader.subscribe("k", count(&plain)).unwrap();
    let _member = reader.subscribe_group("k", "g", count(&group)).unwrap();
    publish(&writer, "k", 0..10);
    plain.wait_for(10, LONG);
    group.wait_for(10, LONG);
    let mut events = reader.events();
    server.kill();
    server.restart();
    let mut gaps = Vec::new();
    while gaps.len() < 2 {
        if let Event::Gap { group, missed, .. } = events.recv_timeout(LONG).unwrap() {
            assert_eq!(missed, None);
            gaps.push(group.map(|group| group.to_string()));
        }
    }
    gaps.sort();
    assert_eq!(gaps, [None, Some("g".to_owned())]);
    publish(&writer, "k", 10..20);
    plain.wait_complete(LONG);
    group.wait_complete(LONG);
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
    let mut foreign = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    redis::cmd("DEL")
        .arg("fanfeed:s:{k}")
        .exec(&mut foreign)
        .unwrap();
    publish(&broker, "k", 10..20);
    tally.wait_complete(LONG);
    let gap = loop {
        if let Event::Gap { group, .. } = events.recv_timeout(LONG).unwrap() {
            break group;
        }
    };
    assert_eq!(gap.as_deref(), Some("g"));
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
    let mut foreign = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    redis::cmd("XTRIM")
        .arg("fanfeed:s:{k}")
        .arg("MAXLEN")
        .arg(5)
        .exec(&mut foreign)
        .unwrap();
    proxy.refuse(false);
    let missed = loop {
        if let Event::Gap { missed, .. } = events.recv_timeout(LONG).unwrap() {
            break missed;
        }
    };
    assert_eq!(missed, Some(15));
    tally.wait_for(15, LONG);
    assert_eq!(tally.order()[10..], [25, 26, 27, 28, 29]);
}

/// A process with a member in it, which this test binary runs as a child.
#[test]
fn the_messages_of_a_killed_process_go_to_the_others() {
    if let Ok(url) = std::env::var("FANFEED_REDIS_MEMBER") {
        // The child: it takes messages and never finishes one.
        let broker = connect(quick(&url));
        let _member = broker
            .subscribe_group("k", "g", |_, _| {
                println!("took one");
                loop {
                    thread::park();
                }
            })
            .unwrap();
        loop {
            thread::park();
        }
    }
    let server = RedisServer::start(Release::Old);
    let broker = connect(config(&server));
    let tally = Arc::new(Tally::new(100));
    // So that the group is there before the child.
    drop(broker.subscribe_group("k", "g", count(&tally)).unwrap());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_messages_of_a_killed_process_go_to_the_others",
            "--nocapture",
        ])
        .env("FANFEED_REDIS_MEMBER", server.url())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    publish(&broker, "k", 0..100);
    let lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let took = std::io::BufRead::lines(lines)
        .map_while(Result::ok)
        .any(|line| line.contains("took one"));
    assert!(took, "the child took nothing");
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counting, most) = (count(&tally), Arc::clone(&attempts));
    let _member = broker
        .subscribe_group("k", "g", move |message, context| {
            most.fetch_max(context.attempt() as usize, Ordering::Relaxed);
            counting(message, context)
        })
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
    assert!(
        attempts.load(Ordering::Relaxed) >= 2,
        "the server counted the earlier delivery"
    );
    let mut foreign = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    wait_until(
        "everything is acknowledged, and the dead member is gone",
        || {
            let pending: redis::Value = redis::cmd("XPENDING")
                .arg("fanfeed:s:{k}")
                .arg("g")
                .query(&mut foreign)
                .unwrap();
            let consumers: Vec<redis::Value> = redis::cmd("XINFO")
                .arg("CONSUMERS")
                .arg("fanfeed:s:{k}")
                .arg("g")
                .query(&mut foreign)
                .unwrap();
            matches!(pending, redis::Value::Array(parts) if parts[0] == redis::Value::Int(0))
                && consumers.len() <= 2
        },
    );
}

#[test]
fn a_long_handler_keeps_its_message_as_long_as_its_member_lives() {
    let server = RedisServer::start(Release::Old);
    let (one, two) = (connect(config(&server)), connect(config(&server)));
    let tally = Arc::new(Tally::new(10));
    let (slow, counting) = (Arc::new(AtomicBool::new(true)), count(&tally));
    let handler = move |message: &Message, context: &fanfeed_broker::Context| {
        if slow.swap(false, Ordering::AcqRel) {
            // Ten heartbeats, and more than three times what makes a silent member dead.
            thread::sleep(Duration::from_millis(2_000));
        }
        counting(message, context)
    };
    let handler: Arc<dyn fanfeed_broker::Handler> = Arc::new(handler);
    let _one = one
        .subscribe_with(Subscribe::shared("k", Arc::clone(&handler)).group("g"))
        .unwrap();
    let _two = two
        .subscribe_with(Subscribe::shared("k", handler).group("g"))
        .unwrap();
    publish(&one, "k", 0..10);
    tally.wait_complete(LONG);
    one.close(LONG).unwrap();
    two.close(LONG).unwrap();
    tally.assert_exactly_once();
}

#[test]
fn a_member_that_leaves_hands_on_what_it_had_not_begun() {
    let server = RedisServer::start(Release::Old);
    let (one, two) = (connect(config(&server)), connect(config(&server)));
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
    let _staying = two.subscribe_group("k", "g", count(&tally)).unwrap();
    // It waits for the handler that is running.
    let left = thread::spawn(move || drop(leaving));
    // What the pool had taken in one go with the running one follows when that ends.
    tally.wait_for(30, LONG);
    drop(go);
    left.join().unwrap();
    tally.wait_complete(LONG);
    two.close(LONG).unwrap();
    tally.assert_exactly_once();
}

#[test]
fn a_failing_message_is_tried_again_by_any_member_if_it_is_requeued() {
    let server = RedisServer::start(Release::New);
    // No sweep in time: the handover rings.
    let config = config(&server).sweep(Duration::from_secs(3600));
    let brokers = [connect(config.clone()), connect(config)];
    let tally = Arc::new(Tally::new(20));
    let failures = Arc::new(AtomicUsize::new(0));
    let members: Vec<_> = brokers
        .iter()
        .map(|broker| {
            let (counting, failures) = (count(&tally), Arc::clone(&failures));
            let handler = move |message: &Message, context: &fanfeed_broker::Context| {
                if number(message) == 3 && failures.fetch_add(1, Ordering::AcqRel) < 3 {
                    return Err(fanfeed_broker::HandlerError::failed("not yet"));
                }
                counting(message, context)
            };
            let options = SubscribeOptions::new()
                .redelivery(fanfeed_broker::Redelivery::Requeue)
                .backoff(Duration::from_millis(10));
            let request = Subscribe::new("k", handler).group("g").options(options);
            broker.subscribe_with(request).unwrap()
        })
        .collect();
    publish(&brokers[0], "k", 0..20);
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
    assert_eq!(failures.load(Ordering::Acquire), 4);
    drop(members);
}

#[test]
fn a_message_that_is_given_up_is_kept_with_the_dead() {
    let server = RedisServer::start(Release::Old);
    let broker = connect(config(&server));
    let tally = Arc::new(Tally::new(3));
    let counting = count(&tally);
    let _member = broker
        .subscribe_group("k", "g", move |message, context| {
            if number(message) == 1 {
                return Err(fanfeed_broker::HandlerError::Reject);
            }
            counting(message, context)
        })
        .unwrap();
    publish(&broker, "k", 0..3);
    tally.wait_for(2, LONG);
    let mut foreign = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut dead = Vec::new();
    wait_until("the message is with the dead", || {
        let range = redis::cmd("XRANGE")
            .arg("fanfeed:dead:{k}")
            .arg("-")
            .arg("+")
            .query(&mut foreign);
        dead = range.unwrap();
        !dead.is_empty()
    });
    let text = format!("{dead:?}");
    let _: &Vec<redis::Value> = &dead;
    assert!(
        text.contains("group") && text.contains("position") && text.contains("payload"),
        "{text}"
    );
    wait_until("nothing is pending", || {
        let pending: redis::Value = redis::cmd("XPENDING")
            .arg("fanfeed:s:{k}")
            .arg("g")
            .query(&mut foreign)
            .unwrap();
        matches!(pending, redis::Value::Array(parts) if parts[0] == redis::Value::Int(0))
    });
}

#[test]
fn a_subscription_made_while_the_server_is_away_becomes_live() {
    let mut server = RedisServer::builder(Release::Old).append_only().start();
    let broker = connect(config(&server));
    let mut events = broker.events();
    server.kill();
    while !matches!(
        events.recv_timeout(LONG).unwrap(),
        Event::Disconnected { .. }
    ) {}
    let tally = Arc::new(Tally::new(10));
    let subscription = broker.subscribe("k", count(&tally)).unwrap();
    assert!(subscription.ready(Duration::from_millis(10)).is_err());
    server.restart();
    subscription.ready(LONG).unwrap();
    publish(&broker, "k", 0..10);
    tally.wait_complete(LONG);
}
