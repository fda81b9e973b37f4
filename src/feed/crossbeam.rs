//! The crossbeam senders of a chunk, if there are many.

use std::sync::Arc;

use super::alone::Pass;
use super::chunk::{Chunk, Seats};
use super::core::Core;
use super::delivery::Delivery;
use super::refusal::Refusal;
use crate::sync::prefetch;

impl<T: Clone + Send + 'static> Delivery<T> {
    /// Serves `seats`, which have crossbeam senders. `rest` is served after them, and `more` says
    /// whether other chunks have subscribers.
    ///
    /// It goes from the last seat to the first. A thread that receives for several subscribers
    /// usually goes through them from the first to the last. In the same direction it would follow
    /// closely behind this thread, and each would wait for the other's cache lines.
    ///
    /// A delivery contains a read-modify-write, which waits until all stores before it have reached
    /// the cache. So there are few stores: what the pass must know after a panic is
    /// [computed](Pass::find_current) from `current`.
    #[inline(never)]
    pub(super) fn serve_crossbeam(
        &mut self,
        core: &Core<T>,
        chunk: &Chunk<T>,
        lane: usize,
        (seats, rest): (u64, u64),
        more: bool,
        pass: &mut Pass<T>,
    ) {
        (pass.backwards, pass.wanted) = (seats, rest);
        let (all, mut left) = (chunk.seats(), seats);
        let pending_before = self.pending().len();
        // Counted here, and added only where `self.delivered` may be read.
        let mut delivered = 0;
        while left != 0 {
            let later = rest != 0 || more || self.has_pending();
            let is_simple = self.original.is_some() && self.spare.is_none();
            let refused = match &self.original {
                Some(original) if is_simple && (later || !left.is_power_of_two()) => {
                    // SAFETY: the visit to this chunk began before `live` was read, and the seats
                    // were live.
                    let (clones, refused) =
                        unsafe { offer_clones(&all, &mut left, original, later, lane, pass) };
                    delivered += clones;
                    refused
                }
                _ => {
                    pass.current = left.ilog2() as usize;
                    left ^= 1 << pass.current;
                    let value = match self.original.take_if(|_| is_simple) {
                        Some(original) => original,
                        None => self.value_for(pass, left != 0, later),
                    };
                    // SAFETY: as above.
                    let (sender, entry) = unsafe { all.seat(pass.current).crossbeam_unchecked() };
                    delivered += 1;
                    entry.offer_crossbeam(sender, value, lane).err()
                }
            };
            if let Some(refusal) = refused {
                delivered -= 1;
                // SAFETY: as above.
                self.not_taken(core, unsafe { all.seat(pass.current) }.entry(), refusal);
                self.delivered += std::mem::take(&mut delivered);
                pass.backwards = left;
            }
        }
        pass.backwards = 0;
        self.delivered += delivered;
        // Pending subscribers are listed in the order of their seats.
        if let Some(refused) = self.pending_mut().get_mut(pending_before..) {
            refused.reverse();
        }
    }
}

/// Offers clones to the seats that are left, from the last to the first, until one does not take
/// its clone. Returns how many clones it offered, and the refusal. All seats get a clone if the
/// original is needed `later`, otherwise all but the first.
///
/// # Safety
///
/// The seats have crossbeam senders, were live, and the visit to their chunk goes on.
#[inline(always)]
unsafe fn offer_clones<T: Clone + Send + 'static>(
    all: &Seats<'_, T>,
    left: &mut u64,
    original: &T,
    later: bool,
    lane: usize,
    pass: &mut Pass<T>,
) -> (usize, Option<Refusal<T>>) {
    let (mut seats, mut offered) = (*left, 0);
    let last = if later {
        0
    } else {
        seats & seats.wrapping_neg()
    };
    let mut index = seats.ilog2() as usize;
    // SAFETY: the caller guarantees this.
    let mut seat = unsafe { all.seat(index) };
    loop {
        (pass.current, pass.cloning) = (index, true);
        let value = original.clone();
        pass.cloning = false;
        // SAFETY: the caller guarantees this.
        let (sender, entry) = unsafe { seat.crossbeam_unchecked() };
        seats ^= 1 << index;
        if seats != 0 {
            index = seats.ilog2() as usize;
            // SAFETY: the caller guarantees this.
            seat = unsafe { all.seat(index) };
            prefetch(Arc::as_ptr(seat.entry()));
        }
        offered += 1;
        let refused = entry.offer_crossbeam(sender, value, lane).err();
        if refused.is_some() || seats == last {
            *left = seats;
            return (offered, refused);
        }
    }
}
