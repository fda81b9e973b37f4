//! The posted events, of several types; each holds its origin.

use fanfeed::{TypeMux, mux};

use crate::value::Value;
use crate::world::World;

/// How many types there are.
pub(super) const KINDS: usize = 4;

/// Which types a subscription is for.
pub(super) type Kinds = [bool; KINDS];

/// What one poster posts of one type is a stream, numbered by itself: to accounts and marks, a
/// sender of its own.
pub(super) fn stream(poster: usize, kind: usize) -> usize {
    poster * KINDS + kind
}

/// The type of a stream's events.
pub(super) fn kind_of(stream: usize) -> usize {
    stream % KINDS
}

#[derive(Debug)]
struct Event<const KIND: usize> {
    value: Value,
    turn: u64,
}

/// What an event says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) poster: usize,
    pub(super) kind: usize,
    pub(super) number: u64,
    /// Its place among all that the poster has posted, of whatever type.
    pub(super) turn: u64,
}

impl<const KIND: usize> Event<KIND> {
    fn see(&self, world: &World) -> Seen {
        let (stream, number) = self.value.read();
        if kind_of(stream) != KIND {
            world.violated(
                format!("an event of type {KIND}"),
                format!("one of stream {stream}"),
            );
        }
        Seen {
            poster: stream / KINDS,
            kind: KIND,
            number,
            turn: self.turn,
        }
    }
}

/// Looks at what came.
pub(super) fn see(world: &World, event: &mux::Event) -> Seen {
    fn as_one_of<const KIND: usize>(world: &World, event: &mux::Event) -> Option<Seen> {
        let event = event.downcast_ref::<Event<KIND>>()?;
        Some(event.see(world))
    }
    as_one_of::<0>(world, event)
        .or_else(|| as_one_of::<1>(world, event))
        .or_else(|| as_one_of::<2>(world, event))
        .or_else(|| as_one_of::<3>(world, event))
        .unwrap_or_else(|| world.violated("an event of a type that is posted", "another"))
}

/// Posts an event of that poster and type, or gives back what came back.
pub(super) fn post(
    mux: &TypeMux,
    world: &'static World,
    (poster, kind): (usize, usize),
    number: u64,
    turn: u64,
) -> Result<usize, Seen> {
    let value = Value::new(world, stream(poster, kind), number, false);
    match kind {
        0 => post_as::<0>(mux, world, value, turn),
        1 => post_as::<1>(mux, world, value, turn),
        2 => post_as::<2>(mux, world, value, turn),
        _ => post_as::<3>(mux, world, value, turn),
    }
}

fn post_as<const KIND: usize>(
    mux: &TypeMux,
    world: &World,
    value: Value,
    turn: u64,
) -> Result<usize, Seen> {
    mux.post(Event::<KIND> { value, turn })
        .map_err(|closed| closed.into_inner().see(world))
}

/// Options of a subscription to these types, of which there is one at least.
pub(super) fn subscriber<'m>(mux: &'m TypeMux, kinds: &Kinds) -> mux::SubscriberBuilder<'m> {
    fn and<'m, const KIND: usize>(
        mux: &'m TypeMux,
        kinds: &Kinds,
        options: Option<mux::SubscriberBuilder<'m>>,
    ) -> Option<mux::SubscriberBuilder<'m>> {
        if !kinds[KIND] {
            return options;
        }
        Some(match options {
            Some(options) => options.and::<Event<KIND>>(),
            None => mux.subscriber::<(Event<KIND>,)>(),
        })
    }
    let options = and::<0>(mux, kinds, None);
    let options = and::<1>(mux, kinds, options);
    let options = and::<2>(mux, kinds, options);
    and::<3>(mux, kinds, options).expect("a subscription is for one type at least")
}
