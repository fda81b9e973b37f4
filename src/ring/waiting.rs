//! How a reader of a ring waits for values.

use std::time::Instant;

use crossbeam_utils::Backoff;

use crate::sync::{OnceLock, spin_loop};

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

/// How many nanoseconds a reader that batches lets values gather.
const GATHER: u64 = 400;
/// How often a reader that batches looks at an idle stream before it backs off.
const LOOKS: u32 = 200;

/// A reader's waiting without parking.
#[derive(Debug)]
pub(crate) struct Awake {
    waiting: Waiting,
    /// When a reader that batches got values last, in a stream that is running: in nanoseconds of [`now`], or 0.
    running_since: u64,
}

impl Awake {
    pub(crate) fn new(waiting: Waiting) -> Self {
        Self {
            waiting,
            running_since: 0,
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
                while self.running_since != 0 && now() - self.running_since < GATHER {
                    spin_loop();
                }
                let is_there = (0..LOOKS).any(|_| {
                    let is_there = is_ready();
                    if !is_there {
                        spin_loop();
                    }
                    is_there
                }) || back_off(is_ready);
                self.running_since = if is_there { now() } else { 0 };
                is_there
            }
        }
    }
}

/// Nanoseconds since some moment in this process: half the size of an instant, of which there may be thousands.
fn now() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let since = BEGUN.get_or_init(Instant::now).elapsed();
    // 0 is for none. 64 bits last for five centuries.
    since.as_nanos() as u64 + 1
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
