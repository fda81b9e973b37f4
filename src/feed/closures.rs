//! Calling the closures of a chunk.

use std::sync::Arc;

use super::chunk::Chunk;
use super::core::Core;
use super::entry::Entry;
use super::record::{Place, Section};
use crate::sync::mutant;

/// Passes the live closures of a chunk to `call`, one by one, until it returns false. Each has its
/// own place, so that a slow closure delays only its own unsubscribe. The caller has begun a visit
/// to the chunk; in `call`, the visit is to the closure's seat, which was live in it.
#[cold]
pub(super) fn each_closure<'a, T>(
    core: &'a Core<T>,
    mut chunk: &'a Chunk<T>,
    section: &Section<'_>,
    mut call: impl FnMut(&Arc<Entry<T>>) -> bool,
) {
    let (key, place) = (chunk.key(), chunk.place());
    let mut left = u64::MAX;
    loop {
        if !mutant!("closures_are_looked_at_once") || left == u64::MAX {
            left &= chunk.live().load();
        }
        if left == 0 {
            return;
        }
        let index = left.trailing_zeros() as usize;
        left &= left - 1;
        if !mutant!("closure_is_called_in_its_chunk") {
            section.narrow(Place::seat(key, index));
        }
        // SAFETY: the visit to this seat began before `live` was read, and it was live.
        if !call(unsafe { chunk.seat(index) }.entry()) || left == 0 {
            return;
        }
        section.begin(place);
        // SAFETY: the visit to this chunk has just begun.
        let Some(again) = (unsafe { core.directory().chunk_in_visit(key) }) else {
            return;
        };
        chunk = again;
    }
}
