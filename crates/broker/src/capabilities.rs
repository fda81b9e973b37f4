//! The promises of a driver.

/// How often a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// Never: the driver refuses such a subscription.
    Unsupported,
    /// Once or never. Losses are counted or reported.
    AtMostOnce,
    /// Once or more: a message is delivered until a handler has returned `Ok`.
    AtLeastOnce,
}

/// What happens to a message for a group that has no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithoutMember {
    /// It is dropped.
    Dropped,
    /// It is kept for the next member.
    Kept,
}

/// The promises of one driver. The table in the docs and the conformance suite both read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The name of the driver and its mode.
    pub driver: &'static str,
    /// Plain subscriptions.
    pub plain: Delivery,
    /// Groups.
    pub group: Delivery,
    /// Groups without a member.
    pub without_member: WithoutMember,
    /// Whether a subscription may use [`Overflow::Block`](crate::Overflow::Block).
    pub blocking: bool,
    /// Whether a new subscription can get messages that were published before it.
    pub replay: bool,
    /// Whether messages outlive this process.
    pub durable: bool,
    /// Whether messages reach other processes.
    pub remote: bool,
    /// Whether a group keeps the order of a key while it has one member.
    pub group_order: bool,
}

impl Capabilities {
    /// The smallest set of promises: plain subscriptions, at most once. A driver starts with this
    /// set and adds to it.
    pub const fn new(driver: &'static str) -> Self {
        Self {
            driver,
            plain: Delivery::AtMostOnce,
            group: Delivery::Unsupported,
            without_member: WithoutMember::Dropped,
            blocking: false,
            replay: false,
            durable: false,
            remote: true,
            group_order: true,
        }
    }

    /// Sets how plain subscriptions deliver.
    #[must_use]
    pub const fn plain(mut self, delivery: Delivery) -> Self {
        self.plain = delivery;
        self
    }

    /// Sets how groups deliver, and what happens to messages while a group has no member.
    #[must_use]
    pub const fn group(mut self, delivery: Delivery, without_member: WithoutMember) -> Self {
        self.group = delivery;
        self.without_member = without_member;
        self
    }

    /// Adds the promise that publishers can wait for subscriptions.
    #[must_use]
    pub const fn blocking(mut self) -> Self {
        self.blocking = true;
        self
    }

    /// Adds the promise that a new subscription can get old messages.
    #[must_use]
    pub const fn replay(mut self) -> Self {
        self.replay = true;
        self
    }

    /// Adds the promise that messages outlive the process.
    #[must_use]
    pub const fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Removes the promise that messages reach other processes.
    #[must_use]
    pub const fn local(mut self) -> Self {
        self.remote = false;
        self
    }

    /// Removes the promise that groups keep the order of a key.
    #[must_use]
    pub const fn unordered_groups(mut self) -> Self {
        self.group_order = false;
        self
    }
}
