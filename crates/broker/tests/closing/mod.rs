//! What `close` waits for.

use std::time::{Duration, Instant};

use fanfeed_broker::driver::{Engine, Verdict};
use fanfeed_broker::{Broker, Message, Publisher, SubscriberExt};

use super::common::{self, eventually};
use super::{SOON, options, server};

/// The server is away when `close` begins, and the handlers' results still arrive.
#[test]
fn a_handler_may_publish_while_close_drains() {
    let fake = server();
    let broker = Engine::start(fake.clone(), options()).unwrap();
    let gate = common::Gate::new();
    let handler = {
        let (own, gate) = (broker.clone(), gate.clone());
        move |message: &Message, _: &fanfeed_broker::Context| {
            gate.pass();
            Ok(own.publish(Message::new("out", message.payload().clone()))?)
        }
    };
    let _subscription = broker.subscribe("in", handler).unwrap();
    for n in 0..20 {
        broker.publish(common::payload("in", n)).unwrap();
    }
    gate.wait_for_visitor();
    eventually("all have arrived", || broker.health().pending == 19);
    fake.server.stop();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| broker.close(SOON));
        eventually("it is closing", || broker.is_closed());
        let refused = broker.publish(common::payload("in", 0));
        assert!(refused.unwrap_err().is_closed());
        gate.open();
        fake.server.start();
        assert_eq!(closing.join().unwrap(), Ok(()));
    });
    assert!(fake.server.log("out").len() >= 20);
}

/// Guards against a `close` that stopped the receiving side before the last handler of a
/// subscription that had been ended.
#[test]
fn the_result_of_a_handler_whose_subscription_has_ended_is_told_before_close_returns() {
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
    broker.publish(common::payload("jobs", 0)).unwrap();
    gate.wait_for_visitor();
    member.cancel_soon();
    member.detach();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| broker.close(SOON));
        // As long as the handler runs, that thread must not end. The mistake takes some
        // milliseconds to show.
        let has_ended = || {
            fake.server
                .ended()
                .iter()
                .any(|side| side == "fanfeed-inbound")
        };
        let until = Instant::now() + Duration::from_millis(200);
        while Instant::now() < until && !has_ended() {
            std::thread::yield_now();
        }
        gate.open();
        assert_eq!(closing.join().unwrap(), Ok(()));
    });
    assert_eq!(fake.server.settled(), [(0, Verdict::Handled)]);
}

#[test]
fn the_transport_hears_of_the_end_of_both_threads_before_close_returns() {
    for away in [false, true] {
        let fake = server();
        let broker = Engine::start(fake.clone(), options()).unwrap();
        if away {
            fake.server.stop();
            eventually("the loss is seen", || !broker.health().is_up());
        }
        broker.close(SOON).unwrap();
        let mut ended = fake.server.ended();
        ended.sort();
        assert_eq!(ended, ["fanfeed-inbound", "fanfeed-outbound"]);
    }
}
