//! Floor 0: the one place that names the primitives of threads and memory.
//!
//! Everything lock-free is written once, over this module, and that same code is what is checked:
//! under `--cfg fanfeed_loom` the names below are loom's, under `--cfg fanfeed_shuttle` shuttle's,
//! elsewhere they are those of `std` and `parking_lot`. loom goes through all executions of
//! something small, with all that weak orderings allow; shuttle through some thousands of something
//! larger, with all orderings taken for `SeqCst`.
//!
//! `std::sync::Arc` is the exception that other floors may name themselves: a [`std::task::Waker`]
//! can only be made from it, and no protocol here leans on the ordering of its counters.

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
// For the carriers of models, which are to be watched as well.
#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
pub use model::UnsafeCell;

#[cfg(any(fanfeed_loom, fanfeed_shuttle))]
pub mod mutants;

/// Whether this is a model, in which time does not pass, looking again without a step of the
/// model's shows nothing new, and what is made in some number is made in as few as make a
/// difference.
pub(crate) const MODELLED: bool = cfg!(any(fanfeed_loom, fanfeed_shuttle));

/// True while a model runs the named mutant of the code; always false elsewhere.
///
/// A mutant is a protocol with one fence, or one step, left out. Its model has to fail, and a test
/// in `loom-tests/` or `shuttle-tests/` holds that it does: a model that cannot fail proves
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

/// The ordering, or `Relaxed` while a model runs the named mutant, which loom can tell from it.
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

/// The fence between a store that others look for and a load that looks for theirs.
///
/// Every such fence of the crate has a name, so that a model can leave it out (see [`mutant!`]).
///
/// For the slow half of a protocol. The fast halves have none: there the store and the load are
/// both `SeqCst`, as are the store and the load of the other side, and the single order of all
/// `SeqCst` operations does what the fence would do. On x86 that makes the store an `xchg` and the
/// load a plain one, where a store and a fence cost half as much again.
macro_rules! store_load_fence {
    ($name:literal) => {
        if !$crate::sync::mutant!($name) {
            $crate::sync::fence($crate::sync::Ordering::SeqCst);
        }
    };
}
pub(crate) use store_load_fence;

/// Stands between a `SeqCst` store and a `SeqCst` load. Nothing, except in a model of loom's.
///
/// loom takes `SeqCst` accesses for `AcqRel` ones, which would not order the two; it knows `SeqCst`
/// fences. So where the code leans on the single order of `SeqCst` accesses, a model gets a fence,
/// which is what that order amounts to there. Wherever this is used, all four accesses of the
/// protocol are `SeqCst`; the comment at the site names them.
///
/// A fence orders more than those four: every access before it and every access after it. A model
/// could therefore hold although the code relies on the order of a weaker access across such a
/// site. So the comment at each site also names the weaker accesses that follow, and says why the
/// protocol needs no order of them.
macro_rules! seq_cst_order {
    ($name:literal) => {
        #[cfg(fanfeed_loom)]
        $crate::sync::store_load_fence!($name);
    };
}
pub(crate) use seq_cst_order;

/// The frequent side's fence of a pair whose other half is a [`heavy_fence!`]: nothing but an order
/// for the compiler, where that can be had. A model takes it, and the heavy one, for a full fence.
macro_rules! light_fence {
    ($name:literal) => {
        if !$crate::sync::mutant!($name) {
            $crate::sync::light_fence_between();
        }
    };
}
pub(crate) use light_fence;

/// The rare side's fence of a pair whose other half is a [`light_fence!`]: microseconds.
macro_rules! heavy_fence {
    ($name:literal) => {
        if !$crate::sync::mutant!($name) {
            $crate::sync::heavy_fence_between();
        }
    };
}
pub(crate) use heavy_fence;
