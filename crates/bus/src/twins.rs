//! The async twins of what waits for the bus.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::core::visits::is_inside;
use crate::core::{Shared, Wait, number};
use crate::error::BusError;
use crate::quietly::quietly;
use crate::sync::{Mutex, thread};

/// A wait for the bus without a thread.
struct Waiting {
    shared: Arc<Shared>,
    /// Among the wakers.
    number: u64,
    epoch: u64,
    _wait: Wait,
}

impl Waiting {
    fn begin(shared: Arc<Shared>) -> Result<Self, BusError> {
        let wait = Wait::begin(shared.number)?;
        shared.begin_waiting();
        Ok(Self {
            number: number(),
            epoch: shared.next_epoch(),
            shared,
            _wait: wait,
        })
    }

    fn poll(&self, waker: &Waker) -> Poll<()> {
        let waker = waker.clone();
        let old = {
            let mut wakers = self.shared.wakers.lock();
            let old = wakers.iter().position(|(number, _)| *number == self.number);
            let old = old.map(|old| wakers.swap_remove(old));
            wakers.push((self.number, waker));
            old
        };
        quietly(|| drop(old));
        // After the waker is there: whatever ends later wakes it.
        match self.shared.is_over_until(self.epoch) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.end_waiting();
        let own = {
            let mut wakers = self.shared.wakers.lock();
            let own = wakers.iter().position(|(number, _)| *number == self.number);
            own.map(|own| wakers.swap_remove(own))
        };
        quietly(|| drop(own));
    }
}

pub(crate) fn wait(
    shared: &Arc<Shared>,
) -> impl Future<Output = Result<(), BusError>> + Send + use<> {
    let shared = Arc::clone(shared);
    async move {
        let waiting = Waiting::begin(shared)?;
        poll_fn(|cx| waiting.poll(cx.waker())).await;
        Ok(())
    }
}

/// What the thread leaves for the future.
struct Answer<T> {
    /// The result of the thread's closure, or its panic.
    result: Option<Result<T, Box<dyn Any + Send>>>,
    waker: Option<Waker>,
}

/// Runs what blocks on a thread of its own, or here if there is no thread left. It goes on if the
/// future is dropped. If it panics, the future does.
pub(crate) async fn aside<T, F>(name: &str, f: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (result, waker) = (None, None);
    let answer = Arc::new(Mutex::new(Answer { result, waker }));
    let f = Arc::new(Mutex::new(Some(f)));
    let take = |f: &Mutex<Option<F>>| f.lock().take().expect("it is taken once");
    let own = (Arc::clone(&answer), Arc::clone(&f));
    let thread = thread::Builder::new().name(name.into());
    let started = thread.spawn(move || {
        let (answer, f) = own;
        let result = catch_unwind(AssertUnwindSafe(take(&f)));
        let waker = {
            let mut answer = answer.lock();
            answer.result = Some(result);
            answer.waker.take()
        };
        if let Some(waker) = waker {
            quietly(|| waker.wake());
        }
    });
    if started.is_err() {
        return take(&f)();
    }
    poll_fn(|cx| {
        let waker = cx.waker().clone();
        let mut answer = answer.lock();
        if let Some(result) = answer.result.take() {
            drop(answer);
            return Poll::Ready(result.unwrap_or_else(|panic| resume_unwind(panic)));
        }
        let old = answer.waker.replace(waker);
        drop(answer);
        quietly(|| drop(old));
        Poll::Pending
    })
    .await
}

pub(crate) fn unregister_all(
    shared: &Arc<Shared>,
    name: String,
) -> impl Future<Output = usize> + Send + use<> {
    let shared = Arc::clone(shared);
    async move {
        // A thread of its own would wait for the listener that polls this.
        if is_inside() {
            return shared.unregister_all(&name);
        }
        aside("fanfeed-bus-unregister", move || {
            shared.unregister_all(&name)
        })
        .await
    }
}

/// Closes on a thread of its own, since that runs destructors of users and waits for the logger.
/// `deadline` gives the time at which to give up, when the future is first polled.
pub(crate) fn close<F: FnOnce() -> Option<Instant> + Send>(
    shared: &Arc<Shared>,
    deadline: F,
) -> impl Future<Output = Result<(), BusError>> + Send + use<F> {
    let shared = Arc::clone(shared);
    async move {
        let deadline = deadline();
        shared.begin_draining();
        // Of the listener that polls this. The thread that closes is in none.
        let _wait = Wait::begin(shared.number)?;
        aside("fanfeed-bus-close", move || shared.close(deadline)).await
    }
}

#[cfg(all(test, not(fanfeed_shuttle)))]
mod tests {
    use crate::quietly::catch;

    #[test]
    fn a_panic_beside_a_future_is_one_of_the_future() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.unwrap();
        let f = || -> u32 { panic!("it cannot") };
        let panicked = catch(|| runtime.block_on(super::aside("aside", f)));
        assert_eq!(panicked.unwrap_err().as_ref(), "it cannot");
    }
}
