//! Telling wakers apart.

use std::task::Waker;

/// Distinguishes one waker from another, while both are alive.
pub(crate) type Identity = (usize, usize);

pub(crate) fn identity(waker: &Waker) -> Identity {
    (
        waker.data().addr(),
        std::ptr::from_ref(waker.vtable()).addr(),
    )
}
