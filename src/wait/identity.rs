//! What tells one waker from another where only wakers are known.

use std::task::Waker;

/// Distinguishes one waker from another, for as long as both live.
pub(crate) type Identity = (usize, usize);

pub(crate) fn identity(waker: &Waker) -> Identity {
    (
        waker.data().addr(),
        std::ptr::from_ref(waker.vtable()).addr(),
    )
}
