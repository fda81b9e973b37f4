//! The visit to an only subscriber.
//!
//! No code of others runs in it. So it is enough that the thread is idle on this feed: it need not
//! be noted that it is inside a delivery.

use super::word::{Place, Record};
use crate::feed::lane::InDelivery;
use crate::feed::sole::OpenWindow;

/// A visit, by what the thread found.
#[derive(Debug)]
pub(crate) enum Lone<'a> {
    /// It alone sends.
    Alone(LoneVisit<'a>),
    /// Others send too.
    Among(EndOfVisit<'a>),
}

impl Lone<'_> {
    /// Runs code of others in the visit.
    #[cold]
    pub(crate) fn end_with(self, then: impl FnOnce()) {
        match self {
            Self::Alone(visit) => visit.end_with(then),
            Self::Among(visit) => visit.end_with(then),
        }
    }
}

/// A visit of a thread that alone sends, and a window in it.
#[derive(Debug)]
pub(crate) struct LoneVisit<'a> {
    // It is closed before the visit ends.
    pub(super) window: OpenWindow<'a>,
    pub(super) end: EndOfVisit<'a>,
}

impl<'a> LoneVisit<'a> {
    #[inline(always)]
    pub(crate) fn window(&self) -> &OpenWindow<'a> {
        &self.window
    }

    /// Closes the window and runs code of others in the visit.
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
    /// Runs code of others in the visit.
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
