//! Models of the meter, which loom runs in every order that matters.
#![cfg(fanfeed_loom)]

use fanfeed::Feed;
use fanfeed_model_checking_example::{Meter, add_up};
use loom::future::block_on;
use loom::model::Builder;
use loom::thread;

/// Runs a model with at most two changes of threads where the running thread could have gone on.
/// Without a bound, a model of three threads may take hours.
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 5_000;
    builder.check(f);
}

#[test]
fn a_stopped_meter_has_counted_what_was_accepted() {
    model(|| {
        let meter = Meter::start();
        let amounts = meter.amounts().clone();
        let sender = thread::spawn(move || amounts.send(2));
        let total = meter.stop();
        let accepted = sender.join().unwrap() as u64;
        assert_eq!(total, 2 * accepted);
    });
}

/// A claim that does not hold: loom finds the order in which it breaks.
#[test]
#[should_panic = "an amount is missing"]
fn a_glance_need_not_show_what_was_accepted() {
    model(|| {
        let meter = Meter::start();
        assert_eq!(meter.amounts().send(2), 1);
        let seen = meter.glance();
        meter.stop();
        assert_eq!(seen, 2, "an amount is missing");
    });
}

#[test]
fn a_task_adds_up_what_a_task_sends() {
    model(|| {
        let feed = Feed::new();
        let receiver = feed.channel(1).unwrap();
        let sender = thread::spawn(move || {
            block_on(async {
                for amount in [1, 2] {
                    assert_eq!(feed.send_async(amount).await, 1);
                }
            });
        });
        assert_eq!(block_on(add_up(receiver)), 3);
        sender.join().unwrap();
    });
}
