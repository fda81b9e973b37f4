//! The queries of a feed that a ring is subscribed to.

use std::task::Waker;

use crate::carrier::Room;

use super::claimant::Claimant;
use super::core::Core;
use super::gate::Held;

/// Registers the waker to be woken when there is room.
pub(crate) fn poll_room<T>(claimant: &Claimant<T>, waker: &Waker) -> Room {
    match claimant.look_for_room() {
        Ok(()) => Room::Ready,
        Err(Held::Shortly) => Room::Unknown,
        Err(Held::By(_)) => {
            // The feed tries the value once more after this. That try is the look that must follow.
            claimant.wake_for_room(waker);
            Room::Waking
        }
    }
}

/// How far the slowest blocking reader is behind.
pub(crate) fn depth<T>(core: &Core<T>) -> Option<usize> {
    let track = &core.track;
    let slowest = track.seats.slowest();
    let behind = slowest.map_or(0, |slowest| track.next().saturating_sub(slowest.position));
    usize::try_from(behind).ok()
}
