//! Events and waits that several modules use.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fanfeed_bus::{Event, Map};

/// What is far more than a test takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Placed(pub(crate) u64);

impl Event for Placed {
    const NAME: &'static str = "order.placed";

    fn payload(&self) -> Map {
        Map::from([("order".to_owned(), self.0.into())])
    }
}

pub(crate) struct Paid(pub(crate) u64);

impl Event for Paid {
    const NAME: &'static str = "order.paid";
}

/// Another type under the name of [`Placed`].
pub(crate) struct OtherPlaced;

impl Event for OtherPlaced {
    const NAME: &'static str = "order.placed";
}

pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not become true");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs something that must not hang.
#[track_caller]
pub(crate) fn soon<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || sender.send(f()).unwrap());
    match receiver.recv_timeout(LONG) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it sent nothing"))
        }
    }
}
