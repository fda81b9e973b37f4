//! Real threads. Feeds are not used outside of models where `fanfeed_loom` is set.
#![cfg(not(fanfeed_loom))]

use fanfeed_model_checking_example::Meter;

#[test]
fn the_meter_counts_every_amount() {
    let meter = Meter::start();
    for amount in 1..=100 {
        assert_eq!(meter.amounts().send(amount), 1);
    }
    assert_eq!(meter.stop(), 5050);
}
