//! The operations of a program on a mux.

use arbitrary::Arbitrary;

/// A program.
#[derive(Debug, Clone, Arbitrary)]
pub struct Program {
    pub(crate) operations: Vec<Operation>,
}

/// One step. Small numbers choose among what is there, modulo how many there are.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Operation {
    Subscribe {
        types: u8,
        channel: Channel,
        named: bool,
    },
    Post(u8),
    Receive {
        who: u8,
        form: Receive,
        count: u8,
    },
    Unsubscribe(u8),
    DropHandle(u8),
    Detach(u8),
    DropFarEnd(u8),
    Split(u8),
    Stop,
    /// Drops the mux; the subscriptions stay.
    DropMux,
}

/// What a subscription's events come on.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Channel {
    Own {
        capacity: u8,
    },
    Crossbeam {
        capacity: u8,
    },
    Unbounded,
    /// One that panics when it is handed its event with this number, counted from 0.
    Panicking {
        at: u8,
    },
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Receive {
    Try,
    Wait,
    Timeout,
    Deadline,
    TryIter,
    Stream,
}
