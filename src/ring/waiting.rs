//! How a reader of a ring waits for values.

use std::time::{Duration, Instant};

use crate::sync::{MODELLED, spin_loop};
use crate::wait::Snooze;

/// How a reader of a ring waits for values. Each reader chooses; senders pay nothing for it unless
/// a reader is about to park.
///
/// Each look at the ring moves a cache line from core to core, which costs 25 to 70 ns. A reader
/// that looks all the time gets its values one by one, and slows the sender down. A reader that
/// lets a few values gather reads many of them for that price. So in a running stream (one in which
/// the last wait did not end in parking), `Batch` and `Park` wait for 0.4 µs by the clock before
/// they look again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum WaitStrategy {
    /// Spins without bound: the shortest latency, at the price of a whole core. On a machine with
    /// fewer cores than spinning threads, it delays the threads that it waits for.
    Spin,
    /// Throughput and short latency. In a running stream, the reader lets values gather. If none
    /// came, the stream is idle: the reader spins for some microseconds, which answers at once,
    /// then backs off and parks.
    Batch,
    /// In a running stream, the reader lets values gather. If none came, it backs off for some
    /// microseconds, looking less and less often, then parks. It uses no CPU while no value comes.
    #[default]
    Park,
}

/// How long values gather in a running stream.
const GATHER: Duration = Duration::from_nanos(400);
/// After this many waits in a row without parking, a reader is lively again.
const LIVELY: u8 = 32;
/// How often a reader that batches looks at an idle stream before it backs off.
const LOOKS: u32 = 200;

/// The part of a reader's wait that does not park.
#[derive(Debug)]
pub(crate) struct Awake {
    waiting: WaitStrategy,
    /// Whether the last wait did not end in parking.
    is_running: bool,
    /// Whether senders must check whether this reader is parked.
    is_drowsy: bool,
    /// How often a drowsy reader has waited since it last parked.
    waits: u8,
}

impl Awake {
    pub(crate) fn new(waiting: WaitStrategy) -> Self {
        Self {
            waiting,
            is_running: false,
            is_drowsy: false,
            waits: 0,
        }
    }

    pub(crate) fn wait_strategy(&self) -> WaitStrategy {
        self.waiting
    }

    /// Sets whether senders must check whether the reader is parked, and returns the old setting.
    pub(crate) fn set_drowsy(&mut self, is_drowsy: bool) -> bool {
        self.waits = 0;
        std::mem::replace(&mut self.is_drowsy, is_drowsy)
    }

    /// Counts a wait that ended without parking. Returns whether the reader should stop being
    /// drowsy.
    pub(crate) fn count_wait(&mut self) -> bool {
        self.waits = self.waits.saturating_add(1);
        self.is_drowsy && self.waits >= LIVELY
    }

    /// Waits without parking until `is_ready`. Returns false when it is time to park, or when the
    /// deadline has passed.
    pub(crate) fn wait(
        &mut self,
        deadline: Option<Instant>,
        mut is_ready: impl FnMut() -> bool,
    ) -> bool {
        if MODELLED {
            // Time does not pass in a model, and another look without parking shows it nothing new.
            return is_ready();
        }
        if self.waiting == WaitStrategy::Spin {
            return spin(deadline, is_ready);
        }
        if self.is_running {
            gather();
        }
        let looks = if self.waiting == WaitStrategy::Batch {
            LOOKS
        } else {
            0
        };
        self.is_running = look(looks, &mut is_ready) || back_off(is_ready);
        self.is_running
    }
}

/// Waits without looking, so that values gather.
fn gather() {
    let begun = Instant::now();
    while begun.elapsed() < GATHER {
        spin_loop();
    }
}

/// Looks up to `times` times without a break.
fn look(times: u32, mut is_ready: impl FnMut() -> bool) -> bool {
    (0..times).any(|_| {
        let is_there = is_ready();
        if !is_there {
            spin_loop();
        }
        is_there
    })
}

/// Looks without a break until the deadline.
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
    let mut snooze = Snooze::default();
    loop {
        if is_ready() {
            return true;
        }
        if snooze.is_completed() || !snooze.snooze() {
            return false;
        }
    }
}
