//! The operations of a program on a feed.

use arbitrary::Arbitrary;
use fanfeed::{CarrierOverflow, Overflow};

/// A program.
#[derive(Debug, Clone, Arbitrary)]
pub struct Program {
    pub(crate) operations: Vec<Operation>,
}

/// One step. Small numbers choose among what is there, modulo how many there are.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Operation {
    Subscribe {
        kind: Kind,
        named: bool,
    },
    Send(Form),
    Batch {
        count: u8,
    },
    Retry {
        which: u8,
        form: RetryForm,
    },
    GiveUp {
        which: u8,
        take: bool,
    },
    BeginAsync,
    Poll,
    DropAsync,
    Receive {
        who: u8,
        form: Receive,
        count: u8,
    },
    Unsubscribe(u8),
    DropHandle(u8),
    Detach(u8),
    Track(u8),
    CloseScope,
    Split(u8),
    DropFarEnd(u8),
    /// Has the next value that the carrier is handed panic.
    ArmCarrier(u8),
    /// Has a clone of the next send panic.
    ArmClone(u8),
    CheckError(u8),
    CloneFeed,
    DropFeed,
    Upgrade,
    Close,
    /// More subscribers than one chunk holds.
    Crowd {
        closures: bool,
    },
}

/// A kind of subscriber.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Kind {
    Own {
        capacity: u8,
        overflow: Policy,
    },
    Crossbeam {
        capacity: u8,
        overflow: CarrierPolicy,
    },
    Unbounded,
    Sync {
        capacity: u8,
        overflow: CarrierPolicy,
    },
    Mpsc,
    Tokio {
        capacity: u8,
        overflow: CarrierPolicy,
    },
    TokioUnbounded,
    Custom {
        capacity: u8,
        overflow: CarrierPolicy,
        manner: Manner,
        /// It unsubscribes itself when it is handed its first value.
        leaves: bool,
    },
    Ring {
        capacity: u8,
        overflow: CarrierPolicy,
    },
    Closure(Act),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Policy {
    Block,
    DropNewest,
    DropOldest,
    Disconnect,
}

impl From<Policy> for Overflow {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Block => Self::Block,
            Policy::DropNewest => Self::DropNewest,
            Policy::DropOldest => Self::DropOldest,
            Policy::Disconnect => Self::Disconnect,
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum CarrierPolicy {
    Block,
    DropNewest,
    Disconnect,
}

impl From<CarrierPolicy> for CarrierOverflow {
    fn from(policy: CarrierPolicy) -> Self {
        match policy {
            CarrierPolicy::Block => Self::Block,
            CarrierPolicy::DropNewest => Self::DropNewest,
            CarrierPolicy::Disconnect => Self::Disconnect,
        }
    }
}

/// How a custom carrier tells of room.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Manner {
    Silent,
    Waking,
    Ready,
    Wrapping,
}

/// What a closure does besides being called, the first time that it is.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Act {
    Nothing,
    Panic,
    UnsubscribeItself,
    Unsubscribe(u8),
    SubscribeChannel { capacity: u8, overflow: Policy },
    SubscribeClosure,
    Send,
    SendElsewhere,
    Close,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Form {
    Send,
    TrySend,
    Timeout,
    Deadline,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum RetryForm {
    Now,
    Timeout,
    Deadline,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Receive {
    Try,
    Wait,
    Timeout,
    Deadline,
    Drain,
    DrainInto,
    DrainPanicking,
    TryIter,
    Iter,
    Stream,
    Async,
}
