//! Panics of user code. They are caught, kept, resumed and dropped only here.

use std::any::Any;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;

/// The payload of a panic that was caught.
///
/// Dropping this drops the payload, and never panics, although a payload may panic when it is
/// dropped.
pub(crate) struct Caught(Option<Box<dyn Any + Send>>);

// SAFETY: only a text of the payload can be reached through a shared reference, and a text is
// `Sync`.
unsafe impl Sync for Caught {}

impl Caught {
    /// The panic message, if it is a text.
    pub(crate) fn message(&self) -> &str {
        let payload = self.0.as_deref();
        payload
            .and_then(|payload| {
                let literal = payload.downcast_ref::<&'static str>().copied();
                literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            })
            .unwrap_or("(a panic without a message)")
    }

    /// Resumes the panic.
    pub(crate) fn resume(mut self) -> ! {
        let payload = self.0.take();
        resume_unwind(payload.expect("only this takes it"))
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        let Some(payload) = self.0.take() else { return };
        // The payload of that second panic may panic too, and so on. So it is leaked.
        if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            mem::forget(worse);
        }
    }
}

impl fmt::Debug for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caught").field(&self.message()).finish()
    }
}

/// Runs user code, and catches its panic.
#[inline]
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Caught> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| Caught(Some(payload)))
}

/// Runs user code. A panic of it goes no further.
///
/// For code that runs on behalf of another party: a waker on the thread that wakes, a drop on a
/// thread that serves many subscribers.
pub(crate) fn quietly(f: impl FnOnce()) {
    if crate::sync::MODELLED {
        // A failing model reports the failure by a panic.
        return f();
    }
    drop(catch(f));
}

/// Wakes the waker. A panicking waker does not affect the wakers after it.
pub(crate) fn wake(waker: Waker) {
    quietly(|| waker.wake());
}

#[cfg(test)]
mod tests {
    use super::{catch, quietly};
    use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};

    struct Bomb(u8);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Bomb(self.0 - 1));
            }
        }
    }

    #[test]
    fn not_even_the_payload_gets_through() {
        for depth in 0..3 {
            quietly(|| panic_any(Bomb(depth)));
        }
    }

    #[test]
    fn a_panic_goes_on_with_its_payload() {
        let caught = catch(|| panic_any(7)).expect_err("it panicked");
        assert_eq!(caught.message(), "(a panic without a message)");
        let again = catch_unwind(AssertUnwindSafe(|| caught.resume()));
        assert_eq!(again.expect_err("it goes on").downcast_ref(), Some(&7));
        for (text, caught) in [
            ("literal", catch(|| panic!("literal"))),
            ("made 1", catch(|| panic!("made {}", 1))),
        ] {
            assert_eq!(caught.expect_err("it panicked").message(), text);
        }
    }
}
