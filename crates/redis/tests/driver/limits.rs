//! Memory ends, permissions are taken away and streams are trimmed while messages are on their way:
//! each is told, and nothing is lost that was promised.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{
    Foreign, LONG, RELEASES, config, connect, count, number, patient, publish, quick,
};
use fanfeed_broker::{
    Context, Event, HandlerError, Message, Redelivery, Start, Subscribe, SubscribeOptions,
    SubscriberExt,
};
use fanfeed_redis::Config;
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{Line, Proxy, RedisServer, Release, Tally, scenario, wait_until};

#[test]
fn a_server_whose_memory_is_full_loses_nothing_and_is_used_again() {
    const ALL: usize = 2_000;
    for release in RELEASES {
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
        says(&error, &["OOM", "max_entries"]);
        // An entry might still find room, a small one above all.
        let () = foreign.run("CONFIG SET maxmemory 3mb");
        // What is refused after `publish` returned is an event.
        writer.publish(padded(accepted)).unwrap();
        says(scenario::publish_failed(&mut events).1, &["OOM"]);
        // Everything that was taken is handled, though memory is full.
        plain.wait_for(accepted, LONG);
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
    let user = |name: &str| connect(patient(&server).user(name).password("hunter2"));
    let (writer, reader, other) = (user("writer"), user("reader"), connect(patient(&server)));
    let group = Arc::new(Tally::new(ALL));
    let member = reader.subscribe_group("k", "g", count(&group)).unwrap();
    let _other = other.subscribe_group("k", "g", count(&group)).unwrap();
    publish(&writer, "k", 0..1_000);
    group.wait_for(1_000, LONG);

    // The writer is told, and goes on when it may again.
    let mut events = writer.events();
    let () = foreign.run("ACL SETUSER writer -xadd");
    publish(&writer, "k", 1_000..1_001);
    let (_, error) = scenario::publish_failed(&mut events);
    says(&error, &["NOPERM", "give the user XADD"]);
    assert!(!error.contains("hunter2"), "{error}");
    let () = foreign.run("ACL SETUSER writer +xadd");
    publish(&writer, "k", 1_000..2_000);
    group.wait_for(2_000, LONG);

    // The reader's subscription ends, and the other member gets all.
    let errors = member.into_subscription();
    let () = foreign.run("ACL SETUSER reader -xreadgroup");
    publish(&writer, "k", 2_000..3_000);
    let error = errors.err().recv_timeout(LONG).unwrap().to_string();
    says(&error, &["NOPERM", "XREADGROUP"]);
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

/// Entries may have a mebibyte each, and all that a command brings is in memory.
#[test]
fn the_first_reads_ask_for_few_entries() {
    type Call = (i64, i64, i64, Vec<String>, String, String);
    const ALL: usize = 2_000;
    let server = RedisServer::builder(Release::Old)
        .line("slowlog-log-slower-than 0")
        .line("slowlog-max-len 10000")
        .start();
    let writer = connect(config(&server));
    publish(&writer, "k", 0..ALL);
    writer.flush(LONG).unwrap();
    let reader = connect(config(&server));
    let tally = Arc::new(Tally::new(ALL));
    let options = SubscribeOptions::new().buffer(ALL).start(Start::Earliest);
    let request = Subscribe::new("k", count(&tally)).options(options);
    let _subscription = reader.subscribe_with(request).unwrap();
    tally.wait_complete(LONG);

    let calls: Vec<Call> = Foreign::new(&server).run("SLOWLOG GET 10000");
    let has = |call: &Call, word: &str| call.3.iter().any(|other| other == word);
    let is_read =
        |call: &&Call| has(call, "XREAD") && has(call, "fanfeed:s:{k}") && !has(call, "BLOCK");
    // The newest call comes first; the third word is the number after COUNT.
    let first = calls.iter().rev().find(is_read).unwrap();
    assert!(first.3[2].parse::<usize>().unwrap() <= 128, "{first:?}");
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

#[test]
fn a_server_that_refuses_writes_for_a_while_ends_no_subscription() {
    const ALL: usize = 200;
    for release in RELEASES {
        let server = RedisServer::start(release);
        let mut foreign = Foreign::new(&server);
        let (writer, reader) = (connect(config(&server)), connect(config(&server)));
        let group = Arc::new(Tally::new(ALL));
        // The last message of the first half is being handled when the server begins to refuse.
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        let counting = count(&group);
        let member = reader
            .subscribe_group("k", "g", move |message, context| {
                if number(message) == ALL / 2 - 1 {
                    let _ = gate.recv();
                }
                counting(message, context)
            })
            .unwrap();
        publish(&writer, "k", 0..ALL / 2);
        group.wait_for(ALL / 2 - 1, LONG);
        wait_until("all others are acknowledged", || foreign.pending() == 1);

        let mut events = reader.events();
        // There is no replica. A server that cannot write its data to disk refuses the same
        // commands.
        let () = foreign.run("CONFIG SET min-replicas-to-write 1");
        publish(&writer, "k", ALL / 2..ALL);
        says(scenario::disconnected(&mut events), &["NOREPLICAS"]);
        drop(go);
        wait_until("it was tried again", || {
            let stats: String = foreign.run("INFO commandstats");
            let line = stats
                .lines()
                .find(|line| line.starts_with("cmdstat_pexpire:"));
            let rejected = line.and_then(|line| line.split("rejected_calls=").nth(1));
            let count = rejected.and_then(|rest| rest.split(',').next());
            count.is_some_and(|count| count.parse::<usize>().unwrap() >= 3)
        });

        let () = foreign.run("CONFIG SET min-replicas-to-write 0");
        group.wait_complete(LONG);
        wait_until("all are acknowledged", || foreign.pending() == 0);
        group.assert_exactly_once();
        assert!(!member.is_closed());
    }
}

/// A server with a user `reader`, whose permissions the test takes away.
fn restricted() -> (RedisServer, Config) {
    let server = RedisServer::builder(Release::Old)
        .line("user reader on >hunter2 ~* +@all")
        .start();
    let config = config(&server).user("reader").password("hunter2");
    (server, config)
}

fn set_reader(foreign: &mut Foreign, rules: &str) {
    let () = foreign.run(&format!("ACL SETUSER reader {rules}"));
}

#[test]
fn what_may_not_be_handed_on_stays_pending_until_it_may() {
    const ALL: usize = 200;
    for (denied, permitted) in [
        ("-xclaim", "+xclaim"),
        ("-xclaim -xpending", "+xclaim +xpending"),
    ] {
        let (server, reader) = restricted();
        let mut foreign = Foreign::new(&server);
        let (writer, reader) = (connect(config(&server)), connect(reader));
        let tally = Arc::new(Tally::new(ALL));
        let (begun, began) = crossbeam_channel::bounded::<()>(1);
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        let counting = count(&tally);
        let leaving = reader
            .subscribe_group("k", "g", move |message, context| {
                let _ = begun.try_send(());
                let _ = gate.recv();
                counting(message, context)
            })
            .unwrap();
        publish(&writer, "k", 0..ALL);
        began.recv_timeout(LONG).unwrap();
        wait_until("it has one that it has not begun", || {
            foreign.pending() == 2
        });
        set_reader(&mut foreign, denied);
        let left = std::thread::spawn(move || drop(leaving));
        wait_until("it is leaving", || reader.health().subscriptions == 0);
        drop(go);
        left.join().unwrap();

        // The others are served.
        let plain = Arc::new(Tally::new(100));
        for number in 0..100 {
            let subscription = reader.subscribe("other", count(&plain)).unwrap();
            subscription.ready(LONG).unwrap();
            publish(&writer, "other", number..number + 1);
            plain.wait_for(number + 1, LONG);
            drop(subscription);
        }
        set_reader(&mut foreign, permitted);
        let other = connect(config(&server));
        let _other = other.subscribe_group("k", "g", count(&tally)).unwrap();
        tally.wait_complete(LONG);
        wait_until("all are acknowledged", || foreign.pending() == 0);
        tally.assert_exactly_once();
        wait_until("the member is removed", || {
            let members: Vec<redis::Value> = foreign.run("XINFO CONSUMERS fanfeed:s:{k} g");
            // The other member, and what was handed over.
            members.len() == 2
        });
    }
}

#[test]
fn a_member_that_may_not_settle_ends_and_its_messages_go_to_others() {
    for denied in ["xack", "xrange", "xclaim"] {
        let (server, reader) = restricted();
        let mut foreign = Foreign::new(&server);
        let (writer, reader) = (connect(config(&server)), connect(reader));
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        let options = SubscribeOptions::new()
            .redelivery(Redelivery::Requeue)
            .attempts(0);
        let handler = move |_: &Message, _: &Context| {
            let _ = gate.recv();
            match denied {
                "xack" => Ok(()),
                "xrange" => Err(HandlerError::Reject),
                _ => Err(HandlerError::Retry(Duration::from_millis(1))),
            }
        };
        let request = Subscribe::new("k", handler).group("g").options(options);
        let member = reader.subscribe_with(request).unwrap();
        publish(&writer, "k", 0..1);
        wait_until("it is being handled", || foreign.pending() == 1);
        set_reader(&mut foreign, &format!("-{denied}"));
        drop(go);
        let error = member.err().recv_timeout(LONG).unwrap().to_string();
        let name = denied.to_uppercase();
        says(&error, &["NOPERM", &name]);
        // What was not settled is handed on, once that is permitted.
        set_reader(&mut foreign, "+xclaim");
        let tally = Arc::new(Tally::new(1));
        let other = connect(config(&server));
        let _other = other.subscribe_group("k", "g", count(&tally)).unwrap();
        tally.wait_complete(LONG);
        wait_until("it is acknowledged", || foreign.pending() == 0);
        assert_eq!(foreign.run::<i64>("XLEN fanfeed:dead:{k}"), 0);
    }
}

#[test]
fn a_member_that_may_not_take_over_is_told() {
    let (server, reader) = restricted();
    let mut foreign = Foreign::new(&server);
    let _: String = foreign.run("XGROUP CREATE fanfeed:s:{k} g $ MKSTREAM");
    for number in 0..100 {
        let _: String = foreign.run(&format!("XADD fanfeed:s:{{k}} * payload {number}"));
    }
    let given = foreign.read_as("handover");
    assert_eq!(given.len(), 100);
    let ids = given.join(" ");
    let _: redis::Value = foreign.run(&format!(
        "XCLAIM fanfeed:s:{{k}} g handover 0 {ids} IDLE 86400000 JUSTID"
    ));
    set_reader(&mut foreign, "-xclaim");
    let reader = connect(reader);
    let tally = Arc::new(Tally::new(100));
    let request = || {
        // More is left than fits into the buffer at a time.
        let options = SubscribeOptions::new().buffer(16);
        Subscribe::new("k", count(&tally))
            .group("g")
            .options(options)
    };
    let member = reader.subscribe_with(request()).unwrap();
    let error = member.err().recv_timeout(LONG).unwrap().to_string();
    says(&error, &["NOPERM", "XCLAIM"]);
    set_reader(&mut foreign, "+xclaim");
    let _member = reader.subscribe_with(request()).unwrap();
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
}

#[test]
fn a_member_that_is_refused_after_a_reconnect_hands_on_what_it_had() {
    const ALL: usize = 200;
    let (server, reader) = restricted();
    let mut foreign = Foreign::new(&server);
    let (writer, reader) = (connect(config(&server)), connect(reader));
    let tally = Arc::new(Tally::new(ALL));
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let counting = count(&tally);
    let member = reader
        .subscribe_group("k", "g", move |message, context| {
            let _ = gate.recv();
            counting(message, context)
        })
        .unwrap();
    publish(&writer, "k", 0..ALL);
    wait_until("it has one that it has not begun", || {
        foreign.pending() == 2
    });
    set_reader(&mut foreign, "-xgroup");
    let _: i64 = foreign.run("CLIENT KILL USER reader");
    wait_until("it is refused", || reader.health().subscriptions == 0);
    drop(go);
    let error = member.err().recv_timeout(LONG).unwrap().to_string();
    says(&error, &["NOPERM", "XGROUP"]);
    let other = connect(config(&server));
    let _other = other.subscribe_group("k", "g", count(&tally)).unwrap();
    tally.wait_complete(LONG);
    wait_until("all are acknowledged", || foreign.pending() == 0);
    tally.assert_exactly_once();
}
