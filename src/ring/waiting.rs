//! How a reader of a ring waits for values.

use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;

use crate::sync::{MODELLED, spin_loop};

/// How a reader of a ring waits for values. Chosen per reader; senders pay nothing for it unless a reader is about to park.
///
/// What a cache line costs that moves from core to core, 25 to 70 ns, is the price of looking: a reader that looks all the
/// time gets its values one by one, and slows the sender down. One that lets a few gather reads many for that price. So in a
/// running stream (one in which the last wait did not end in parking) the others wait for 0.4 µs by the clock before they
/// look again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Waiting {
    /// Looks all the time, for as long as it takes: the least latency, and a core of its own burned. On a machine with
    /// fewer cores than spinning threads it holds up those it waits for.
    Spin,
    /// Throughput and short latency: lets values gather in a running stream; when that has brought nothing the stream is
    /// idle, and it looks all the time for some microseconds, and answers at once. Then it backs off and parks.
    Batch,
    /// Lets values gather in a running stream; when that has brought nothing it backs off for some microseconds, looking
    /// less and less often, then parks: no CPU is burned while nothing comes.
    #[default]
    Park,
}

/// How long values gather in a running stream.
const GATHER: Duration = Duration::from_nanos(400);
/// A reader that has waited so often without parking is lively again.
const LIVELY: u8 = 32;
/// How often a reader that batches looks at an idle stream before it backs off.
const LOOKS: u32 = 200;

/// A reader's waiting without parking.
#[derive(Debug)]
pub(crate) struct Awake {
    waiting: Waiting,
    /// Whether the last wait did not end in parking.
    is_running: bool,
    /// Whether senders look whether this reader is parked.
    is_drowsy: bool,
    /// How often a drowsy reader has waited since it last parked.
    waits: u8,
}

impl Awake {
    pub(crate) fn new(waiting: Waiting) -> Self {
        Self {
            waiting,
            is_running: false,
            is_drowsy: false,
            waits: 0,
        }
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Sets whether senders look whether it is parked, and says whether they did before.
    pub(crate) fn set_drowsy(&mut self, is_drowsy: bool) -> bool {
        self.waits = 0;
        std::mem::replace(&mut self.is_drowsy, is_drowsy)
    }

    /// A wait has ended without parking. Says whether there is to be an end to being drowsy.
    pub(crate) fn count_wait(&mut self) -> bool {
        self.waits = self.waits.saturating_add(1);
        self.is_drowsy && self.waits >= LIVELY
    }

    /// Waits without parking until `is_ready`. False once it is time to park, or once the deadline has passed.
    pub(crate) fn wait(
        &mut self,
        deadline: Option<Instant>,
        mut is_ready: impl FnMut() -> bool,
    ) -> bool {
        if MODELLED {
            // Time does not pass in a model, and looking again without parking shows it nothing new.
            return is_ready();
        }
        if self.waiting == Waiting::Spin {
            return spin(deadline, is_ready);
        }
        if self.is_running {
            gather();
        }
        let looks = if self.waiting == Waiting::Batch {
            LOOKS
        } else {
            0
        };
        self.is_running = look(looks, &mut is_ready) || back_off(is_ready);
        self.is_running
    }
}

/// Lets time pass.
fn gather() {
    let begun = Instant::now();
    while begun.elapsed() < GATHER {
        spin_loop();
    }
}

/// Looks all the time, so often.
fn look(times: u32, mut is_ready: impl FnMut() -> bool) -> bool {
    (0..times).any(|_| {
        let is_there = is_ready();
        if !is_there {
            spin_loop();
        }
        is_there
    })
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
