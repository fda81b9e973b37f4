//! Which reader holds the senders of a ring that wait for room, how often, and for how long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sync::{MODELLED, Mutex};
#[cfg(feature = "tracing")]
use crate::wait::{Alerts, Report, Told};
use crate::wait::{Blocked, EndedWait, Key, Waits};

/// The readers that have held senders, and the reader that holds them now.
///
/// One reader at a time is in the way: the one that is furthest behind. The time that senders wait
/// is counted for the reader that was last found to be in the way, by any of them. Only senders
/// that wait take the lock, and readers that join or are asked for their figures.
///
/// In a model it does nothing: a model reads no clock, and no protocol depends on these figures.
#[derive(Debug)]
pub(crate) struct Hold(Mutex<State>);

#[derive(Debug)]
struct State {
    waits: Waits,
    /// The seat of the reader that holds the senders, and since when it does.
    holder: Option<(usize, Instant)>,
    /// The figures of the readers that have held senders, by their seats.
    readers: BTreeMap<usize, Tally>,
    #[cfg(feature = "tracing")]
    alerts: Alerts,
}

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    total: Duration,
}

/// The wait of one sender. It must be [ended](Hold::end).
#[derive(Debug, Default)]
pub(crate) struct HeldSend(Option<Met>);

#[derive(Debug)]
struct Met {
    wait: Key,
    /// The seat of the reader that this sender found in its way last.
    seat: usize,
    #[cfg(feature = "tracing")]
    told: Told,
}

impl Hold {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            waits: Waits::new(),
            holder: None,
            readers: BTreeMap::new(),
            #[cfg(feature = "tracing")]
            alerts: Alerts::new(),
        }))
    }

    /// Called when a sender has found the reader in this seat in its way, and waits.
    pub(crate) fn meet(&self, send: &mut HeldSend, seat: usize) {
        if MODELLED {
            return;
        }
        let now = Instant::now();
        let mut state = self.0.lock();
        state.is_held_by(seat, now);
        let is_counted = match &mut send.0 {
            Some(met) => std::mem::replace(&mut met.seat, seat) == seat,
            none => {
                let wait = state.waits.begin(now);
                *none = Some(Met {
                    wait,
                    seat,
                    #[cfg(feature = "tracing")]
                    told: Told::new(now),
                });
                false
            }
        };
        if !is_counted {
            state.readers.entry(seat).or_default().count += 1;
        }
    }

    /// Called when a sender no longer waits.
    pub(crate) fn end(&self, send: &mut HeldSend) -> EndedWait {
        let Some(met) = send.0.take() else {
            return EndedWait::default();
        };
        let now = Instant::now();
        let mut state = self.0.lock();
        state.count_time(now);
        state.waits.end(met.wait);
        if state.waits.longest_since().is_none() {
            state.holder = None;
        }
        EndedWait {
            #[cfg(feature = "tracing")]
            report: state.alerts.end(met.told, now),
        }
    }

    /// Looks at a sender that waits. Returns what to report of it now.
    #[cfg(feature = "tracing")]
    pub(crate) fn look(&self, send: &mut HeldSend) -> Option<Report> {
        let told = &mut send.0.as_mut()?.told;
        let now = Instant::now();
        let is_due = told.may_be_due(now);
        is_due.then(|| self.0.lock().alerts.look(told, now))?
    }

    /// Sets after which time a wait is reported.
    #[cfg(feature = "tracing")]
    pub(crate) fn set_threshold(&self, threshold: Duration) {
        self.0.lock().alerts.set_threshold(threshold);
    }

    /// Called when the reader in this seat was found in the way of the senders in line.
    pub(crate) fn is_held_by(&self, seat: usize) {
        if MODELLED {
            return;
        }
        let now = Instant::now();
        let mut state = self.0.lock();
        if state.waits.longest_since().is_some() {
            state.is_held_by(seat, now);
        }
    }

    /// Forgets the figures of the reader that had this seat before.
    pub(crate) fn forget(&self, seat: usize) {
        if MODELLED {
            return;
        }
        let now = Instant::now();
        let mut state = self.0.lock();
        state.count_time(now);
        state.holder = state.holder.filter(|(holder, _)| *holder != seat);
        state.readers.remove(&seat);
    }

    /// The figures of the reader in this seat.
    pub(crate) fn figures(&self, seat: usize) -> Blocked {
        if MODELLED {
            return Blocked::default();
        }
        let mut state = self.0.lock();
        // Under the lock, so that the figures of successive calls never decrease.
        let now = Instant::now();
        state.count_time(now);
        let held_since = state.holder.filter(|(holder, _)| *holder == seat);
        let waits_since = state.waits.longest_since();
        let since = held_since
            .zip(waits_since)
            .map(|((_, held), waits)| held.max(waits));
        let (count, total) = state
            .readers
            .get(&seat)
            .map_or((0, Duration::ZERO), |tally| (tally.count, tally.total));
        Blocked {
            count,
            total,
            now: since.map(|since| now.saturating_duration_since(since)),
        }
    }
}

#[cfg(feature = "tracing")]
impl HeldSend {
    /// The seat of the reader that the sender found in its way last, if it waits.
    pub(crate) fn seat(&self) -> Option<usize> {
        Some(self.0.as_ref()?.seat)
    }

    /// When to look at the sender again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.0.as_ref()?.told.due()
    }
}

impl State {
    /// Counts the time up to now for the reader that holds the senders.
    fn count_time(&mut self, now: Instant) {
        let waited = self.waits.count(now);
        if let Some((holder, _)) = self.holder {
            let tally = self.readers.entry(holder).or_default();
            tally.total = tally.total.saturating_add(waited);
        }
    }

    fn is_held_by(&mut self, seat: usize, now: Instant) {
        self.count_time(now);
        if self.holder.is_none_or(|(holder, _)| holder != seat) {
            self.holder = Some((seat, now));
        }
    }
}
