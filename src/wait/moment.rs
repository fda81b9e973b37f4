//! The time of one step that concerns several subscribers.

use std::cell::Cell;
use std::time::Instant;

/// The time, read once, when it is first needed. To read the clock for each of a thousand
/// subscribers would take as long as to serve them.
#[derive(Debug, Default)]
pub(crate) struct Moment(Cell<Option<Instant>>);

impl Moment {
    /// The time of the first call.
    pub(crate) fn get(&self) -> Instant {
        let now = self.0.get().unwrap_or_else(Instant::now);
        self.0.set(Some(now));
        now
    }
}
