//! Sets of waiters: senders that wait for room in a channel or ring, and threads and tasks that
//! wait for an end.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::line::{Key, Line};
use super::quietly::{quietly, wake};
use crate::sync::{AtomicU32, MODELLED, Mutex, OnceLock, Ordering, mutant, store_load_fence};

/// This long after it joined, a waiter looks again by itself. A wake-up that a task has not acted
/// on for this long is passed on.
pub(crate) const BOUND: Duration = Duration::from_millis(1);

/// How much earlier a wake-up may be passed on, so that the watches of many sets share the wake-ups
/// of the alarm's thread.
const SLACK: Duration = Duration::from_micros(250);

/// A waiter that joins an empty line, or within this time after another waiter has, may be
/// overlooked. By the time at which the watch wakes it, this is over, so the waiter is woken once.
const YOUNG: Duration = BOUND.saturating_sub(SLACK);

/// Waiters for *places*: first come, first woken, as many as there are places.
///
/// A waiter [joins](Self::join), which fences, and tries once more before it waits. A thread that
/// makes places checks whether [there is a waiter](Self::is_waited_on) and [wakes](Self::wake) one
/// waiter for each place. A woken waiter is out of the line until it *acts*: it joins again, at the
/// front, or it [leaves](Self::leave). Joining, leaving and waking one waiter take constant time,
/// however many wait. Wakers are cloned, woken and dropped outside of the lock.
///
/// **The invariant.** While a place is free and a waiter is in line, some waiter will look: one
/// that has joined and not tried yet, or one that was woken and has not acted yet. Three steps
/// maintain it:
///
/// 1. A thread that makes a place wakes the first in line.
/// 2. A waiter that leaves after it was woken, whether it was served or not, wakes the next if
///    there may be a place left.
/// 3. A wake-up that a *task* has not acted on within [`BOUND`] is passed on to the next in line. A
///    thread that was woken runs again, but a future may be kept and never be polled. Each set has
///    one watch at a time, run by the alarm, and only while a task holds a wake-up and others are
///    in line. It wakes one more waiter at first and twice as many each time no waiter has acted,
///    up to the first thread. So a thousand idle futures delay the waiter behind them by ten times
///    the bound.
///
/// # Places that are made without a fence
///
/// A receiver that makes a place and reads the count without a fence may overlook waiters that
/// joined before its store was visible to them. While a waiter is in line the count is not 0, so
/// that can happen only to waiters that join an empty line, or shortly after that.
/// [`join`](Self::join) tells them ([`Again`]), and they look once more after [`BOUND`] without a
/// wake-up. A task need not: the watch wakes it then.
///
/// # Why not `event-listener`
///
/// `event-listener` has the same shape (a list with constant-time removal, `notify(n)`, wake-ups
/// that a dropped listener passes on). It was considered and not used, for three reasons. A wake-up
/// that its receiver keeps without acting is not passed on; step 3 handles this case. Its list is
/// not built over [`crate::sync`], so no model of this crate's protocols could see into it. And the
/// crate keeps its dependencies few by a rule. What remains to be written here is [`Line`], a
/// hundred lines without `unsafe`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct WakerSet {
    /// The number of waiters in line, or more if the watch has woken some. Written under the lock,
    /// read without it. First, because threads that make places read it for each place: it shares
    /// their cache line.
    count: AtomicU32,
    /// Whether threads that make places fence before they look at the count.
    is_fenced: bool,
    /// Made by the first waiter that joins: most sets never have one. The watch shares it.
    shared: OnceLock<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    line: Line<Waiter>,
    is_fenced: bool,
    /// Whether the count is 0.
    is_unseen: bool,
    /// The time since when the count has not been 0, if that is needed, for at least [`YOUNG`].
    since: Option<Instant>,
    /// How many waiters were woken and have not acted: threads, and tasks whose wake-up was not
    /// passed on.
    unacted: usize,
    watch: Watch,
}

#[derive(Debug)]
struct Waiter {
    /// `None` once the waiter was woken.
    waker: Option<Waker>,
    is_task: bool,
    was_woken: bool,
    /// Whether the waiter is counted in `unacted`. A task is counted only if it was woken in the
    /// watch's current round.
    owes: bool,
    /// The watch's round in which it was woken.
    round: u32,
}

/// The state of passing on wake-ups that tasks have not acted on.
#[derive(Debug)]
struct Watch {
    is_running: bool,
    /// How often the watch has passed wake-ups on. It wraps after at least 49 days.
    round: u32,
    /// How many tasks were woken in this round and have not acted.
    unacted: usize,
    /// Whether a task that may have been overlooked has joined.
    has_young: bool,
    /// Whether any waiter has acted in this round.
    has_progress: bool,
    /// How many waiters are woken when wake-ups are passed on.
    #[cfg(feature = "async")]
    batch: usize,
}

/// A waiter's place in a [`WakerSet`]. [`WakerSet::leave`] must give it back.
///
/// The default is the ticket of a task.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    key: Option<Key>,
    is_thread: bool,
}

impl Ticket {
    /// The ticket of a waiter that acts on each wake-up: a thread.
    pub(crate) fn of_thread() -> Self {
        Self {
            key: None,
            is_thread: true,
        }
    }
}

/// When a waiter must look again without a wake-up, if places are made without a fence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Again {
    /// Never: a thread that makes places sees the waiter.
    #[default]
    Never,
    /// Once, after [`BOUND`].
    Once,
    /// At intervals: the waiter is the first in line.
    Repeatedly,
}

impl WakerSet {
    /// A set for which threads that make places fence before they look for waiters.
    pub(crate) fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            shared: OnceLock::new(),
            is_fenced: true,
        }
    }

    /// A set for which places are made without a fence: see [`WakerSet`].
    pub(crate) fn unfenced() -> Self {
        Self {
            is_fenced: false,
            ..Self::new()
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        self.shared.get_or_init(|| {
            Arc::new(Shared {
                waiters: Mutex::new(Waiters::new(self.is_fenced)),
            })
        })
    }

    /// Calls `f` under the lock, and starts the watch if necessary.
    fn with<R>(&self, f: impl FnOnce(&mut Waiters) -> R) -> R {
        self.shared().with(|waiters| {
            waiters.is_unseen = !self.is_waited_on();
            let outcome = f(waiters);
            // A line has fewer than 2^32 members.
            self.count
                .store(waiters.line.len() as u32, Ordering::Relaxed);
            outcome
        })
    }

    /// Joins the line. The waiter keeps its place if it still has one, and gets one at the front if
    /// it was woken. It must try once more after this.
    pub(crate) fn join(&self, ticket: &mut Ticket, waker: &Waker) -> Again {
        let kept = ticket
            .key
            .and_then(|key| self.shared().waiters.lock().keep(key, waker));
        let again = kept.unwrap_or_else(|| {
            // Cloned and dropped outside the lock, because that runs user code.
            let waker = waker.clone();
            let (again, replaced) = self.with(|waiters| waiters.join(ticket, waker));
            drop(replaced);
            again
        });
        // ORDERING: pairs with the fence that a receiver makes before it reads the count, when it
        // finds its queue empty, and with the fence in `wake_all`.
        store_load_fence!("waiter_joins_without_fence");
        again
    }

    /// Leaves the line. If the waiter was woken, and `is_left` says that the place that it was
    /// woken for may still be there, the next waiter is woken instead. Waiters that were served ask
    /// too, because a waiter may be woken after it has taken a place.
    pub(crate) fn leave(&self, ticket: &mut Ticket, is_left: impl FnOnce() -> bool) {
        let Some(key) = ticket.key.take() else { return };
        let (waker, hands_on) = self.with(|waiters| waiters.leave(key));
        // The caller may be unwinding, and has more to do than this.
        quietly(|| drop(waker));
        if hands_on && !mutant!("wake_up_is_not_handed_on") && is_left() {
            self.wake(1);
        }
    }

    /// Whether this waiter is the first in line.
    pub(crate) fn is_first(&self, ticket: &Ticket) -> bool {
        let is_first = |key| self.shared().waiters.lock().line.is_first(key);
        ticket.key.is_some_and(is_first)
    }

    /// Whether this waiter is in line, and was not woken since it joined.
    pub(crate) fn is_in_line(&self, ticket: &Ticket) -> bool {
        let is_in_line = |key| self.shared().waiters.lock().line.is_in_line(key);
        ticket.key.is_some_and(is_in_line)
    }

    /// Whether any waiter is in line. May be outdated unless a fence orders it after the change
    /// that made room.
    #[inline]
    pub(crate) fn is_waited_on(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Whether there has ever been a waiter.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_been_joined(&self) -> bool {
        self.shared.get().is_some()
    }

    /// Whether a waiter is in line, exactly.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_line(&self) -> bool {
        let line = |shared: &Arc<Shared>| shared.waiters.lock().line.len();
        self.shared.get().map_or(0, line) != 0
    }

    /// Whether no waiter is in line, and none was woken and has not left.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_empty(&self) -> bool {
        self.shared
            .get()
            .is_none_or(|shared| shared.waiters.lock().line.is_unused())
    }

    /// A waker that wakes the first in line, for code that makes places and knows only wakers.
    #[cfg(feature = "tokio")]
    pub(crate) fn first_waker(&self) -> Waker {
        Waker::from(Arc::new(First(Arc::clone(self.shared()))))
    }

    /// Wakes as many waiters as `places` were made, the earliest first.
    #[cold]
    pub(crate) fn wake(&self, places: usize) {
        self.with(|waiters| waiters.call(places)).wake();
    }

    /// Wakes as many waiters as there are `places` in all, less those that were woken and have not
    /// acted yet.
    #[cold]
    pub(crate) fn wake_for(&self, places: usize) {
        self.with(|waiters| waiters.call(places.saturating_sub(waiters.unacted_in_all())))
            .wake();
    }

    /// Wakes all waiters, because something has ended.
    ///
    /// A waiter that joins after this sees what the caller did before it.
    #[cold]
    pub(crate) fn wake_all(&self) {
        // ORDERING: pairs with the fence in `join`: a waiter that has joined before this is
        // counted, and a waiter that joins later sees what the caller has done.
        store_load_fence!("end_looks_for_waiters_without_fence");
        if self.is_waited_on() {
            self.with(|waiters| waiters.call(usize::MAX)).wake();
        }
    }
}

impl Waiters {
    fn new(is_fenced: bool) -> Self {
        Self {
            line: Line::new(),
            is_fenced,
            is_unseen: true,
            since: None,
            unacted: 0,
            watch: Watch {
                is_running: false,
                round: 0,
                unacted: 0,
                has_young: false,
                has_progress: false,
                #[cfg(feature = "async")]
                batch: 1,
            },
        }
    }

    fn unacted_in_all(&self) -> usize {
        self.unacted + self.watch.unacted
    }

    /// Lets a waiter keep its place if it is in line with this waker.
    fn keep(&mut self, key: Key, waker: &Waker) -> Option<Again> {
        let held = self.line.get(key).waker.as_ref();
        let is_same = held.is_some_and(|held| held.will_wake(waker));
        is_same.then(|| {
            let is_young = self.is_young();
            self.again(key, is_young)
        })
    }

    /// Puts a waiter in line, or replaces its waker. Returns the waker that it had.
    fn join(&mut self, ticket: &mut Ticket, waker: Waker) -> (Again, Option<Waker>) {
        let is_task = !ticket.is_thread;
        let is_young = if self.is_unseen {
            // A model reads no clock.
            self.since = (!self.is_fenced && !MODELLED).then(Instant::now);
            self.watch.has_young = false;
            self.since.is_some()
        } else {
            self.is_young()
        };
        let (key, replaced) = match ticket.key {
            None => {
                let key = self.line.push(Waiter {
                    waker: Some(waker),
                    is_task,
                    was_woken: false,
                    owes: false,
                    round: 0,
                });
                (key, None)
            }
            Some(key) => {
                self.acts(key);
                if !self.line.is_in_line(key) {
                    self.line.push_front(key);
                }
                (key, self.line.get(key).waker.replace(waker))
            }
        };
        ticket.key = Some(key);
        self.watch.has_young |= is_task && is_young;
        (self.again(key, is_young), replaced)
    }

    /// Whether threads that make places may overlook a waiter that joins now.
    fn is_young(&mut self) -> bool {
        // Once it is too long ago, the clock is not read any more.
        self.since = self.since.filter(|since| since.elapsed() < YOUNG);
        self.since.is_some()
    }

    /// When a waiter that has just joined looks again by itself.
    fn again(&mut self, key: Key, is_young: bool) -> Again {
        if !self.is_fenced && self.line.is_first(key) {
            Again::Repeatedly
        } else if is_young {
            Again::Once
        } else {
            Again::Never
        }
    }

    /// Returns the waiter's waker, and whether another waiter must be woken if a place is left.
    fn leave(&mut self, key: Key) -> (Option<Waker>, bool) {
        self.acts(key);
        let waiter = self.line.remove(key);
        (waiter.waker, waiter.was_woken && self.line.len() != 0)
    }

    /// Notes that a waiter has acted on its wake-up, if it had one.
    fn acts(&mut self, key: Key) {
        let waiter = self.line.get(key);
        if !std::mem::take(&mut waiter.owes) {
            return;
        }
        self.watch.has_progress = true;
        if !waiter.is_task {
            if !mutant!("sender_that_has_acted_still_counts") {
                self.unacted -= 1;
            }
        } else if waiter.round == self.watch.round {
            self.watch.unacted = self.watch.unacted.saturating_sub(1);
        }
    }

    /// Takes up to this many waiters out of the line, to be woken.
    fn call(&mut self, places: usize) -> Wakers {
        let mut wakers = Wakers::default();
        for _ in 0..places {
            if self.call_first(&mut wakers).is_none() {
                break;
            }
        }
        wakers
    }

    /// Takes the first waiter out of the line. Returns whether it is a task.
    fn call_first(&mut self, wakers: &mut Wakers) -> Option<bool> {
        let key = self.line.take_first()?;
        let round = self.watch.round;
        let waiter = self.line.get(key);
        wakers.push(waiter.waker.take());
        waiter.was_woken = true;
        waiter.owes = true;
        waiter.round = round;
        let is_task = waiter.is_task;
        if is_task {
            self.watch.unacted += 1;
        } else {
            self.unacted += 1;
        }
        Some(is_task)
    }

    /// Whether the watch is needed and does not run. The caller starts it.
    fn starts_watch(&mut self) -> bool {
        let watch = &mut self.watch;
        let is_needed = self.line.len() != 0 && (watch.unacted != 0 || watch.has_young);
        is_needed && !std::mem::replace(&mut watch.is_running, true)
    }

    /// Passes on the wake-ups that tasks have not acted on.
    #[cfg(feature = "async")]
    fn pass_on(&mut self) -> Wakers {
        let watch = &mut self.watch;
        watch.is_running = false;
        watch.batch = if std::mem::take(&mut watch.has_progress) {
            1
        } else {
            watch.batch.saturating_mul(2)
        };
        let is_needed =
            (watch.unacted != 0 || watch.has_young) && !mutant!("wake_up_is_not_passed_on");
        watch.unacted = 0;
        watch.has_young = false;
        watch.round = watch.round.wrapping_add(1);
        let mut wakers = Wakers::default();
        if !is_needed || self.line.len() == 0 {
            self.watch.batch = 1;
            return wakers;
        }
        for _ in 0..self.watch.batch {
            // A thread acts, and wakes the next waiter if there is another place.
            if self.call_first(&mut wakers) != Some(true) {
                break;
            }
        }
        wakers
    }
}

impl Shared {
    /// Calls `f` under the lock, and starts the watch if necessary.
    fn with<R>(self: &Arc<Self>, f: impl FnOnce(&mut Waiters) -> R) -> R {
        let (outcome, starts_watch) = {
            let mut waiters = self.waiters.lock();
            let outcome = f(&mut waiters);
            (outcome, waiters.starts_watch())
        };
        if starts_watch {
            self.watch();
        }
        outcome
    }

    /// Makes the alarm pass on the wake-ups that tasks have not acted on by then.
    #[cfg(feature = "async")]
    #[cold]
    fn watch(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        if super::alarm::wake_at(Instant::now() + BOUND, SLACK, waker).is_err() {
            // No thread could pass wake-ups on in time. So this wakes all waiters now.
            let wakers = {
                let mut waiters = self.waiters.lock();
                waiters.watch.is_running = false;
                waiters.call(usize::MAX)
            };
            wakers.wake();
        }
    }

    /// Without tasks, the watch has nothing to do.
    #[cfg(not(feature = "async"))]
    fn watch(&self) {}
}

/// The alarm calls this: it is the watch.
#[cfg(feature = "async")]
impl std::task::Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.with(Waiters::pass_on).wake();
    }
}

/// Wakes the first in line.
#[cfg(feature = "tokio")]
struct First(Arc<Shared>);

#[cfg(feature = "tokio")]
impl std::task::Wake for First {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.with(|waiters| waiters.call(1)).wake();
    }
}

/// Wakers to be woken outside the lock. A few of them take no allocation.
#[derive(Default)]
struct Wakers {
    few: [Option<Waker>; 4],
    len: usize,
    more: Vec<Waker>,
}

impl Wakers {
    fn push(&mut self, waker: Option<Waker>) {
        match self.few.get_mut(self.len) {
            Some(place) => *place = waker,
            None => self.more.extend(waker),
        }
        self.len += 1;
    }

    fn wake(self) {
        self.few
            .into_iter()
            .flatten()
            .chain(self.more)
            .for_each(wake);
    }
}

#[cfg(test)]
mod tests;
