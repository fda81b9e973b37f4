//! Floor 0: the only module that names the primitives of threads and memory.
//!
//! All lock-free code is written once, over this module, and the checkers run that same code. Under
//! `--cfg fanfeed_loom` the names below are loom's, under `--cfg fanfeed_shuttle` shuttle's, and
//! otherwise those of `std` and `parking_lot`. loom goes through all executions of something small,
//! with everything that weak orderings allow. Shuttle goes through some thousands of executions of
//! something larger, and treats all orderings as `SeqCst`.
//!
//! `std::sync::Arc` is the exception that other floors may name themselves: a [`std::task::Waker`]
//! can only be made from it, and no protocol here relies on the ordering of its counters.

#[cfg(not(any(fanfeed_loom, fanfeed_shuttle)))]
mod asymmetric;
#[cfg(not(any(fanfeed_loom, fanfeed_shuttle)))]
mod real;
#[cfg(not(any(fanfeed_loom, fanfeed_shuttle)))]
pub(crate) use real::*;

#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
mod model;
#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
pub(crate) use model::*;
// For the carriers of models, whose accesses are checked as well.
#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
pub use model::UnsafeCell;

#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
pub mod mutants;

/// Whether this is a model. In a model, time does not pass, a second look without a step of the
/// model finds nothing new, and sizes are as small as possible.
pub(crate) const MODELLED: bool = cfg!(any(fanfeed_loom, fanfeed_shuttle));

/// True while a model runs the named mutant of the code; always false elsewhere.
///
/// A mutant is a protocol with one fence, or one step, left out. Its model must fail, and a test in
/// `loom-tests/` or `shuttle-tests/` asserts that it does, because a model that cannot fail proves
/// nothing.
macro_rules! mutant {
    ($name:literal) => {{
        #[cfg(any(fanfeed_loom, fanfeed_shuttle))]
        let active = $crate::sync::mutants::is($name);
        #[cfg(not(any(fanfeed_loom, fanfeed_shuttle)))]
        let active = false;
        active
    }};
}
pub(crate) use mutant;

/// The ordering, or `Relaxed` while a model runs the named mutant. loom can tell the two apart.
macro_rules! order {
    ($order:ident, $mutant:literal) => {
        if $crate::sync::mutant!($mutant) {
            $crate::sync::Ordering::Relaxed
        } else {
            $crate::sync::Ordering::$order
        }
    };
}
pub(crate) use order;

/// The fence between a store that another thread looks for and a load of the other thread's store.
///
/// Every such fence of the crate has a name, so that a model can leave it out (see [`mutant!`]).
///
/// It is for the slow half of a protocol. The fast halves have none: there, the store and the load
/// are both `SeqCst`, as are the store and the load of the other side, and the single order of all
/// `SeqCst` operations has the effect of the fence. On x86 that makes the store an `xchg` and the
/// load a plain one; a store and a fence would cost half as much again.
macro_rules! store_load_fence {
    ($name:literal) => {
        if !$crate::sync::mutant!($name) {
            $crate::sync::fence($crate::sync::Ordering::SeqCst);
        }
    };
}
pub(crate) use store_load_fence;

/// Stands between a `SeqCst` store and a `SeqCst` load. It is nothing, except in a loom model.
///
/// loom treats `SeqCst` accesses as `AcqRel`, which would not order the two, but it supports
/// `SeqCst` fences. So where the code relies on the single order of `SeqCst` accesses, a model gets
/// a fence, which has the effect of that order there. Wherever this is used, all four accesses of
/// the protocol are `SeqCst`; the comment at the site names them.
///
/// A fence orders more than those four: every access before it and every access after it. So a
/// model could hold although the code relies on the order of a weaker access across such a site.
/// Therefore the comment at each site also names the weaker accesses that follow, and says why the
/// protocol needs no order of them.
macro_rules! seq_cst_order {
    ($name:literal) => {
        #[cfg(fanfeed_loom)]
        $crate::sync::store_load_fence!($name);
    };
}
pub(crate) use seq_cst_order;

/// The fence of the frequent side of a pair whose other half is a [`heavy_fence!`]. If possible, it
/// only orders the compiler. A model treats both as full fences.
macro_rules! light_fence {
    ($name:literal) => {
        if !$crate::sync::mutant!($name) {
            $crate::sync::light_fence_between();
        }
    };
}
pub(crate) use light_fence;

/// The fence of the rare side of a pair whose other half is a [`light_fence!`]. It takes
/// microseconds.
macro_rules! heavy_fence {
    ($name:literal) => {
        if !$crate::sync::mutant!($name) {
            $crate::sync::heavy_fence_between();
        }
    };
}
pub(crate) use heavy_fence;
