//! How a reader of a ring waits for values.

use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

use crate::sync::spin_loop;

/// How a reader of a ring waits for values. Chosen per reader; senders pay nothing for it unless a reader is about to park.
///
/// What a cache line costs that moves from core to core, 25 to 70 ns, is the price of looking: a reader that looks all the
/// time gets its values one by one, and slows the sender down. One that lets a few gather reads many for that price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Waiting {
    /// Looks all the time, for as long as it takes: the least latency, and a core of its own burned. On a machine with
    /// fewer cores than spinning threads it holds up those it waits for.
    Spin,
    /// Throughput: in a running stream it lets values gather for 0.4 µs (by the clock, since it last got some) before it
    /// looks again. When that finds nothing the stream is idle: it then looks all the time for some microseconds, and
    /// answers at once, then parks like `Park`.
    Batch,
    /// Backs off for some microseconds, looking less and less often, then parks: no CPU is burned while nothing comes.
    #[default]
    Park,
}

/// How long a reader that batches lets values gather.
const GATHER: Duration = Duration::from_nanos(400);
/// How often a reader that batches looks at an idle stream before it backs off.
const LOOKS: u32 = 200;

/// A reader's waiting without parking.
#[derive(Debug)]
pub(crate) struct Awake {
    waiting: Waiting,
    /// When a reader that batches got values last, in a stream that is running.
    running_since: Option<Instant>,
}

impl Awake {
    pub(crate) fn new(waiting: Waiting) -> Self {
        Self {
            waiting,
            running_since: None,
        }
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Waits without parking until `is_ready`. False once it is time to park, or once the deadline has passed.
    pub(crate) fn wait(
        &mut self,
        deadline: Option<Instant>,
        mut is_ready: impl FnMut() -> bool,
    ) -> bool {
        if cfg!(fanfeed_loom) {
            // Time does not pass in a model, and looking again without parking shows it nothing new.
            return is_ready();
        }
        match self.waiting {
            Waiting::Spin => spin(deadline, is_ready),
            Waiting::Park => back_off(is_ready),
            Waiting::Batch => {
                if let Some(since) = self.running_since {
                    while since.elapsed() < GATHER {
                        spin_loop();
                    }
                }
                let is_there = (0..LOOKS).any(|_| {
                    let is_there = is_ready();
                    if !is_there {
                        spin_loop();
                    }
                    is_there
                }) || back_off(is_ready);
                self.running_since = is_there.then(Instant::now);
                is_there
            }
        }
    }
}

/// Looks all the time.
fn spin(deadline: Option<Instant>, mut is_ready: impl FnMut() -> bool) -> bool {
    let mut looks = 0_u32;
    loop {
        if is_ready() {
            return true;
        }
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(64) && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        spin_loop();
    }
}

/// Looks less and less often, for some microseconds.
fn back_off(mut is_ready: impl FnMut() -> bool) -> bool {
    let backoff = Backoff::new();
    loop {
        if is_ready() {
            return true;
        }
        if backoff.is_completed() {
            return false;
        }
        backoff.snooze();
    }
}
