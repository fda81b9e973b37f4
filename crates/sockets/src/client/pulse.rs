//! Signs of life of the server.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::{Instant, sleep_until};

use super::dial::Progress;
use super::event::Ended;
use super::settings::Settings;

/// When something last came from the server.
pub(super) struct Pulse {
    began: Instant,
    /// When the last whole frame came, in milliseconds since `began`.
    last: AtomicU64,
    /// When bytes came, of whole frames or not.
    progress: Progress,
    has_beaten: AtomicBool,
    /// Nothing is being read.
    paused: AtomicBool,
}

/// ORDERING: the futures of one task alone use it, so relaxed accesses are enough.
impl Pulse {
    pub(super) fn new(progress: Progress) -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            progress,
            has_beaten: AtomicBool::new(false),
            paused: AtomicBool::new(false),
        }
    }

    pub(super) fn beat(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
        self.has_beaten.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_beaten(&self) -> bool {
        self.has_beaten.load(Ordering::Relaxed)
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        if !paused {
            self.beat();
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Ends when the server has been silent for too long, or takes too long for a message.
    pub(super) async fn watch(&self, settings: &Settings) -> Ended {
        let limit = settings.silence;
        let mut last = self.last();
        loop {
            let until = last + limit;
            sleep_until(until).await;
            if until.elapsed() > limit / 8 || self.is_paused() {
                // This program was held up, or reads nothing: that says nothing about the server.
                last = Instant::now();
                continue;
            }
            // What has come in the meantime is read first.
            tokio::task::yield_now().await;
            let heard = self.last();
            if heard <= last {
                return Ended::Silent(limit);
            }
            if self.last_frame().elapsed() > limit + settings.message_timeout {
                return Ended::Unfinished(settings.message_timeout);
            }
            last = heard;
        }
    }

    fn last_frame(&self) -> Instant {
        self.began + std::time::Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn last(&self) -> Instant {
        self.last_frame().max(self.progress.last_read())
    }
}
