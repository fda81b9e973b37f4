//! Servers are killed, connections are cut, members die: what was promised is counted.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    LONG, RELEASES, connect, core, count, jetstream, number, publish, quick, with_jetstream,
};
use crossbeam_channel::{Receiver, Sender};
use fanfeed_broker::{
    Broker, BrokerSubscription, Context, Event, HandlerError, Message, Outcome, Subscribe,
    SubscribeOptions, SubscriberExt,
};
use fanfeed_nats::Mode;
use fanfeed_testkit::numbers::{Census, under_load};
use fanfeed_testkit::refusal::says;
use fanfeed_testkit::{Line, NatsServer, Proxy, Release, Tally, scenario, wait_until};

#[test]
fn a_stream_loses_nothing_when_the_server_is_killed_and_restarted() {
    const ALL: usize = 20_000;
    for (release, lean) in [
        (Release::Old, false),
        (Release::New, false),
        (Release::New, true),
    ] {
        let mut server = with_jetstream(release);
        let brokers = [(); 3].map(|()| connect(jetstream(&server).lean(lean)));
        let [writer, reader, other] = &brokers;
        let census = Census::start(&[reader, other], ALL);
        under_load(writer, "k", ALL, |_| {
            server.kill();
            server.restart();
        });
        census.complete();
        // The server drops what is published again, unless it cannot tell (lean): the plain
        // subscription usually gets all in order.
        let in_order = census.plain.order() == Vec::from_iter(0..ALL);
        println!("{release:?}, lean {lean}: plain in order: {in_order}");
        for broker in &brokers {
            broker.close(LONG).unwrap();
        }
    }
}

#[test]
fn a_stream_loses_nothing_when_connections_are_cut_delayed_and_half_closed() {
    const ALL: usize = 10_000;
    let server = with_jetstream(Release::Old);
    let proxy = Proxy::start(server.address());
    let through = || connect(quick(&server.url_through(proxy.address())));
    let (writer, reader) = (through(), through());
    let census = Census::start(&[&reader], ALL);
    under_load(&writer, "k", ALL, scenario::spoil(&proxy));
    census.complete();
    census.plain.assert_exactly_once();
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
        let reason = "did not answer within";
        scenario::stalls([&writer, &reader], &server, reason, |member| {
            wait_until("both are back", || {
                writer.health().is_up() && reader.health().is_up()
            });
            member.ready(LONG).unwrap();
        });
    }
}

/// The echo waits behind megabytes that the client library has yet to write. The proxy passes on at
/// most 64 KiB each 40 ms, so that 4 MiB take 2.6 s at least; they may take 10 s.
#[test]
fn a_large_batch_of_core_may_take_longer_than_an_answer() {
    let builder = NatsServer::builder(Release::New).part("max_payload: 5000000");
    let server = builder.start();
    let proxy = Proxy::start(server.address());
    let config = quick(&server.url_through(proxy.address()))
        .mode(Mode::Core)
        .max_message(5_000_000)
        .heartbeat(LONG)
        .answer_timeout(Duration::from_secs(2));
    let writer = connect(config);
    proxy.delay(Duration::from_millis(40));
    let message = Message::new("k", vec![0; 4 << 20]);
    writer.publish_confirmed(message, LONG).unwrap();
}

/// The server refuses messages that it cannot store in time. They are sent again.
#[test]
fn a_message_that_a_busy_stream_refuses_is_sent_again() {
    let part = "jetstream { store_dir: \"jetstream\", max_buffered_msgs: 400 }";
    let server = NatsServer::builder(Release::New).part(part).start();
    let broker = connect(jetstream(&server));
    let tally = Arc::new(Tally::new(4_000));
    let _plain = broker.subscribe("k", count(&tally)).unwrap();
    publish(&broker, "k", 0..4_000);
    broker.flush(LONG).unwrap();
    assert_eq!(broker.stats().publish_failed, 0);
    tally.wait_complete(LONG);
    tally.assert_exactly_once();
}

#[test]
fn what_the_client_library_drops_is_reported_or_read_again() {
    let server = with_jetstream(Release::New);
    for mode in [Mode::Core, Mode::JetStream] {
        let config = quick(&server.url()).mode(mode).prefix(format!("{mode:?}"));
        let config = config.client_buffer(1);
        let (writer, reader) = (connect(config.clone()), connect(config));
        let mut losses = writer.events();
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
            Mode::Core => assert_eq!(scenario::gap(&mut events).1, None),
        }
        // The answers to a batch are not dropped.
        writer.flush(LONG).unwrap();
        let is_loss = |event| matches!(event, Event::Disconnected { .. });
        assert!(!losses.try_iter().any(is_loss));
    }
}

#[test]
fn a_stream_and_a_group_that_were_deleted_are_made_again_and_reported() {
    let mut server = with_jetstream(Release::Old);
    let broker = connect(jetstream(&server));
    scenario::forgets(&broker, &broker, || forget(&mut server));
}

/// The server loses its streams.
fn forget(server: &mut NatsServer) {
    server.kill();
    std::fs::remove_dir_all(server.folder().join("jetstream")).unwrap();
    server.restart();
}

#[test]
fn the_messages_of_a_killed_process_go_to_the_others() {
    scenario::be_killed_if_child(|url| connect(quick(url)));
    let server = with_jetstream(Release::Old);
    let broker = connect(jetstream(&server));
    let test = "the_messages_of_a_killed_process_go_to_the_others";
    let (_member, attempts) = scenario::killed_process(test, &broker, &server.url(), 100);
    assert!(attempts >= 2, "the server counted the earlier delivery");
}

#[test]
fn a_member_with_many_subscriptions_to_open_again_keeps_its_message() {
    let server = with_jetstream(Release::New);
    let proxy = Proxy::start(server.address());
    let config = |url: &str| quick(url).ack_wait(Duration::from_millis(1_500));
    let many = connect(config(&server.url_through(proxy.address())));
    scenario::opens_many_again([many, connect(config(&server.url()))], &proxy);
}

#[test]
fn a_long_handler_keeps_its_message_as_long_as_its_member_lives() {
    let server = with_jetstream(Release::Old);
    // The handler takes three times `ack_wait`.
    scenario::long_handler([(); 2].map(|()| connect(jetstream(&server))));
}

#[test]
fn a_member_whose_broker_closes_hands_on_what_no_handler_has_begun() {
    for release in RELEASES {
        let server = with_jetstream(release);
        let config = || jetstream(&server).ack_wait(Duration::from_secs(10));
        scenario::closes_with_a_running_handler([(); 2].map(|()| connect(config())));
    }
}

/// A member with a handler that blocks until the returned sender is dropped, and nine messages
/// behind it.
fn busy(broker: &Arc<dyn Broker>) -> (BrokerSubscription, Sender<()>) {
    let (begun, began) = crossbeam_channel::bounded::<()>(1);
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let handler = move |_: &Message, _: &Context| {
        let _ = begun.try_send(());
        let _ = gate.recv();
        Ok(())
    };
    let member = broker.subscribe_group("k", "g", handler).unwrap();
    publish(broker, "k", 0..10);
    began.recv_timeout(LONG).unwrap();
    wait_until("the others wait behind the first", || {
        broker.health().pending == 9
    });
    (member, go)
}

/// Waits for the nine messages, and returns the highest attempt. Now and then the server gives one
/// out after `ack_wait` only, or twice: see README.
fn rest(got: &Receiver<(usize, u32)>) -> u32 {
    let mut attempts = std::collections::BTreeMap::new();
    while attempts.len() < 9 {
        let (number, attempt) = got.recv_timeout(LONG).unwrap();
        attempts.entry(number).or_insert(attempt);
    }
    assert!(attempts.keys().copied().eq(1..10));
    attempts.into_values().max().unwrap_or(0)
}

fn collect() -> (
    impl Fn(&Message, &Context) -> Outcome + Send + Sync + 'static,
    Receiver<(usize, u32)>,
) {
    let (tx, rx) = crossbeam_channel::unbounded();
    let handler = move |message: &Message, context: &Context| {
        Ok(tx.send((number(message), context.attempt()))?)
    };
    (handler, rx)
}

/// Guards against a member that gave messages back while it had open requests: they came back to it
/// many times, and each time the server counted an attempt.
#[test]
fn a_leaving_member_gives_each_message_back_once() {
    for release in RELEASES {
        let server = with_jetstream(release);
        let config = || jetstream(&server).ack_wait(Duration::from_secs(10));
        let [one, two] = [(); 2].map(|()| connect(config()));
        let (member, go) = busy(&one);
        let (handler, got) = collect();
        let request = Subscribe::new("k", handler).group("g");
        let small = SubscribeOptions::new().buffer(1);
        let _other = two.subscribe_with(request.options(small)).unwrap();
        let left = thread::spawn(move || drop(member));
        // It waits for the handler that is running, while the others get the rest.
        let most = rest(&got);
        assert!(
            (2..5).contains(&most),
            "the delivery to the leaving member counts, and no more: {most}"
        );
        drop(go);
        left.join().unwrap();
        one.close(LONG).unwrap();
        two.close(LONG).unwrap();
    }
}

#[test]
fn a_delivery_that_no_handler_of_the_process_saw_is_no_attempt() {
    for release in RELEASES {
        let server = with_jetstream(release);
        let broker = connect(jetstream(&server).ack_wait(Duration::from_secs(10)));
        for _ in 0..3 {
            let (member, go) = busy(&broker);
            let left = thread::spawn(move || drop(member));
            let (handler, got) = collect();
            let _other = broker.subscribe_group("k", "g", handler).unwrap();
            let most = rest(&got);
            assert!(most < 4, "{most}");
            drop(go);
            left.join().unwrap();
        }
    }
}

#[test]
fn a_failing_message_is_tried_again_by_any_member_if_it_is_requeued() {
    let server = with_jetstream(Release::New);
    let [one, two] = [(); 2].map(|()| connect(jetstream(&server)));
    scenario::requeued([&one, &two], SubscribeOptions::new());
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
    // A member that was cut off may handle again what another one has taken over, but the first
    // time is in order.
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
    says(&error, &["max_ack_pending 1024"]);
}

#[test]
fn a_subscription_made_while_the_server_is_away_becomes_live() {
    for mode in [Mode::Core, Mode::JetStream] {
        let mut server = with_jetstream(Release::Old);
        let broker = connect(quick(&server.url()).mode(mode));
        scenario::becomes_live(&broker, &mut server);
    }
}

/// The stream is lost while a reader is cut off, and has more messages by the time the reader is
/// back than it had before.
#[test]
fn a_stream_that_was_made_anew_is_read_from_its_beginning() {
    let mut server = with_jetstream(Release::Old);
    let proxy = Proxy::start(server.address());
    let writer = connect(jetstream(&server));
    let reader = connect(quick(&server.url_through(proxy.address())));
    let (plain, group) = (Arc::new(Tally::new(40)), Arc::new(Tally::new(40)));
    let _plain = reader.subscribe("k", count(&plain)).unwrap();
    // The first message is at work until after the reconnect, and has the position that another one
    // has by then.
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
    wait_until("the reader is cut off", || {
        reader.health().inbound_fault.is_some()
    });
    forget(&mut server);
    publish(&writer, "k", 10..40);
    writer.flush(LONG).unwrap();
    proxy.refuse(false);
    scenario::gaps_of_both(&mut events);
    plain.wait_complete(LONG);
    plain.assert_exactly_once();
    wait_until("the member has all", || reader.health().pending == 39);
    over.store(true, Ordering::Release);
    group.wait_complete(LONG);
    group.assert_exactly_once();
    reader.close(LONG).unwrap();
}
