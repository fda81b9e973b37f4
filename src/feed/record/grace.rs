//! The deliveries that an unsubscriber waits for.

use super::word::{At, Concern, Record};
use crate::sync::Ordering;

/// The deliveries that were under way when something was hidden from them.
#[derive(Debug, Clone)]
pub(crate) struct Grace {
    pub(super) concern: Concern,
    pub(super) visits: Vec<Visit>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Visit {
    pub(super) record: *const Record,
    /// The word at the last observation.
    pub(super) word: u64,
}

// SAFETY: the pointers are to records of a feed, which are `Sync` and outlive the `Grace`: see
// `Grace::is_over`.
unsafe impl Send for Grace {}

impl Grace {
    /// Whether all these deliveries have ended.
    ///
    /// # Safety
    ///
    /// The [`Records`](super::Records) that made this must be alive.
    pub(crate) unsafe fn is_over(&mut self) -> bool {
        self.visits.retain_mut(|visit| {
            let last = visit.word;
            // SAFETY: the caller keeps the records alive.
            visit.word = unsafe { &*visit.record }.at.observe();
            At::visit(visit.word) == At::visit(last) && self.concern.is_about(At::place(visit.word))
        });
        self.visits.is_empty()
    }

    /// Makes [`Records::has_moved_on`](super::Records::has_moved_on) report the end of a visit that
    /// was under way when [`is_over`](Self::is_over) looked. The caller holds the registry's lock.
    ///
    /// # Safety
    ///
    /// The [`Records`](super::Records) that made this must be alive.
    pub(crate) unsafe fn leave(&self) {
        for visit in &self.visits {
            // SAFETY: the caller keeps the records alive.
            let awaited = unsafe { &(*visit.record).awaited };
            // A word that is already there belongs to the same visit, and to no narrower place,
            // because the caller has called `forget_ended` before.
            if awaited.load(Ordering::Relaxed) == 0 {
                awaited.store(visit.word, Ordering::Relaxed);
            }
        }
    }

    /// Whether all noted visits within `concern` have ended. This grace's own concern includes
    /// `concern`. Once true, it stays true: a visit only ever narrows its place.
    ///
    /// # Safety
    ///
    /// The [`Records`](super::Records) that made this must be alive.
    pub(crate) unsafe fn is_over_at(&self, concern: Concern) -> bool {
        self.visits.iter().all(|visit| {
            // SAFETY: the caller keeps the records alive.
            let word = unsafe { &*visit.record }.at.observe();
            At::visit(word) != At::visit(visit.word) || !concern.is_about(At::place(word))
        })
    }
}
