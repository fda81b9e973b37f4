//! How many dispatches with asynchronous listeners are under way, by epoch.

use std::collections::VecDeque;

/// Epochs in ascending order, each with a count above zero. There are few: one more for each `wait`
/// under way.
#[derive(Debug, Default)]
pub(crate) struct Pending(VecDeque<(u64, usize)>);

impl Pending {
    pub(crate) fn add(&mut self, epoch: u64) {
        let at = self.0.partition_point(|(each, _)| *each < epoch);
        match self.0.get_mut(at) {
            Some((each, count)) if *each == epoch => *count += 1,
            _ => self.0.insert(at, (epoch, 1)),
        }
    }

    /// Whether this was the last one of its epoch.
    pub(crate) fn remove(&mut self, epoch: u64) -> bool {
        let at = self.0.partition_point(|(each, _)| *each < epoch);
        let Some((_, count)) = self.0.get_mut(at) else {
            return false;
        };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.0.remove(at);
        }
        is_last
    }

    /// Whether there is one of this epoch or an older one.
    pub(crate) fn has_until(&self, epoch: u64) -> bool {
        self.0.front().is_some_and(|(first, _)| *first <= epoch)
    }

    pub(crate) fn total(&self) -> usize {
        self.0.iter().map(|(_, count)| count).sum()
    }
}
