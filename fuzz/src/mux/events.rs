//! The types of events.

use fanfeed::{TypeMux, mux};

use crate::trace::{expect, fail};
use crate::value::Value;

/// How many types there are.
pub(crate) const TYPES: usize = 4;

/// Types that differ in nothing but their number.
#[derive(Debug)]
pub(crate) struct Event<const TYPE: usize>(pub(crate) Value);

/// The options of a subscription to the types whose bits are set, at least one, in either order.
pub(crate) fn subscriber(mux: &TypeMux, types: u8) -> mux::SubscriberBuilder<'_> {
    let has = |number: usize| types & (1 << number) != 0;
    match types & 0b1111 {
        0b0011 => return mux.subscriber::<(Event<1>, Event<0>)>(),
        0b1111 => return mux.subscriber::<(Event<0>, Event<1>, Event<2>, Event<3>)>(),
        _ => {}
    }
    let mut options = None;
    macro_rules! add {
        ($number:literal) => {
            if has($number) {
                options = Some(match options {
                    None => mux.subscriber::<(Event<$number>,)>(),
                    Some(options) => mux::SubscriberBuilder::and::<Event<$number>>(options),
                });
            }
        };
    }
    add!(0);
    add!(1);
    add!(2);
    add!(3);
    options.unwrap_or_else(|| mux.subscriber::<(Event<0>,)>())
}

/// The types that `subscriber` makes of the bits.
pub(crate) fn bits(types: u8) -> u8 {
    match types & 0b1111 {
        0 => 1,
        types => types,
    }
}

/// Posts an event. `Err` gives the number of the event that came back.
pub(crate) fn post(mux: &TypeMux, event_type: usize, number: u64) -> Result<usize, u64> {
    macro_rules! post {
        ($number:literal) => {
            mux.post(Event::<$number>(Value::new(number)))
                .map_err(|closed| closed.into_inner().0.number())
        };
    }
    match event_type {
        0 => post!(0),
        1 => post!(1),
        2 => post!(2),
        _ => post!(3),
    }
}

/// The type and the number of an event.
pub(crate) fn read(event: &mux::Event) -> (usize, u64) {
    let mut found = None;
    macro_rules! look {
        ($number:literal) => {
            let seen = event.downcast_ref::<Event<$number>>();
            expect("is", &event.is::<Event<$number>>(), &seen.is_some());
            found = found.or(seen.map(|event| ($number, event.0.number())));
        };
    }
    look!(0);
    look!(1);
    look!(2);
    look!(3);
    found.unwrap_or_else(|| fail("an event of no type that was posted"))
}
