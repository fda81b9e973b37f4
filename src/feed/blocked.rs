//! How a thread waits for subscribers that have no room.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender, bounded};

use super::core::Core;
use super::delivery::Delivery;
use super::entry::{Gate, Port};
use super::pending::{Listening, Waiter};
use crate::wait::{Again, BOUND, Looks, Moment, Parker, catch};

/// The delays, first and longest, after which carriers are tried again that cannot tell when they
/// have room.
const CARRIER_TIMER: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(1));

/// The delays, first and longest, after which the first waiter in line looks again without a
/// wake-up. See [`queue`](super::queue) for the reason. A carrier that forgets to wake delays a
/// send by at most a second.
const ROOM_TIMER: (Duration, Duration) = (BOUND, Duration::from_secs(1));

/// The most crossbeam channels that a send selects on at the same time. A select takes a lock for
/// each of them every time it waits. If more are full, the send goes through them in turn, those of
/// capacity 0 first, after the delays below.
const SELECTED: usize = 64;
const SELECT_TIMER: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(8));

/// Waits until all subscribers that had no room are served or gone. Returns false if the deadline
/// passes before that.
#[cold]
#[inline(never)]
pub(crate) fn wait<T: Clone + Send + 'static>(
    delivery: &mut Delivery<T>,
    core: &Core<T>,
    deadline: Option<Instant>,
) -> bool {
    let moment = Moment::default();
    for pending in delivery.pending_mut() {
        pending.blocks(Waiter::Thread, &moment);
    }
    if nobody_is_in_line(delivery)
        && Looks::until_room(
            &mut *delivery,
            |delivery| looks_again(delivery, core, deadline),
            progress,
        ) == Some(true)
    {
        return true;
    }
    let parker = Parker::current();
    let mut bell = None;
    let mut timer = Timer::new();
    let mut turn = 0;
    let mut waker = parker.waker().clone();
    loop {
        let listening = delivery.listen(core, &waker, Waiter::Thread);
        if listening.crossbeam > 0 && bell.is_none() {
            // A thread in a select is woken through a channel, not by unparking it.
            waker = bell.get_or_insert_with(Bell::new).waker.clone();
            continue;
        }
        delivery.retry(core);
        if !delivery.has_pending() {
            return true;
        }
        // A subscriber that was found dead, or was unsubscribed inside a delivery, does not stay
        // until the others have made room.
        core.tidy();
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return false;
        }
        delivery.show_waits();
        let waiting = delivery.pending().len();
        let range = if !listening.timer && listening.crossbeam > SELECTED {
            Some(SELECT_TIMER)
        } else {
            listening.timer_range()
        };
        let next = earlier(deadline, range.and_then(|range| timer.next(range)));
        #[cfg(feature = "tracing")]
        let next = earlier(next, report(delivery));
        match &bell {
            Some(bell) => select(delivery, core, bell, next, &mut turn),
            None => parker.park(next),
        }
        // If many made room at the same time, this is faster than to join all the lines again
        // first.
        delivery.retry(core);
        if !delivery.has_pending() {
            return true;
        }
        if delivery.pending().len() < waiting {
            timer = Timer::new();
        }
    }
}

/// Reports which subscribers block the send, as far as a report is due. Returns when the next one
/// is.
#[cfg(feature = "tracing")]
fn report<T>(delivery: &mut Delivery<T>) -> Option<Instant> {
    let pending = delivery.pending_mut().iter_mut();
    pending.filter_map(|pending| pending.report()).min()
}

/// Whether no other sender waits for room in any of the own channels. Senders that wait come first.
fn nobody_is_in_line<T>(delivery: &Delivery<T>) -> bool {
    let mut queues = delivery
        .pending()
        .iter()
        .filter_map(|pending| pending.entry().queue());
    queues.all(|queue| !queue.room().is_waited_on())
}

/// The number of values put into and taken from the own channels that have no room.
fn progress<T>(delivery: &Delivery<T>) -> u64 {
    let pending = delivery.pending().iter();
    let queues = pending.filter_map(|pending| pending.entry().queue());
    queues.fold(0, |sum, queue| sum.wrapping_add(queue.progress()))
}

/// Tries all subscribers again. Returns `Some(true)` if all are served, `Some(false)` if the
/// deadline has passed.
fn looks_again<T: Clone + Send + 'static>(
    delivery: &mut Delivery<T>,
    core: &Core<T>,
    deadline: Option<Instant>,
) -> Option<bool> {
    delivery.retry(core);
    if !delivery.has_pending() {
        Some(true)
    } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        Some(false)
    } else {
        None
    }
}

impl Listening {
    /// How often to retry a subscriber that cannot tell when it has room, or that may have
    /// overlooked the send.
    pub(crate) fn timer_range(self) -> Option<(Duration, Duration)> {
        match self.again {
            _ if self.timer => Some(CARRIER_TIMER),
            Again::Repeatedly => Some(ROOM_TIMER),
            Again::Once => Some((BOUND, BOUND)),
            Again::Never => None,
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Waits until one of the crossbeam channels takes the value, a waker rings the bell, or `until`
/// has come.
fn select<T: Clone + Send + 'static>(
    delivery: &mut Delivery<T>,
    core: &Core<T>,
    bell: &Bell,
    until: Option<Instant>,
    turn: &mut usize,
) {
    let Some(value) = delivery.prepare(core) else {
        return;
    };
    let entries: Vec<_> = delivery
        .pending()
        .iter()
        .map(|pending| Arc::clone(pending.entry()))
        .collect();
    // The gates keep the senders in place. An unsubscribe rings the bell, and waits until the gates
    // are left.
    let gates: Vec<(usize, Gate<'_, T>)> = entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some((index, entry.enter_gate()?)))
        .collect();
    let mut senders: Vec<(usize, &crossbeam_channel::Sender<T>)> = gates
        .iter()
        .filter_map(|(index, gate)| Some((*index, crossbeam_sender(gate)?)))
        .collect();
    // A carrier that was tried may have ended a subscription that was tried before it.
    senders.retain(|(index, _)| !entries[*index].is_cut());
    if senders.len() > SELECTED {
        let start = *turn % senders.len();
        senders.rotate_left(start);
        // A receiver that polls a zero-capacity channel can be met only in a select.
        senders.sort_by_key(|(_, sender)| sender.capacity() != Some(0));
        senders.truncate(SELECTED);
        *turn = start + SELECTED;
    }

    let mut select = Select::new();
    let rung = select.recv(&bell.receiver);
    for (_, sender) in &senders {
        select.send(sender);
    }
    let selected = match until {
        Some(until) => select.select_deadline(until).ok(),
        None => Some(select.select()),
    };
    let Some(operation) = selected else {
        return delivery.give_back(value);
    };
    if operation.index() == rung {
        let _ = operation.recv(&bell.receiver);
        return delivery.give_back(value);
    }
    let (index, sender) = senders[operation.index() - 1];
    match operation.send(sender, value) {
        Ok(()) => delivery.taken_by(index),
        // The receivers are gone. The next try finds that out, and ends the subscription.
        Err(error) => delivery.give_back(error.into_inner()),
    }
}

fn crossbeam_sender<'a, T: 'static>(
    gate: &'a Gate<'_, T>,
) -> Option<&'a crossbeam_channel::Sender<T>> {
    match gate.port() {
        Port::Crossbeam(sender) => Some(sender),
        // If it panics here, it panics again when the send listens next, and that panic is handled.
        Port::Carrier(carrier) => catch(|| carrier.as_crossbeam()).ok()?,
        #[cfg(feature = "tokio")]
        Port::Tokio(_) => None,
        Port::Own(_) | Port::Closure(_) => None,
    }
}

/// Waits that grow: the first wait, then twice that, and so on up to the longest.
#[derive(Debug)]
pub(crate) struct Timer {
    round: u32,
}

impl Timer {
    pub(crate) fn new() -> Self {
        Self { round: 0 }
    }

    pub(crate) fn next_wait(&mut self, (first, longest): (Duration, Duration)) -> Duration {
        let wait = first.saturating_mul(1 << self.round.min(20)).min(longest);
        self.round = self.round.saturating_add(1);
        wait
    }

    fn next(&mut self, range: (Duration, Duration)) -> Option<Instant> {
        Instant::now().checked_add(self.next_wait(range))
    }
}

/// Wakes a thread that waits in a select.
struct Bell {
    receiver: Receiver<()>,
    waker: Waker,
}

struct Ringer(Sender<()>);

impl Bell {
    fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Self {
            receiver,
            waker: Waker::from(Arc::new(Ringer(sender))),
        }
    }
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // If the bell was rung already, or no thread waits for it, there is nothing to do.
        let _ = self.0.try_send(());
    }
}
