//! The visit to a single subscriber.
//!
//! No user code runs in it. So it is enough that the thread is idle on this feed; the thread need
//! not be marked as inside a delivery.

use super::word::{Place, Record};
use crate::feed::lane::InDelivery;
use crate::feed::sole::OpenWindow;

/// A visit, by what the thread found.
#[derive(Debug)]
pub(crate) enum Lone<'a> {
    /// The thread is the sole sender.
    Alone(LoneVisit<'a>),
    /// Other threads send too.
    Among(EndOfVisit<'a>),
}

impl Lone<'_> {
    /// Runs user code in the visit, then ends the visit.
    #[cold]
    pub(crate) fn end_with(self, then: impl FnOnce()) {
        match self {
            Self::Alone(visit) => visit.end_with(then),
            Self::Among(visit) => visit.end_with(then),
        }
    }
}

/// A visit of a sole sender, with a window in it.
#[derive(Debug)]
pub(crate) struct LoneVisit<'a> {
    // Dropped first: the window is closed before the visit ends.
    pub(super) window: OpenWindow<'a>,
    pub(super) end: EndOfVisit<'a>,
}

impl<'a> LoneVisit<'a> {
    #[inline(always)]
    pub(crate) fn window(&self) -> &OpenWindow<'a> {
        &self.window
    }

    /// Closes the window, runs user code in the visit, then ends the visit.
    #[cold]
    pub(crate) fn end_with(self, then: impl FnOnce()) {
        let Self { window, end } = self;
        drop(window);
        end.end_with(then);
    }
}

/// A visit, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct EndOfVisit<'a> {
    pub(super) record: &'a Record,
    pub(super) visit: u32,
}

impl EndOfVisit<'_> {
    /// Runs user code in the visit, then ends the visit.
    #[cold]
    pub(crate) fn end_with(self, then: impl FnOnce()) {
        let _inside = InDelivery::enter();
        then();
        drop(self);
    }
}

impl Drop for EndOfVisit<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.record.at.narrow(self.visit, Place::IDLE);
    }
}
