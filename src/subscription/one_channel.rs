//! From when to when the members of a subscription put values on their one channel.

use std::time::Instant;

use crate::sync::{AtomicBool, AtomicU64, OnceLock, Ordering, mutant};

/// Shared by the carriers of a subscription that has several members and one channel.
///
/// The members are made one after the other, and end one after the other. A thread that sends to
/// one member after another would reach some of them and not others meanwhile, and its values would
/// be on the channel with gaps. So the channel takes nothing before all members are made, and
/// nothing once the first is told to end.
#[derive(Debug, Default)]
pub(crate) struct OneChannel {
    begin: OnceLock<Instant>,
    is_over: AtomicBool,
    passed_over: AtomicU64,
}

impl OneChannel {
    /// All members are made. Values that were sent before now are not for the channel.
    pub(super) fn begin(&self) {
        self.begin.get_or_init(Instant::now);
    }

    /// Called before any member is told to end.
    pub(super) fn end(&self) {
        if !mutant!("one_channel_ends_with_its_members") {
            // ORDERING: SeqCst as the cut of an entry is, which follows. A sender that found one
            // member cut sees this before it sends to another.
            self.is_over.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a member was told to end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Whether a value that was sent at `time` is not for the channel. Until it has begun, no value
    /// is: what is being sent then was sent before.
    pub(crate) fn is_before(&self, time: Instant) -> bool {
        self.begin.get().is_none_or(|begin| time < *begin)
    }

    /// Counts a value that a member counts as delivered, and that was not put on the channel.
    pub(crate) fn pass_over(&self) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// How many values were passed over.
    pub(crate) fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::OneChannel;

    #[test]
    fn values_of_before_the_begin_are_not_for_the_channel() {
        let channel = OneChannel::default();
        assert!(channel.is_before(Instant::now()), "it has not begun");
        channel.begin();
        let begin = *channel.begin.get().unwrap();
        assert!(channel.is_before(begin - Duration::from_nanos(1)));
        assert!(!channel.is_before(begin), "of that very moment");
        channel.begin();
        assert_eq!(channel.begin.get(), Some(&begin), "it begins once");
        channel.pass_over();
        assert_eq!(channel.passed_over(), 1);
        assert!(!channel.is_over());
        channel.end();
        assert!(channel.is_over());
    }
}
