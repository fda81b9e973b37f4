//! Floor 0: the one place that names the primitives of threads and memory.
//!
//! Everything lock-free is written once, over this module, and that same code is what loom runs: under
//! `--cfg fanfeed_loom` the names below are loom's, elsewhere they are those of `std` and `parking_lot`.
//! `std::sync::Arc` is the exception that other floors may name themselves: a [`std::task::Waker`] can only be made from
//! it, and no protocol here leans on the ordering of its counters.

#[cfg(not(fanfeed_loom))]
mod real;
#[cfg(not(fanfeed_loom))]
pub(crate) use real::*;

#[cfg(fanfeed_loom)]
mod model;
#[cfg(fanfeed_loom)]
pub(crate) use model::*;

#[cfg(fanfeed_loom)]
pub mod mutant;

/// True while a loom model runs the named mutant of the code; always false elsewhere.
///
/// A mutant is a protocol with one fence, or one step, left out. Its model has to fail, and a test in `loom-tests/`
/// holds that it does: a model that cannot fail proves nothing.
macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(fanfeed_loom)]
        let active = $crate::sync::mutant::is($name);
        #[cfg(not(fanfeed_loom))]
        let active = false;
        active
    }};
}
pub(crate) use mutant;

/// The fence between a store that others look for and a load that looks for theirs.
///
/// Every such fence of the crate has a name, so that a model can leave it out (see [`mutant!`]).
macro_rules! store_load_fence {
    ($name:literal) => {
        if !$crate::sync::mutant!($name) {
            $crate::sync::fence($crate::sync::Ordering::SeqCst);
        }
    };
}
pub(crate) use store_load_fence;
