//! What a subscription is made of.

use super::state::State;
use super::stats::Stats;

/// What a subscription is made of, and how it is ended: a feed's entry, a producer's thread, many in one.
pub(crate) trait Source: Send + Sync {
    /// Its identity, and whether and how it has ended.
    fn state(&self) -> &State;

    /// Ends it, if it has not ended, and returns when nothing of it is under way any more. Called any number of times,
    /// from any thread.
    fn cancel(&self);

    /// Has it end, and waits for nothing that may take long: for a thread that others are waiting for.
    fn cancel_soon(&self) {
        self.cancel();
    }

    /// What it has counted so far.
    fn stats(&self) -> Stats;
}
