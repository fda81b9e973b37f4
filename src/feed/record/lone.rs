//! The visit to an only subscriber.

use super::word::{Place, Record};
use crate::feed::lane::InDelivery;
use crate::feed::sole::OpenWindow;

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
        let _inside = InDelivery::enter();
        then();
        drop(end);
    }
}

#[derive(Debug)]
pub(super) struct EndOfVisit<'a> {
    pub(super) record: &'a Record,
    pub(super) visit: u32,
}

impl Drop for EndOfVisit<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.record.at.narrow(self.visit, Place::IDLE);
    }
}
