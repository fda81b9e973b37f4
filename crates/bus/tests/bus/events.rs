//! The events of the bus itself.

use fanfeed::RecvError;
use fanfeed_bus::{BusEvent, Context, EventBus};

use crate::support::Placed;

#[test]
fn a_receiver_that_is_not_read_holds_nobody_up_and_is_told_what_it_missed() {
    let bus = EventBus::new();
    let mut events = bus.events();
    let listener = bus.register(|_: &Placed, _: &Context| Err("no".into()));
    for n in 0..3000 {
        bus.dispatch(Placed(n));
    }
    assert!(
        matches!(events.recv(), Err(RecvError::Lagged(_))),
        "it holds fewer"
    );
    bus.close().unwrap();
    let rest: Vec<_> = events.iter().collect();
    assert_eq!(events.missed() + rest.len() as u64, 3001);
    assert!(matches!(rest.last(), Some(BusEvent::Closed)));
    drop(listener);
}
