//! Checks that nothing is left once the worlds have ended: no thread, no descriptor and no memory.

use std::thread;
use std::time::{Duration, Instant};

use crate::memory::{self, Live};
use crate::process;
use crate::violation;

/// How long what serves all feeds may stay on: the crate's own threads end after ten idle seconds.
const PATIENCE: Duration = Duration::from_secs(40);
/// What a process keeps once and for all after its first threads: records of lanes, the library's
/// own statics.
const KEPT: i64 = 32 << 10;

/// What the process held at some moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) live: Live,
    pub(crate) threads: Option<usize>,
    pub(crate) descriptors: Option<usize>,
}

impl Held {
    pub(crate) fn now() -> Self {
        Self {
            threads: process::threads(),
            descriptors: process::descriptors(),
            live: memory::live(),
        }
    }

    fn is_as(&self, before: &Self) -> bool {
        self.threads == before.threads
            && self.descriptors == before.descriptors
            && self.live.bytes - before.live.bytes <= KEPT
    }
}

/// Waits until the process holds no more than before.
pub(crate) fn settle(before: &Held) -> Held {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = Held::now();
        if now.is_as(before) {
            return now;
        }
        if Instant::now() >= deadline {
            violation::end(&format!(
                "after all worlds have ended, within {PATIENCE:?}\n  expected: {before:?}, and {KEPT} bytes at most\n  \
                 seen:     {now:?}"
            ));
        }
        thread::sleep(Duration::from_millis(50));
    }
}
