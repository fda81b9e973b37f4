//! The shared engine passes the suite over a server that is a struct: at least once, with replay,
//! groups and restarts.

mod closing;
mod common;
mod fake;
mod opening;
mod publishing;

use std::sync::Arc;
use std::time::Duration;

use common::eventually;
use crossbeam_channel::unbounded;
use fake::{Fake, FakeServer};
use fanfeed_broker::conformance::{Line, Server};
use fanfeed_broker::driver::{Engine, EngineOptions, Verdict};
use fanfeed_broker::middleware::DeadLetter;
use fanfeed_broker::{
    Broker, CloseError, ConnectError, Connection, Context, Event, HandlerError, Message,
    PublishError, Publisher, ReadyError, Subscribe, SubscribeOptions, Subscriber, SubscriberExt,
};

const SOON: Duration = Duration::from_secs(10);

fn options() -> EngineOptions {
    EngineOptions::new().reconnect(Duration::from_millis(50))
}

impl Server for Fake {
    fn connect(&self) -> Arc<dyn Broker> {
        Arc::new(Engine::start(self.clone(), options()).expect("the server is up"))
    }

    fn kill(&self) -> bool {
        self.server.stop();
        true
    }

    fn start(&self) {
        self.server.start();
    }

    fn connect_over(&self) -> Option<(Arc<dyn Broker>, Box<dyn Line>)> {
        let fake = Fake::new(&self.server);
        let line = Arc::clone(&fake.line);
        Some((fake.connect(), Box::new(line)))
    }

    fn many_keys(&self) -> usize {
        500
    }
}

fn server() -> Fake {
    Fake::new(&FakeServer::started())
}

fanfeed_broker::conformance_tests!(server);

#[test]
fn connecting_fails_fast_unless_it_is_lazy() {
    let fake = server();
    fake.server.stop();
    let error = Engine::start(fake.clone(), options()).unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }));

    let broker = Engine::start(fake.clone(), options().lazy(true)).unwrap();
    let mut events = broker.events();
    assert_eq!(broker.health().connection, Connection::Down);
    // The events may have begun after the first failure; the reason can be asked for at any time.
    eventually("both sides say why they are down", || {
        let health = broker.health();
        let faults = [health.outbound_fault, health.inbound_fault];
        faults
            .into_iter()
            .all(|fault| fault.is_some_and(|fault| fault.contains("it is stopped")))
    });
    let (tx, rx) = unbounded();
    let subscription = broker
        .subscribe("k", move |message, _| Ok(tx.send(message.clone())?))
        .unwrap();
    assert_eq!(
        subscription.ready(Duration::from_millis(10)),
        Err(ReadyError::Timeout)
    );
    fake.server.start();
    assert_eq!(subscription.ready(SOON), Ok(()));
    broker.publish(Message::new("k", "x")).unwrap();
    assert_eq!(rx.recv_timeout(SOON).unwrap().payload(), &b"x"[..]);
    eventually("it is up", || broker.health().is_up());
    let health = broker.health();
    assert_eq!((health.outbound_fault, health.inbound_fault), (None, None));
    assert!(
        events
            .try_iter()
            .any(|event| matches!(event, Event::Connected))
    );
    subscription.unsubscribe();
    assert_eq!(subscription.ready(SOON), Err(ReadyError::Ended));
}

#[test]
fn the_queue_to_the_server_is_bounded_and_what_is_left_over_is_told() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options().queue(4)).unwrap();
    let mut events = broker.events();
    fake.server.stop();
    eventually("the publishing side sees the loss", || {
        broker.health().outbound_fault.is_some()
    });
    for n in 0..4 {
        broker.try_publish(common::payload("k", n)).unwrap();
    }
    assert!(
        broker
            .try_publish(common::payload("k", 4))
            .unwrap_err()
            .is_full()
    );
    let late = broker.publish_timeout(common::payload("k", 5), Duration::from_millis(10));
    assert!(late.unwrap_err().is_timeout());
    let late = broker.flush(Duration::from_millis(10)).unwrap_err();
    assert_eq!(
        late.to_string(),
        "4 messages were not confirmed within the timeout"
    );
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| broker.publish(common::payload("k", 6)));
        let error = broker.close(Duration::from_millis(50)).unwrap_err();
        let CloseError::Undelivered {
            outbound,
            inbound,
            running,
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((outbound, inbound, running), (4, 0, 0));
        assert!(matches!(
            blocked.join().unwrap(),
            Err(PublishError::Closed(_))
        ));
    });
    let failed = events.try_iter();
    let failed = failed.filter(|event| matches!(event, Event::PublishFailed { .. }));
    assert_eq!(failed.count(), 4);
}

#[test]
fn the_outbound_queue_keeps_its_order_across_restarts() {
    const COUNT: usize = 3000;
    let fake = server();
    let broker = Engine::start(fake.clone(), options().batch(16)).unwrap();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            for n in 0..COUNT {
                broker.publish(common::payload("k", n)).unwrap();
            }
        });
        for round in 1..4 {
            eventually("some are there", || {
                fake.server.log("k").len() > round * 200
            });
            fake.restart();
        }
        publisher.join().unwrap();
    });
    broker.flush(SOON).unwrap();
    // The fake loses its answer now and then, so that batches come twice; without the repeats the
    // order is whole.
    let mut next = 0;
    for message in fake.server.log("k") {
        let n: usize = std::str::from_utf8(message.payload())
            .unwrap()
            .parse()
            .unwrap();
        assert!(n <= next, "{n} came before {next}");
        next = next.max(n + 1);
    }
    assert_eq!(next, COUNT);
}

#[test]
fn a_panic_of_the_driver_is_a_lost_connection() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let mut events = broker.events();
    fake.server.panic_once();
    broker
        .publish_confirmed(Message::new("k", "x"), SOON)
        .unwrap();
    let seen = events.try_iter().any(|event| match event {
        Event::Disconnected { reason } => reason.contains("the driver panicked"),
        _ => false,
    });
    assert!(seen);
}

#[test]
fn what_a_leaving_member_holds_for_a_retry_goes_to_another() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let leaver = broker
        .subscribe_group("jobs", "workers", |_, _| {
            Err(HandlerError::Retry(Duration::from_secs(3600)))
        })
        .unwrap();
    for n in 0..20 {
        broker.publish(common::payload("jobs", n)).unwrap();
    }
    eventually("the others wait behind the first", || {
        broker.health().pending == 19
    });
    leaver.unsubscribe();
    let (tx, rx) = unbounded();
    let _other = broker
        .subscribe_group("jobs", "workers", move |message, _| {
            Ok(tx.send(message.clone())?)
        })
        .unwrap();
    let mut got: Vec<usize> = (0..20)
        .map(|_| rx.recv_timeout(SOON).unwrap())
        .map(|message| {
            std::str::from_utf8(message.payload())
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    got.sort_unstable();
    assert_eq!(got, Vec::from_iter(0..20));
}

/// Guards against a job that kept several deliveries of a group while its handler was busy with the
/// first of them.
#[test]
fn what_no_handler_has_begun_goes_back_while_a_handler_runs() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let (begun, began) = unbounded();
    let (go, gate) = crossbeam_channel::bounded::<()>(0);
    let member = broker
        .subscribe_group("jobs", "workers", move |_, _| {
            begun.send(())?;
            let _ = gate.recv();
            Ok(())
        })
        .unwrap();
    for n in 0..20 {
        broker.publish(common::payload("jobs", n)).unwrap();
    }
    began.recv_timeout(SOON).unwrap();
    eventually("the others wait behind the first", || {
        broker.health().pending == 19
    });
    go.send_timeout((), SOON).unwrap();
    began.recv_timeout(SOON).unwrap();
    let leaving = std::thread::spawn(move || member.unsubscribe());
    eventually("all others go back", || {
        let settled = fake.server.settled();
        let back = settled
            .iter()
            .filter(|(_, said)| *said == Verdict::Abandoned);
        back.count() == 18
    });
    drop(go);
    leaving.join().unwrap();
}

/// A member that leaves while the server is away: the driver, which may hold the messages across
/// connections, hears what became of each, and that the subscription is closed.
#[test]
fn what_became_of_deliveries_during_an_outage_is_told_after_it() {
    for opens_again in [true, false] {
        let fake = server();
        let broker = Engine::start(fake.clone(), options()).unwrap();
        let gate = common::Gate::new();
        let handler = {
            let gate = gate.clone();
            move |_: &Message, _: &fanfeed_broker::Context| {
                gate.pass();
                Ok(())
            }
        };
        let member = broker.subscribe_group("jobs", "workers", handler).unwrap();
        let _other = broker.subscribe("other", |_, _| Ok(())).unwrap();
        for n in 0..100 {
            broker.publish(common::payload("jobs", n)).unwrap();
        }
        gate.wait_for_visitor();
        eventually("all have arrived", || broker.health().pending == 99);
        fake.server.stop();
        eventually("the receiving side sees the loss", || {
            broker.health().inbound_fault.is_some()
        });
        // It waits for the handler that runs.
        let leaving = std::thread::spawn(move || member.unsubscribe());
        eventually("it has left", || broker.health().subscriptions == 1);
        if !opens_again {
            fake.server.lose_open_once();
        }
        fake.server.start();
        eventually("it is back", || broker.health().is_up());
        // The handler ends when the engine has long passed on what it knew at the reconnect.
        eventually("it is closed", || fake.server.closed() == 1);
        gate.open();
        eventually("all is told", || fake.server.settled().len() == 100);
        let handled = |said: &&(u64, Verdict)| said.1 == Verdict::Handled;
        let settled = fake.server.settled();
        assert_eq!(settled.iter().filter(handled).count(), 1);
        let mut tags: Vec<u64> = settled.iter().map(|(tag, _)| *tag).collect();
        tags.sort_unstable();
        assert_eq!(tags, Vec::from_iter(0..100));
        leaving.join().unwrap();
        broker.close(SOON).unwrap();
    }
}

#[test]
fn nothing_is_left_of_a_broker_that_ends_while_the_server_is_away() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let subscription = broker.subscribe("k", |_, _| Ok(())).unwrap();
    let member = broker.subscribe_group("k", "g", |_, _| Ok(())).unwrap();
    fake.server.stop();
    eventually("the receiving side sees the loss", || {
        broker.health().inbound_fault.is_some()
    });
    drop(member);
    broker.close(SOON).unwrap();
    drop((broker, subscription));
    eventually("the transport is dropped", || {
        Arc::strong_count(&fake.line) == 1
    });
}

/// A server counts deliveries. One that no handler saw says nothing about the message.
#[test]
fn a_message_is_not_given_up_at_its_first_failure() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let mut events = broker.events();
    let gate = common::Gate::new();
    let handler = {
        let gate = gate.clone();
        move |_: &Message, _: &fanfeed_broker::Context| {
            gate.pass();
            Ok(())
        }
    };
    let limited = SubscribeOptions::new().attempts(2).backoff(Duration::ZERO);
    let request = Subscribe::new("jobs", handler).group("workers");
    let member = broker
        .subscribe_with(request.options(limited.clone()))
        .unwrap();
    for n in 0..3 {
        broker.publish(common::payload("jobs", n)).unwrap();
    }
    gate.wait_for_visitor();
    eventually("the others wait", || broker.health().pending == 2);
    std::thread::scope(|scope| {
        scope.spawn(|| member.unsubscribe());
        eventually("it has left", || broker.health().subscriptions == 0);
        gate.open();
    });
    eventually("the others are abandoned", || {
        fake.server.settled().len() == 3
    });
    let (tx, rx) = unbounded();
    let handler = move |message: &Message, context: &fanfeed_broker::Context| {
        tx.send((message.payload().clone(), context.attempt()))?;
        match &message.payload()[..] {
            b"1" if context.attempt() > 2 => Ok(()),
            _ => Err(HandlerError::failed("an error that the test wants")),
        }
    };
    let request = Subscribe::new("jobs", handler).group("workers");
    let _other = broker.subscribe_with(request.options(limited)).unwrap();
    let mut got = [(); 4].map(|()| rx.recv_timeout(SOON).unwrap());
    // In which order they were given back depends on what the first member had taken into a batch.
    got.sort();
    let wanted = [("1", 2), ("1", 3), ("2", 2), ("2", 3)];
    assert_eq!(got, wanted.map(|(n, attempt)| (n.into(), attempt)));
    eventually("the other one is given up", || {
        fake.server.settled().contains(&(2, Verdict::GivenUp))
    });
    let gave_up = |event: &Event| matches!(event, Event::GaveUp { .. });
    assert_eq!(events.try_iter().filter(gave_up).count(), 1);
}

/// Guards against a message that is acknowledged although its copy was refused.
#[test]
fn a_message_whose_dead_letter_is_refused_does_not_count_as_handled() {
    let fake = Fake::new(&FakeServer::started());
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let rejects = |_: &Message, _: &Context| Err(HandlerError::Reject);
    let handler = DeadLetter::new(Arc::new(broker.clone()), fake::REFUSED, 1, rejects);
    let options = SubscribeOptions::new().attempts(2);
    let options = options.backoff(Duration::from_millis(1));
    let request = Subscribe::new("jobs", handler).group("workers");
    let _member = broker.subscribe_with(request.options(options)).unwrap();
    broker.publish(common::payload("jobs", 0)).unwrap();
    eventually("it is settled", || !fake.server.settled().is_empty());
    assert_eq!(fake.server.settled(), [(0, Verdict::GivenUp)]);
    broker.close(SOON).unwrap();
}

#[test]
fn a_batch_has_a_limit_of_bytes() {
    const MIB: usize = 1 << 20;
    const COUNT: usize = 40;
    let fake = Fake::new(&FakeServer::started());
    let broker = Engine::start(fake.clone(), options()).unwrap();
    fake.server.stop();
    eventually("the publishing side sees the loss", || {
        broker.health().outbound_fault.is_some()
    });
    let payload = bytes::Bytes::from(vec![0; MIB - 100]);
    for _ in 0..COUNT {
        broker.publish(Message::new("k", payload.clone())).unwrap();
    }
    fake.server.start();
    broker.flush(SOON).unwrap();
    assert_eq!(fake.server.log("k").len(), COUNT);
    let largest = fake.server.largest_batch();
    assert!((15 * MIB..=16 * MIB).contains(&largest), "{largest}");
}
