//! Waits with a limit, outside of runtimes too.

use std::future::Future;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

/// Waits for `work`, up to `time`. `None` at the limit.
#[cfg(feature = "server")]
pub(crate) async fn at_most<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => tokio::time::timeout(time, work).await.ok(),
        Err(_) => at_most_on_a_thread(time, work).await,
    }
}

/// Waits for `work`, up to `time`, in and outside of runtimes. A client may be closed after its
/// runtime has been shut down, where the timers of tokio panic. `None` at the limit, or if no
/// thread can be started for the clock.
pub(crate) async fn at_most_on_a_thread<T>(
    time: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut clock = Clock::start(time).ok()?;
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.elapsed() => None,
    }
}

/// Measures a time on a thread of its own.
struct Clock {
    elapsed: watch::Receiver<()>,
    /// Ends the thread when this is dropped.
    _running: mpsc::Sender<()>,
}

impl Clock {
    fn start(time: Duration) -> std::io::Result<Self> {
        let (running, stopped) = mpsc::channel();
        let (ticking, elapsed) = watch::channel(());
        thread::Builder::new()
            .name("fanfeed-sockets-clock".into())
            .spawn(move || {
                let _ticking = ticking;
                let _ = stopped.recv_timeout(time);
            })?;
        Ok(Self {
            elapsed,
            _running: running,
        })
    }

    async fn elapsed(&mut self) {
        while self.elapsed.changed().await.is_ok() {}
    }
}
