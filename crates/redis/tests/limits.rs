//! Memory ends, permissions are taken away and streams are trimmed while messages are on their way: each is told, and
//! nothing is lost that was promised.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{LONG, config, connect, count, number, publish, quick};
use fanfeed_broker::{
    Event, HandlerError, Message, Start, Subscribe, SubscribeOptions, SubscriberExt,
};
use fanfeed_testkit::{Proxy, RedisServer, Release, Tally, wait_until};

/// Another program's connection.
struct Foreign(redis::Connection);

impl Foreign {
    fn new(server: &RedisServer) -> Self {
        let client = redis::Client::open(server.url()).unwrap();
        Foreign(client.get_connection().unwrap())
    }

    fn run<T: redis::FromRedisValue>(&mut self, line: &str) -> T {
        let mut words = line.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut self.0).unwrap()
    }

    fn pending(&mut self) -> i64 {
        let summary: redis::Value = self.run("XPENDING fanfeed:s:{k} g");
        match summary {
            redis::Value::Array(parts) => match parts[0] {
                redis::Value::Int(count) => count,
                _ => panic!("{parts:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_whose_memory_is_full_loses_nothing_and_is_used_again() {
    const ALL: usize = 2_000;
    for release in common::RELEASES {
        let server = RedisServer::builder(release)
            .line("maxmemory 6mb")
            .line("maxmemory-policy noeviction")
            .start();
        let mut foreign = Foreign::new(&server);
        let config = config(&server).max_entries(None);
        let (writer, reader, other) = (
            connect(config.clone()),
            connect(config.clone()),
            connect(config),
        );
        let (plain, group) = (Arc::new(Tally::new(ALL)), Arc::new(Tally::new(ALL)));
        let _plain = reader.subscribe("k", count(&plain)).unwrap();
        // The first message is rejected once memory is full.
        let (full, gate) = crossbeam_channel::bounded::<()>(0);
        let counting = count(&group);
        let _member = reader
            .subscribe_group("k", "g", move |message, context| {
                if number(message) == 0 {
                    let _ = gate.recv();
                    return Err(HandlerError::Reject);
                }
                counting(message, context)
            })
            .unwrap();
        writer
            .publish_confirmed(Message::new("k", "0"), LONG)
            .unwrap();
        wait_until("the first message is being handled", || {
            foreign.pending() == 1
        });
        let _other = other.subscribe_group("k", "g", count(&group)).unwrap();

        let mut events = writer.events();
        let padded = |number: usize| {
            // `parse` takes leading zeros.
            Message::new("k", format!("{number:0>10000}"))
        };
        let mut accepted = 1;
        let error = loop {
            match writer.publish_confirmed(padded(accepted), LONG) {
                Ok(_) => accepted += 1,
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            error.contains("OOM") && error.contains("max_entries"),
            "{error}"
        );
        // What is refused after `publish` returned is an event.
        writer.publish(padded(accepted)).unwrap();
        loop {
            if let Event::PublishFailed { error, .. } = events.recv_timeout(LONG).unwrap() {
                assert!(error.contains("OOM"), "{error}");
                break;
            }
        }
        // Everything that was taken is handled, though memory is full.
        plain.wait_for(accepted, LONG);
        // A small entry might still find room.
        let () = foreign.run("CONFIG SET maxmemory 3mb");
        drop(full);
        group.wait_for(accepted - 1, LONG);
        // Members live on: longer than a silent one would.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1_000) {
            let members: Vec<String> = foreign.run("KEYS fanfeed:member:*");
            assert_eq!(members.len(), 2);
            assert!(reader.health().is_up() && other.health().is_up());
            std::thread::sleep(Duration::from_millis(50));
        }
        // The rejected one has no place among the dead yet, and stays pending.
        wait_until("all others are acknowledged", || foreign.pending() == 1);
        assert_eq!(foreign.run::<i64>("XLEN fanfeed:dead:{k}"), 0);

        let () = foreign.run("CONFIG SET maxmemory 0");
        wait_until("it is with the dead", || foreign.pending() == 0);
        assert_eq!(foreign.run::<i64>("XLEN fanfeed:dead:{k}"), 1);
        writer.publish_confirmed(padded(accepted), LONG).unwrap();
        plain.wait_for(accepted + 1, LONG);
        group.wait_for(accepted, LONG);
        assert!(plain.report().repeated.is_empty());
        assert!(group.report().repeated.is_empty());
    }
}

#[test]
fn permissions_that_are_taken_away_are_told_and_nothing_is_lost() {
    const ALL: usize = 3_000;
    let server = RedisServer::builder(Release::Old)
        .line("user writer on >hunter2 ~* +@all")
        .line("user reader on >hunter2 ~* +@all")
        .start();
    let mut foreign = Foreign::new(&server);
    let user = |name: &str| connect(config(&server).user(name).password("hunter2"));
    let (writer, reader, other) = (user("writer"), user("reader"), connect(config(&server)));
    let group = Arc::new(Tally::new(ALL));
    let member = reader.subscribe_group("k", "g", count(&group)).unwrap();
    let _other = other.subscribe_group("k", "g", count(&group)).unwrap();
    publish(&writer, "k", 0..1_000);
    group.wait_for(1_000, LONG);

    // The writer is told, and goes on when it may again.
    let mut events = writer.events();
    let () = foreign.run("ACL SETUSER writer -xadd");
    publish(&writer, "k", 1_000..1_001);
    loop {
        if let Event::PublishFailed { error, .. } = events.recv_timeout(LONG).unwrap() {
            assert!(
                error.contains("NOPERM") && error.contains("give the user XADD"),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
            break;
        }
    }
    let () = foreign.run("ACL SETUSER writer +xadd");
    publish(&writer, "k", 1_000..2_000);
    group.wait_for(2_000, LONG);

    // The reader's subscription ends, and the other member gets all.
    let errors = member.into_subscription();
    let () = foreign.run("ACL SETUSER reader -xreadgroup");
    publish(&writer, "k", 2_000..3_000);
    let error = errors.err().recv_timeout(LONG).unwrap().to_string();
    assert!(
        error.contains("NOPERM") && error.contains("XREADGROUP"),
        "{error}"
    );
    group.wait_complete(LONG);
    group.assert_exactly_once();
}

#[test]
fn what_a_trimmed_doorbell_rang_for_is_read() {
    const KEYS: usize = 40;
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    let reader = connect(
        quick(&server.url_through(proxy.address()))
            .sweep(Duration::from_secs(3600))
            .read_timeout(Duration::from_secs(60)),
    );
    let tally = Arc::new(Tally::new(KEYS));
    let subscriptions: Vec<_> = (0..KEYS)
        .map(|key| reader.subscribe(format!("k{key}"), count(&tally)).unwrap())
        .collect();
    proxy.stall(true);
    let mut foreign = Foreign::new(&server);
    let mut pipe = redis::pipe();
    for key in 0..KEYS {
        let stream = format!("fanfeed:s:{{k{key}}}");
        pipe.cmd("XADD")
            .arg(stream)
            .arg("*")
            .arg("payload")
            .arg(key)
            .ignore();
        let ring = ["fanfeed:bell:{0}", "*", "keys"];
        pipe.cmd("XADD").arg(&ring).arg(format!("k{key}")).ignore();
    }
    // All rings above are trimmed by those below, before the reader hears more than the first.
    for _ in 0..5_000 {
        let ring = ["fanfeed:bell:{0}", "MAXLEN", "4096", "*", "keys", "nobody"];
        pipe.cmd("XADD").arg(&ring).ignore();
    }
    pipe.exec(&mut foreign.0).unwrap();
    proxy.stall(false);
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
    drop(subscriptions);
}

#[test]
fn a_start_behind_which_the_stream_was_trimmed_is_a_gap() {
    let server = RedisServer::start(Release::New);
    let broker = connect(config(&server));
    let receipts: Vec<_> = (0..10)
        .map(|number: usize| {
            let message = Message::new("k", number.to_string());
            let receipt = broker.publish_confirmed(message, LONG).unwrap();
            receipt.position.unwrap()
        })
        .collect();
    let mut foreign = Foreign::new(&server);
    let _: i64 = foreign.run("XTRIM fanfeed:s:{k} MAXLEN 5");
    for (after, group, first, gaps) in [
        (2, None, 5, 1),
        (6, None, 7, 0),
        (2, Some("early"), 5, 1),
        (6, Some("late"), 7, 0),
        // The group is there, and goes on where it was.
        (2, Some("late"), 10, 0),
    ] {
        let mut events = broker.events();
        let tally = Arc::new(Tally::new(11));
        let options = SubscribeOptions::new().start(Start::After(receipts[after].clone()));
        let mut request = Subscribe::new("k", count(&tally)).options(options);
        if let Some(group) = group {
            request = request.group(group);
        }
        let subscription = broker.subscribe_with(request).unwrap();
        wait_until("all that is left arrives", || {
            tally.order().len() == 10 - first
        });
        assert_eq!(tally.order(), (first..10).collect::<Vec<_>>());
        let reported = std::iter::from_fn(|| events.try_recv().ok());
        let reported = reported.filter(|event| matches!(event, Event::Gap { missed: None, .. }));
        assert_eq!(reported.count(), gaps, "after {after}, {group:?}");
        drop(subscription);
    }
}
