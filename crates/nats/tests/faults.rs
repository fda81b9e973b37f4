//! Servers are killed, connections are cut, members die: what was promised is counted.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{LONG, RELEASES, connect, core, count, jetstream, number, publish, quick};
use fanfeed_broker::{
    Broker, Context, Event, Handler, HandlerError, Message, Redelivery, Subscribe,
    SubscribeOptions, SubscriberExt,
};
use fanfeed_nats::Mode;
use fanfeed_testkit::proxy::Way;
use fanfeed_testkit::{NatsServer, Proxy, Release, Tally, wait_until};

/// Publishes `0..all` while `disturb` is called each time another quarter is on its way.
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
        for quarter in 1..=3 {
            wait_until("another part is sent", || {
                sent.load(Ordering::Acquire) >= quarter * all / 4
            });
            disturb(quarter);
        }
    });
}

fn with_jetstream(release: Release) -> NatsServer {
    NatsServer::builder(release).jetstream().start()
}

#[test]
fn a_stream_loses_nothing_when_the_server_is_killed_and_restarted() {
    const ALL: usize = 20_000;
    for release in RELEASES {
        let mut server = with_jetstream(release);
        let brokers = [(); 3].map(|()| connect(jetstream(&server)));
        let [writer, reader, other] = &brokers;
        let (plain, group) = (Arc::new(Tally::new(ALL)), Arc::new(Tally::new(ALL)));
        let _plain = reader.subscribe("k", count(&plain)).unwrap();
        let _one = reader.subscribe_group("k", "g", count(&group)).unwrap();
        let _two = other.subscribe_group("k", "g", count(&group)).unwrap();
        under_load(writer, "k", ALL, |_| {
            server.kill();
            server.restart();
        });
        plain.wait_complete(LONG);
        group.wait_complete(LONG);
        assert!(plain.report().is_complete() && group.report().is_complete());
        // The server dropped what was published again: a plain subscription gets all in order, and nothing twice.
        let in_order = plain.order() == Vec::from_iter(0..ALL);
        for broker in &brokers {
            broker.close(LONG).unwrap();
        }
        let (plain, group) = (plain.report().repeated.len(), group.report().repeated.len());
        println!(
            "{release:?}: of {ALL} repeated: plain {plain} (in order: {in_order}), group {group}"
        );
    }
}

#[test]
fn a_stream_loses_nothing_when_connections_are_cut_delayed_and_half_closed() {
    const ALL: usize = 10_000;
    let server = with_jetstream(Release::Old);
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
    plain.assert_exactly_once();
    assert!(group.report().is_complete());
}

#[test]
fn core_accounts_for_every_message_when_the_server_is_killed_and_restarted() {
    const ALL: usize = 20_000;
    for release in RELEASES {
        let mut server = NatsServer::start(release);
        let (writer, reader) = (connect(core(&server)), connect(core(&server)));
        let tally = Arc::new(Tally::new(ALL));
        let options = SubscribeOptions::new().buffer(2 * ALL);
        let request = Subscribe::new("k", count(&tally)).options(options);
        let subscription = reader.subscribe_with(request).unwrap();
        let (mut gaps, mut failures) = (reader.events(), writer.events());
        under_load(&writer, "k", ALL, |_| {
            server.kill();
            server.restart();
            // Otherwise all that follows may be published before anybody listens again.
            while !matches!(
                gaps.recv_timeout(LONG).unwrap(),
                Event::Gap { missed: None, .. }
            ) {}
        });
        // What comes after shows that it goes on, and that all before it has come.
        wait_until("the queue is empty", || writer.health().outbound == 0);
        reader.close(LONG).unwrap();
        let stats = writer.stats();
        assert_eq!(stats.confirmed + stats.publish_failed, ALL as u64);
        let report = tally.report();
        assert!(report.repeated.is_empty(), "at most once: {report}");
        let missing = report.missing.len();
        let failed = failures
            .try_iter()
            .filter(|event| matches!(event, Event::PublishFailed { .. }))
            .count();
        let more = gaps
            .try_iter()
            .any(|event| matches!(event, Event::Gap { .. }));
        assert!(!more, "one gap for each time the server was away");
        println!(
            "{release:?}: of {ALL} missing {missing}, publishers were told of {} ({failed} events), dropped {}",
            stats.publish_failed,
            subscription.dropped()
        );
    }
}

#[test]
fn a_server_that_stalls_is_left_and_found_again() {
    for mode in [Mode::Core, Mode::JetStream] {
        let server = with_jetstream(Release::New);
        let config = quick(&server.url())
            .mode(mode)
            .answer_timeout(Duration::from_millis(300))
            .dial_timeout(Duration::from_millis(300));
        let (writer, reader) = (connect(config.clone()), connect(config));
        let tally = Arc::new(Tally::new(200));
        let member = reader.subscribe_group("k", "g", count(&tally)).unwrap();
        publish(&writer, "k", 0..100);
        tally.wait_for(100, LONG);
        let mut events = reader.events();
        server.pause();
        loop {
            if let Event::Disconnected { reason } = events.recv_timeout(LONG).unwrap() {
                assert!(reason.contains("did not answer within"), "{reason}");
                break;
            }
        }
        server.resume();
        wait_until("both are back", || {
            writer.health().is_up() && reader.health().is_up()
        });
        member.ready(LONG).unwrap();
        publish(&writer, "k", 100..200);
        tally.wait_complete(LONG);
    }
}

#[test]
fn what_the_client_library_drops_is_reported_or_read_again() {
    let server = with_jetstream(Release::New);
    for mode in [Mode::Core, Mode::JetStream] {
        let config = quick(&server.url()).mode(mode).prefix(format!("{mode:?}"));
        let writer = connect(config.clone());
        let reader = connect(config.client_buffer(1));
        let tally = Arc::new(Tally::new(2_000));
        let options = SubscribeOptions::new().buffer(10_000);
        let request = Subscribe::new("k", count(&tally)).options(options);
        let _plain = reader.subscribe_with(request).unwrap();
        let mut events = reader.events();
        publish(&writer, "k", 0..2_000);
        match mode {
            Mode::JetStream => {
                tally.wait_complete(LONG);
                assert_eq!(tally.order(), Vec::from_iter(0..2_000));
            }
            Mode::Core => loop {
                if let Event::Gap { missed, .. } = events.recv_timeout(LONG).unwrap() {
                    assert_eq!(missed, None);
                    break;
                }
            },
        }
    }
}

#[test]
fn a_stream_and_a_group_that_were_deleted_are_made_again_and_reported() {
    let mut server = with_jetstream(Release::Old);
    let broker = connect(jetstream(&server));
    let (plain, group) = (Arc::new(Tally::new(20)), Arc::new(Tally::new(20)));
    let _plain = broker.subscribe("k", count(&plain)).unwrap();
    let _member = broker.subscribe_group("k", "g", count(&group)).unwrap();
    publish(&broker, "k", 0..10);
    plain.wait_for(10, LONG);
    group.wait_for(10, LONG);
    let mut events = broker.events();
    server.kill();
    std::fs::remove_dir_all(server.folder().join("jetstream")).unwrap();
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
    publish(&broker, "k", 10..20);
    plain.wait_complete(LONG);
    group.wait_complete(LONG);
}

/// A process with a member in it, which this test binary runs as a child.
#[test]
fn the_messages_of_a_killed_process_go_to_the_others() {
    if let Ok(url) = std::env::var("FANFEED_NATS_MEMBER") {
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
    let server = with_jetstream(Release::Old);
    let broker = connect(jetstream(&server));
    let tally = Arc::new(Tally::new(100));
    // So that the group is there before the child.
    drop(broker.subscribe_group("k", "g", count(&tally)).unwrap());
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_messages_of_a_killed_process_go_to_the_others",
            "--nocapture",
        ])
        .env("FANFEED_NATS_MEMBER", server.url())
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
}

#[test]
fn a_long_handler_keeps_its_message_as_long_as_its_member_lives() {
    let server = with_jetstream(Release::Old);
    let config = jetstream(&server).ack_wait(Duration::from_millis(500));
    let (one, two) = (connect(config.clone()), connect(config));
    let tally = Arc::new(Tally::new(10));
    let (slow, counting) = (Arc::new(AtomicBool::new(true)), count(&tally));
    let handler = move |message: &Message, context: &Context| {
        if slow.swap(false, Ordering::AcqRel) {
            // Four times what makes a silent member dead.
            thread::sleep(Duration::from_millis(2_000));
        }
        counting(message, context)
    };
    let handler: Arc<dyn Handler> = Arc::new(handler);
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
fn a_failing_message_is_tried_again_by_any_member_if_it_is_requeued() {
    let server = with_jetstream(Release::New);
    let brokers = [(); 2].map(|()| connect(jetstream(&server)));
    let tally = Arc::new(Tally::new(20));
    let failures = Arc::new(AtomicUsize::new(0));
    let members: Vec<_> = brokers
        .iter()
        .map(|broker| {
            let (counting, failures) = (count(&tally), Arc::clone(&failures));
            let handler = move |message: &Message, context: &Context| {
                if number(message) == 3 && failures.fetch_add(1, Ordering::AcqRel) < 3 {
                    return Err(HandlerError::failed("not yet"));
                }
                counting(message, context)
            };
            let options = SubscribeOptions::new().redelivery(Redelivery::Requeue);
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
fn one_message_at_a_time_keeps_the_order_over_members_that_die() {
    let server = with_jetstream(Release::Old);
    let proxy = Proxy::start(server.address());
    let config = |url: &str| quick(url).max_ack_pending(1);
    let writer = connect(config(&server.url()));
    let members = [
        connect(config(&server.url_through(proxy.address()))),
        connect(config(&server.url())),
    ];
    let tally = Arc::new(Tally::new(500));
    let subscriptions: Vec<_> = members
        .iter()
        .map(|member| member.subscribe_group("k", "g", count(&tally)).unwrap())
        .collect();
    publish(&writer, "k", 0..250);
    tally.wait_for(100, LONG);
    proxy.refuse(true);
    proxy.cut();
    publish(&writer, "k", 250..500);
    tally.wait_complete(LONG);
    // A member that was cut off may handle again what another one has taken over, but the first time is in order.
    let mut seen = std::collections::HashSet::new();
    let mut first = tally.order();
    first.retain(|number| seen.insert(*number));
    assert_eq!(first, Vec::from_iter(0..500));
    // A member that wants the order does not take a group without it.
    drop(subscriptions);
    let _loose = writer.subscribe_group("k2", "g", |_, _| Ok(())).unwrap();
    let loose = connect(jetstream(&server));
    drop(loose.subscribe_group("k3", "g", |_, _| Ok(())).unwrap());
    let error = writer
        .subscribe_group("k3", "g", |_, _| Ok(()))
        .map(drop)
        .unwrap_err();
    assert!(
        error.to_string().contains("max_ack_pending 1024"),
        "{error}"
    );
}

#[test]
fn a_subscription_made_while_the_server_is_away_becomes_live() {
    for mode in [Mode::Core, Mode::JetStream] {
        let mut server = with_jetstream(Release::Old);
        let broker = connect(quick(&server.url()).mode(mode));
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
}

/// The stream is lost while a reader is cut off, and has more messages by the time the reader is back than it had before.
#[test]
fn a_stream_that_was_made_anew_is_read_from_its_beginning() {
    let mut server = with_jetstream(Release::Old);
    let proxy = Proxy::start(server.address());
    let writer = connect(jetstream(&server));
    let reader = connect(quick(&server.url_through(proxy.address())));
    let (plain, group) = (Arc::new(Tally::new(40)), Arc::new(Tally::new(40)));
    let _plain = reader.subscribe("k", count(&plain)).unwrap();
    // The first message is at work until after the reconnect, and has the position that another one has by then.
    let (first, over) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counting, waits) = (count(&group), Arc::clone(&over));
    let member = move |message: &Message, context: &Context| {
        counting(message, context)?;
        if first.swap(false, Ordering::AcqRel) {
            wait_until("the stream was made anew", || waits.load(Ordering::Acquire));
            return Err(HandlerError::Reject);
        }
        Ok(())
    };
    let _member = reader.subscribe_group("k", "g", member).unwrap();
    publish(&writer, "k", 0..10);
    plain.wait_for(10, LONG);
    wait_until("the member has the others", || reader.health().pending == 9);
    let mut events = reader.events();
    proxy.refuse(true);
    proxy.cut();
    wait_until("the reader is cut off", || !reader.health().is_up());
    server.kill();
    std::fs::remove_dir_all(server.folder().join("jetstream")).unwrap();
    server.restart();
    publish(&writer, "k", 10..40);
    writer.flush(LONG).unwrap();
    proxy.refuse(false);
    let mut gaps = Vec::new();
    while gaps.len() < 2 {
        if let Event::Gap { group, missed, .. } = events.recv_timeout(LONG).unwrap() {
            assert_eq!(missed, None);
            gaps.push(group.map(|group| group.to_string()));
        }
    }
    gaps.sort();
    assert_eq!(gaps, [None, Some("g".to_owned())]);
    plain.wait_complete(LONG);
    plain.assert_exactly_once();
    wait_until("the member has all", || reader.health().pending == 39);
    over.store(true, Ordering::Release);
    group.wait_complete(LONG);
    group.assert_exactly_once();
    reader.close(LONG).unwrap();
}
