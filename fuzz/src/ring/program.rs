//! The operations of a program on a ring.

use arbitrary::Arbitrary;
use fanfeed::ring;

/// A program.
#[derive(Debug, Clone, Arbitrary)]
pub struct Program {
    pub(crate) is_exclusive: bool,
    pub(crate) capacity: Capacity,
    pub(crate) operations: Vec<Operation>,
}

/// Tiny ones, and one whose segments have several slots.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Capacity {
    One,
    Two,
    Three,
    Eight,
    Sixteen,
    ThirtyTwo,
}

impl Capacity {
    pub(crate) fn get(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Eight => 8,
            Self::Sixteen => 16,
            Self::ThirtyTwo => 32,
        }
    }
}

/// One step. Small numbers choose among what is there, modulo how many there are.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Operation {
    Join {
        kind: Kind,
        manner: Manner,
        begin: Begin,
        named: bool,
        by_handle: bool,
        /// The readers that it follows.
        after: [Option<u8>; 2],
    },
    Send(Form),
    Batch {
        count: u8,
        form: BatchForm,
    },
    /// Many laps at once, with everybody reading along.
    Laps(u8),
    Receive {
        who: u8,
        form: Receive,
        count: u8,
    },
    Unsubscribe(u8),
    Leave(u8),
    Split(u8),
    DropHandle(u8),
    CloneSender,
    DropSender,
    Upgrade,
    Close,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Begin {
    History(u8),
    /// That much before the next position, or after it.
    Before(u8),
    After(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(crate) enum Kind {
    Strict,
    Lossy,
    Fragile,
}

impl From<Kind> for ring::Overflow {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Strict => Self::Block,
            Kind::Lossy => Self::DropOldest,
            Kind::Fragile => Self::Disconnect,
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Manner {
    Spin,
    Batch,
    Park,
}

impl From<Manner> for ring::WaitStrategy {
    fn from(manner: Manner) -> Self {
        match manner {
            Manner::Spin => Self::Spin,
            Manner::Batch => Self::Batch,
            Manner::Park => Self::Park,
        }
    }
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Form {
    Send,
    Try,
    Timeout,
    Deadline,
    InPlace,
    InPlacePanicking,
    /// A future that is polled once, and dropped if it has not completed.
    Async,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum BatchForm {
    Iterator,
    Slice,
    Panicking,
    Try,
    Timeout,
    Deadline,
    /// Slots of an exclusive ring, claimed at once.
    InPlace,
    InPlaceTry,
    InPlacePanicking,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Receive {
    Try,
    TryPanicking,
    Wait,
    Timeout,
    Deadline,
    WaitTimeout,
    Drain,
    DrainUpTo,
    DrainPanicking,
    DrainSending,
    /// One batch, stopped by the handler after so many values.
    Batch,
    /// One batch, in which the handler unsubscribes after so many values.
    BatchUnsubscribing,
    TryPosition,
    Skip,
    TryIter,
    Stream,
    Async,
}
