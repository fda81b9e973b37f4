//! What a subscription is made of.

use super::join::Joined;
use super::state::State;
use super::stats::Stats;

/// What a subscription is made of, and how it is ended: a feed's entry, a producer's thread, many in one.
pub(crate) trait Source: Send + Sync {
    /// Its identity, and whether and how it has ended.
    fn state(&self) -> &State;

    /// Ends it, if it has not ended, and returns when nothing of it is under way any more. Called any number of times,
    /// from any thread.
    fn cancel(&self);

    /// Tells the source to end. Does not wait, and runs no user destructors: what there is to drop
    /// is dropped by [`cancel`](Self::cancel), or by the thread that tells, once it is out of all
    /// deliveries and drops.
    fn cancel_soon(&self);

    /// What it has counted so far.
    fn stats(&self) -> Stats;

    /// This source as a joined subscription, if it is one.
    fn as_joined(&self) -> Option<&Joined> {
        None
    }

    /// This source as a joined subscription, if it is one.
    fn as_joined_mut(&mut self) -> Option<&mut Joined> {
        None
    }
}
