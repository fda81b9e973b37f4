//! Messages arrive: plain, in groups, on few keys and on many, over old and new servers.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::common::{
    Foreign, LONG, RELEASES, config, connect, count, number, patient, publish, quick,
};
use fanfeed_broker::{Context, Message, Start, Subscribe, SubscribeOptions, SubscriberExt};
use fanfeed_testkit::{Line, Proxy, RedisServer, Release, Tally, scenario, wait_until};

#[test]
fn a_message_arrives_whole() {
    for release in RELEASES {
        let server = RedisServer::start(release);
        let (writer, reader) = (connect(config(&server)), connect(config(&server)));
        let (tx, rx) = crossbeam_channel::unbounded();
        let subscription = reader
            .subscribe("chat.42", move |message, _| {
                tx.send(message.clone())?;
                Ok(())
            })
            .unwrap();
        let sent = Message::new("chat.42", vec![0, 255, 10])
            .name("MessagePosted")
            .header("lang", "en");
        let receipt = writer.publish_confirmed(sent.clone(), LONG).unwrap();
        assert!(receipt.position.is_some());
        let got = rx.recv_timeout(LONG).unwrap();
        assert_eq!(got.id(), sent.id());
        assert_eq!(got.payload(), sent.payload());
        assert_eq!(got.event_name(), Some("MessagePosted"));
        assert_eq!(got.headers().get("lang"), Some("en"));
        drop(subscription);
        writer.close(LONG).unwrap();
        reader.close(LONG).unwrap();
    }
}

#[test]
fn all_plain_subscriptions_get_all_in_order() {
    let server = RedisServer::start(Release::Old);
    let (writer, reader) = (connect(config(&server)), connect(config(&server)));
    let tallies: Vec<_> = (0..3).map(|_| Arc::new(Tally::new(20_000))).collect();
    let subscriptions: Vec<_> = tallies
        .iter()
        .map(|tally| reader.subscribe("all", count(tally)).unwrap())
        .collect();
    publish(&writer, "all", 0..20_000);
    writer.flush(LONG).unwrap();
    for tally in &tallies {
        tally.wait_complete(LONG);
        tally.assert_exactly_once();
        assert!(tally.order().is_sorted());
    }
    drop(subscriptions);
}

#[test]
fn a_group_shares_what_arrives() {
    for release in RELEASES {
        let server = RedisServer::start(release);
        let brokers: Vec<_> = (0..3).map(|_| connect(patient(&server))).collect();
        let tally = Arc::new(Tally::new(20_000));
        let parts: Vec<_> = (0..3).map(|_| Arc::new(Tally::new(20_000))).collect();
        let members: Vec<_> = brokers
            .iter()
            .zip(&parts)
            .map(|(broker, part)| {
                let (all, part) = (count(&tally), count(part));
                broker
                    .subscribe_group("work", "workers", move |message, context| {
                        all(message, context)?;
                        part(message, context)
                    })
                    .unwrap()
            })
            .collect();
        publish(&brokers[0], "work", 0..20_000);
        tally.wait_complete(LONG);
        tally.assert_exactly_once();
        for part in &parts {
            assert!(part.different() > 0, "a member got nothing");
        }
        drop(members);
        for broker in brokers {
            broker.close(LONG).unwrap();
        }
    }
}

#[test]
fn many_keys_are_heard_by_the_doorbells() {
    const KEYS: usize = 500;
    for release in RELEASES {
        let server = RedisServer::start(release);
        // Without a sweep in time: what arrives was rung for.
        let config = config(&server).sweep(Duration::from_secs(3600));
        let (writer, reader) = (connect(config.clone()), connect(config));
        let tally = Arc::new(Tally::new(KEYS * 20));
        let group = Arc::new(Tally::new(KEYS * 20));
        let mut subscriptions = Vec::new();
        for key in 0..KEYS {
            let key = format!("key.{key}");
            subscriptions.push(reader.subscribe(&key[..], count(&tally)).unwrap());
            subscriptions.push(
                reader
                    .subscribe_group(&key[..], "g", count(&group))
                    .unwrap(),
            );
        }
        for number in 0..KEYS * 20 {
            let key = format!("key.{}", number % KEYS);
            writer
                .publish(Message::new(key, number.to_string()))
                .unwrap();
        }
        for tally in [tally, group] {
            tally.wait_complete(LONG);
            tally.assert_exactly_once();
        }
    }
}

/// Guards against a reader that began each sweep at the same subscriptions: where sweeps were due
/// faster than they were done, those after the first few were never read.
#[test]
fn every_key_has_its_turn_however_often_a_sweep_is_due() {
    const KEYS: usize = 500;
    let server = RedisServer::start(Release::Old);
    // A sweep is due again before this one is done.
    let reader = connect(config(&server).sweep(Duration::from_millis(1)));
    let writer = connect(config(&server));
    let tally = Arc::new(Tally::new(KEYS * 10));
    let subscriptions: Vec<_> = (0..KEYS)
        .map(|key| {
            // So much room that a few subscriptions may ask for all that a read brings.
            let options = SubscribeOptions::new().buffer(100_000);
            let request = Subscribe::new(format!("turn.{key}"), count(&tally)).options(options);
            reader.subscribe_with(request).unwrap()
        })
        .collect();
    for number in 0..KEYS * 10 {
        let key = format!("turn.{}", number % KEYS);
        writer
            .publish(Message::new(key, number.to_string()))
            .unwrap();
    }
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
    drop(subscriptions);
}

#[test]
fn a_subscription_is_live_when_it_returns() {
    let server = RedisServer::start(Release::Old);
    let (writer, reader) = (connect(config(&server)), connect(config(&server)));
    for round in 0..200 {
        let key = format!("live.{round}");
        let tally = Arc::new(Tally::new(1));
        let subscription = if round % 2 == 0 {
            reader.subscribe(&key[..], count(&tally)).unwrap()
        } else {
            reader
                .subscribe_group(&key[..], "g", count(&tally))
                .unwrap()
        };
        publish(&writer, &key, 0..1);
        tally.wait_complete(LONG);
        drop(subscription);
    }
}

#[test]
fn old_messages_are_had_from_the_beginning_and_from_a_position() {
    let server = RedisServer::start(Release::New);
    let broker = connect(config(&server));
    let mut receipts = Vec::new();
    for number in 0..10_usize {
        let message = Message::new("old", number.to_string());
        receipts.push(broker.publish_confirmed(message, LONG).unwrap());
    }
    for (start, group, expected) in [
        (Start::Earliest, None, 0),
        (Start::Earliest, Some("early"), 0),
        (Start::After(receipts[6].position.clone().unwrap()), None, 7),
        (
            Start::After(receipts[6].position.clone().unwrap()),
            Some("late"),
            7,
        ),
    ] {
        let tally = Arc::new(Tally::new(10));
        let mut request =
            Subscribe::new("old", count(&tally)).options(SubscribeOptions::new().start(start));
        if let Some(group) = group {
            request = request.group(group);
        }
        let subscription = broker.subscribe_with(request).unwrap();
        wait_until("the last one arrives", || tally.order().last() == Some(&9));
        assert_eq!(tally.order(), (expected..10).collect::<Vec<_>>());
        drop(subscription);
    }
}

#[test]
fn a_group_without_members_keeps_its_messages() {
    let server = RedisServer::start(Release::Old);
    let broker = connect(config(&server));
    let first = Arc::new(Tally::new(20));
    drop(broker.subscribe_group("kept", "g", count(&first)).unwrap());
    publish(&broker, "kept", 0..20);
    broker.flush(LONG).unwrap();
    let tally = Arc::new(Tally::new(20));
    let _member = broker.subscribe_group("kept", "g", count(&tally)).unwrap();
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
    assert_eq!(first.different(), 0);
}

#[test]
fn a_slow_plain_reader_loses_nothing_and_holds_nobody() {
    let server = RedisServer::start(Release::Old);
    let (writer, reader) = (connect(config(&server)), connect(config(&server)));
    let (slow, fast) = (Arc::new(Tally::new(2_000)), Arc::new(Tally::new(2_000)));
    let counting = count(&slow);
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let _slow = reader
        .subscribe_with(
            Subscribe::new("k", move |message: &Message, context: &Context| {
                let _ = gate.recv();
                counting(message, context)
            })
            .options(SubscribeOptions::new().buffer(4)),
        )
        .unwrap();
    let _fast = reader.subscribe("k", count(&fast)).unwrap();
    publish(&writer, "k", 0..2_000);
    fast.wait_complete(LONG);
    assert_eq!(slow.different(), 0);
    drop(go);
    slow.wait_complete(LONG);
    slow.assert_exactly_once();
    assert!(slow.order().is_sorted());
    assert_eq!(reader.stats().dropped, 0);
}

#[test]
fn a_buffer_that_was_full_is_filled_again_without_a_sweep() {
    for others in [0, 20] {
        let server = RedisServer::start(Release::Old);
        let config = config(&server).sweep(Duration::from_secs(3600));
        let (writer, reader) = (connect(config.clone()), connect(config));
        let others: Vec<_> = (0..others)
            .map(|other| reader.subscribe(format!("other.{other}"), |_, _| Ok(())))
            .collect();
        let tally = Arc::new(Tally::new(400));
        let (go, gate) = crossbeam_channel::unbounded::<()>();
        let counting = count(&tally);
        let handler = move |message: &Message, context: &Context| {
            let _ = gate.recv_timeout(LONG);
            counting(message, context)
        };
        let options = SubscribeOptions::new().buffer(4);
        let _slow = reader
            .subscribe_with(Subscribe::new("k", handler).options(options))
            .unwrap();
        for part in 0..100 {
            // As many as there is room for.
            publish(&writer, "k", part * 4..part * 4 + 4);
            writer.flush(LONG).unwrap();
            (0..4).for_each(|_| go.send(()).unwrap());
        }
        tally.wait_complete(LONG);
        tally.assert_exactly_once();
        drop(others);
    }
}

#[test]
fn foreign_entries_are_delivered_or_reported() {
    let server = RedisServer::start(Release::Old);
    let reader = connect(config(&server).max_message(100));
    let mut events = reader.events();
    let (tx, rx) = crossbeam_channel::unbounded();
    let _plain = reader
        .subscribe("k", move |message, _| {
            tx.send(message.clone())?;
            Ok(())
        })
        .unwrap();
    let _member = reader.subscribe_group("k", "g", |_, _| Ok(())).unwrap();
    let mut foreign = Foreign::new(&server);
    let mut add = |fields: &str| foreign.run::<String>(&format!("XADD fanfeed:s:{{k}} * {fields}"));
    add("nothing of-ours");
    add(&format!("payload {}", "x".repeat(200)));
    let id = add("payload 7 more ignored");
    let got = rx.recv_timeout(LONG).unwrap();
    assert_eq!((number(&got), got.id().to_string()), (7, id));
    // Each of the two is reported by both subscriptions, and the group's are kept with the dead.
    let reported = [(); 4].map(|()| scenario::undecodable(&mut events));
    for part in ["no field `payload`", "at most 100"] {
        assert!(reported.iter().any(|text| text.contains(part)), "{part}");
    }
    wait_until("the dead are kept", || {
        foreign.run::<usize>("XLEN fanfeed:dead:{k}") == 2
    });
}

#[tokio::test]
async fn it_can_be_used_and_dropped_in_async_code() {
    let server = RedisServer::start(Release::Old);
    scenario::used_and_dropped(connect(config(&server)));
}

#[test]
fn taking_what_others_gave_back_skips_nothing_of_its_own() {
    const OWN: usize = 3_000;
    const GIVEN: usize = 500;
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    let mut foreign = Foreign::new(&server);
    let reader = connect(quick(&server.url_through(proxy.address())));
    let tally = Arc::new(Tally::new(OWN + GIVEN + 1));
    let options = SubscribeOptions::new().buffer(16);
    let request = Subscribe::new("k", count(&tally))
        .group("g")
        .options(options);
    let _member = reader.subscribe_with(request).unwrap();
    let first = OWN + GIVEN;
    let _: String = foreign.run(&format!("XADD fanfeed:s:{{k}} 0-1 payload {first}"));
    let mut member = None;
    wait_until("the member has read", || {
        let members: Vec<HashMap<String, redis::Value>> =
            foreign.run("XINFO CONSUMERS fanfeed:s:{k} g");
        let name = members.into_iter().next().map(|mut of| of.remove("name"));
        member = name
            .flatten()
            .map(|name| redis::from_redis_value::<String>(name).unwrap());
        member.is_some()
    });
    // As after lost answers: the server has given the first ones to this member, which does not
    // know of it. Others have given back what follows.
    let mut pipe = redis::pipe();
    pipe.atomic();
    for (consumer, numbers) in [(&*member.unwrap(), 0..OWN), ("handover", OWN..OWN + GIVEN)] {
        for number in numbers {
            let add = format!("XADD fanfeed:s:{{k}} 1-{} payload {number}", number + 1);
            Foreign::line(&mut pipe, &add);
        }
        let read = format!("XREADGROUP GROUP g {consumer} STREAMS fanfeed:s:{{k}} >");
        Foreign::line(&mut pipe, &read);
    }
    let ids: Vec<String> = (OWN..OWN + GIVEN)
        .map(|number| format!("1-{}", number + 1))
        .collect();
    let give = format!(
        "XCLAIM fanfeed:s:{{k}} g handover 0 {} IDLE 86400000 JUSTID",
        ids.join(" ")
    );
    Foreign::line(&mut pipe, &give);
    pipe.exec(&mut foreign.0).unwrap();
    proxy.cut();
    tally.wait_complete(LONG);
    wait_until("all are acknowledged", || foreign.pending() == 0);
    tally.assert_exactly_once();
}

/// Guards against a member that read as much as its buffer holds, while the others had nothing.
#[test]
fn members_of_a_group_share_a_burst() {
    let server = RedisServer::start(Release::Old);
    let [one, two] = [(); 2].map(|()| connect(patient(&server)));
    let (begun, began) = crossbeam_channel::bounded::<()>(1);
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let tally = Arc::new(Tally::new(20));
    let counting = count(&tally);
    let slow = move |message: &Message, context: &Context| {
        let _ = begun.try_send(());
        let _ = gate.recv();
        counting(message, context)
    };
    let slow = one.subscribe_group("k", "g", slow).unwrap();
    publish(&one, "k", 0..20);
    one.flush(LONG).unwrap();
    began.recv_timeout(LONG).unwrap();
    let _quick = two.subscribe_group("k", "g", count(&tally)).unwrap();
    // The slow one has the message that it handles and one more.
    tally.wait_for(18, LONG);
    drop(go);
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
    drop(slow);
}

#[test]
fn a_small_buffer_takes_what_others_gave_back_without_a_sweep() {
    const GIVEN: usize = 100;
    let server = RedisServer::start(Release::Old);
    let mut foreign = Foreign::new(&server);
    let broker = connect(config(&server).sweep(Duration::from_secs(3600)));
    drop(broker.subscribe_group("k", "g", |_, _| Ok(())).unwrap());
    publish(&broker, "k", 0..GIVEN);
    broker.flush(LONG).unwrap();
    let ids = foreign.read_as("handover").join(" ");
    let _: redis::Value = foreign.run(&format!(
        "XCLAIM fanfeed:s:{{k}} g handover 0 {ids} IDLE 86400000 JUSTID"
    ));
    let tally = Arc::new(Tally::new(GIVEN));
    let request = Subscribe::new("k", count(&tally)).group("g");
    let small = SubscribeOptions::new().buffer(1);
    let _member = broker.subscribe_with(request.options(small)).unwrap();
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
}

#[test]
fn messages_that_no_handler_saw_have_not_been_tried() {
    const ALL: usize = 1_000;
    let server = RedisServer::start(Release::Old);
    let mut foreign = Foreign::new(&server);
    let writer = connect(config(&server));
    drop(writer.subscribe_group("k", "g", |_, _| Ok(())).unwrap());
    publish(&writer, "k", 0..ALL);
    writer.flush(LONG).unwrap();
    // Some members take what is left, one after the other, and handle little of it.
    for _ in 0..3 {
        let (begun, began) = crossbeam_channel::bounded::<()>(1);
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        let handler = move |_: &Message, _: &Context| {
            let _ = begun.try_send(());
            let _ = gate.recv();
            Ok(())
        };
        let reader = connect(config(&server));
        let options = SubscribeOptions::new().buffer(ALL);
        let request = Subscribe::new("k", handler).group("g").options(options);
        let member = reader.subscribe_with(request).unwrap();
        began.recv_timeout(LONG).unwrap();
        wait_until("it has one that it has not begun", || {
            reader.health().pending > 0
        });
        let left = thread::spawn(move || drop(member));
        wait_until("it is leaving", || reader.health().subscriptions == 0);
        drop(go);
        left.join().unwrap();
        reader.close(LONG).unwrap();
    }
    let left = foreign.pending() as usize;
    assert!(left > 0, "the others have handled all");
    let (tx, rx) = crossbeam_channel::unbounded();
    let handler = move |_: &Message, context: &Context| Ok(tx.send(context.attempt())?);
    let _member = writer.subscribe_group("k", "g", handler).unwrap();
    let attempts = (0..left).map(|_| rx.recv_timeout(LONG).unwrap());
    let most = attempts.max().unwrap();
    assert_eq!(most, 1);
}
