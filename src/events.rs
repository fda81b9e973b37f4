//! Floor 1: the events that the crate reports with feature `tracing`.

use std::cell::Cell;

use crate::sync::thread_local;
use crate::wait::quietly;

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static REPORTING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `report`, unless this thread is reporting an event already.
///
/// A `tracing` subscriber is user code, and may use a feed. An event of the crate inside another
/// one would enter the subscriber again, without end. A panic of the subscriber goes no further.
pub(crate) fn report(report: impl FnOnce()) {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            REPORTING.with(|reporting| reporting.set(false));
        }
    }
    if REPORTING.with(|reporting| reporting.replace(true)) {
        return;
    }
    let _done = Done;
    quietly(report);
}

/// Reports an event of the crate: takes the level, and the arguments of the `tracing` macro of that
/// name.
macro_rules! event {
    ($level:ident, $($event:tt)+) => {
        $crate::events::report(|| tracing::$level!($($event)+))
    };
}
pub(crate) use event;
