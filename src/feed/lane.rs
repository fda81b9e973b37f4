//! The lane of a thread, which identifies the thread to every feed.
//!
//! A lane is an index into arrays of records and counters. A thread that has a lane to itself
//! writes there without a read-modify-write. Lanes are few, so a thread takes one only when it has
//! sent some values. While it has none, it looks for one with each send. So a thread that sends
//! once in its life takes no lane from others, and a thread that came too late gets one as soon as
//! another thread has ended. Some lanes are kept for threads that ask for one: see [`ThreadSlot`].

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use crate::sync::{AtomicU32, MODELLED, Ordering, global, thread_local};
pub(crate) use crate::wait::InDelivery;
use crate::wait::in_delivery;

/// The number of lanes that each belong to a single thread.
pub(crate) const EXCLUSIVE: usize = 15;
/// The number of lanes that threads take without asking.
const AUTOMATIC: usize = 12;
/// The lane of all threads that have no other. Counting there takes a read-modify-write.
pub(crate) const SHARED: usize = EXCLUSIVE;
/// All lanes.
pub(crate) const COUNT: usize = EXCLUSIVE + 1;

/// The number of sends of a thread before it takes a lane. Models have few sends.
const BEFORE: usize = if MODELLED { 0 } else { 8 };
/// The value for a thread that is ending: it takes no lane any more.
const ENDING: usize = usize::MAX;

global! {
    /// One bit per exclusive lane that is taken.
    static TAKEN: AtomicU32 = AtomicU32::new(0);
}

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    /// The thread's lane, or `SHARED` plus the number of sends before it looks for another, or
    /// `ENDING`.
    static LANE: Cell<usize> = const { Cell::new(SHARED + BEFORE) };
}

/// The calling thread's lane.
#[inline]
pub(crate) fn current() -> usize {
    let lane = LANE.with(Cell::get);
    if lane < SHARED { lane } else { look(lane) }
}

/// The calling thread's lane, or `SHARED` or more. It does not count as a send.
#[inline]
pub(crate) fn held() -> usize {
    LANE.with(Cell::get)
}

/// The slow path, for a thread without a lane of its own.
#[cold]
fn look(lane: usize) -> usize {
    match lane {
        ENDING => SHARED,
        SHARED => take(0..AUTOMATIC),
        _ => {
            LANE.with(|held| held.set(lane - 1));
            SHARED
        }
    }
}

/// Takes a free lane of this range, and returns the thread's lane.
fn take(lanes: Range<usize>) -> usize {
    let Some(lane) = free_lane(lanes) else {
        return SHARED;
    };
    LANE.with(|held| held.set(lane));
    if !lease(Some(lane)) {
        // The thread is ending: nothing would give the lane back.
        release(lane);
        LANE.with(|held| held.set(ENDING));
        return SHARED;
    }
    lane
}

fn free_lane(lanes: Range<usize>) -> Option<usize> {
    let mut taken = TAKEN.load(Ordering::Relaxed);
    loop {
        let lane = lanes.clone().find(|lane| taken & 1 << lane == 0)?;
        // ORDERING: the Acquire pairs with the Release in `release`: what the lane's last thread
        // counted is visible.
        match TAKEN.compare_exchange_weak(
            taken,
            taken | 1 << lane,
            Ordering::Acquire,
            Ordering::Relaxed,
        ) {
            Ok(_) => return Some(lane),
            Err(now) => taken = now,
        }
    }
}

fn release(lane: usize) {
    // ORDERING: pairs with the Acquire in `free_lane`.
    TAKEN.fetch_and(!(1 << lane), Ordering::Release);
}

/// A place of the calling thread's own in the per-thread arrays of all feeds.
///
/// A thread that has one sends some nanoseconds faster (on the machine of the benches 7 ns instead
/// of 22, to one channel), because it shares neither its records nor its counters with other
/// threads. There are [`COUNT`](Self::COUNT) places at a time, for all feeds of the process
/// together.
///
/// Most programs can ignore this. A thread takes a place automatically with its ninth send, if one
/// is free, and keeps it until it ends. While it has none, it looks again with each send. But only
/// twelve places are taken automatically. The others are for threads that must not depend on what
/// other threads did before them. Such a thread calls [`acquire`](Self::acquire) when it starts.
///
/// Dropping this gives the place back, unless it is dropped inside a delivery: then the thread
/// keeps the place until it ends. If a thread has acquired its place twice, the first drop gives it
/// back.
///
/// # Examples
///
/// ```
/// use fanfeed::{Feed, ThreadSlot};
///
/// let feed = Feed::new();
/// let sender = feed.clone();
/// std::thread::spawn(move || {
///     let slot = ThreadSlot::acquire();
///     assert!(slot.is_some() && ThreadSlot::is_held());
///     sender.send(1);
/// })
/// .join()
/// .unwrap();
/// ```
#[must_use = "dropping it gives the place back"]
pub struct ThreadSlot {
    /// The place belongs to the calling thread.
    _not_send: PhantomData<*const ()>,
}

impl ThreadSlot {
    /// How many places there are.
    pub const COUNT: usize = EXCLUSIVE;

    /// Takes a place for the calling thread, or returns the one that the thread has already.
    ///
    /// Returns `None` if other threads have all of them, or if this thread is ending. The caller
    /// may try again later.
    pub fn acquire() -> Option<Self> {
        let lane = LANE.with(Cell::get);
        let has_one = lane < SHARED
            || lane != ENDING
                && [AUTOMATIC..EXCLUSIVE, 0..AUTOMATIC]
                    .into_iter()
                    .any(|lanes| take(lanes) < SHARED);
        has_one.then_some(Self {
            _not_send: PhantomData,
        })
    }

    /// Whether the calling thread has a place, acquired or taken automatically.
    pub fn is_held() -> bool {
        LANE.with(Cell::get) < SHARED
    }
}

impl Drop for ThreadSlot {
    fn drop(&mut self) {
        let lane = LANE.with(Cell::get);
        if lane < SHARED && !in_delivery() {
            LANE.with(|held| held.set(SHARED + BEFORE));
            lease(None);
            release(lane);
        }
    }
}

impl fmt::Debug for ThreadSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadSlot").finish_non_exhaustive()
    }
}

/// Arranges for that lane, and no other, to be released when the thread ends. Returns false if the
/// thread is ending already.
#[cfg(not(fanfeed_loom))]
fn lease(lane: Option<usize>) -> bool {
    struct Lease(Cell<Option<usize>>);
    impl Drop for Lease {
        fn drop(&mut self) {
            if let Some(lane) = self.0.get() {
                // Under shuttle it is gone by now; elsewhere it never is.
                let _ = LANE.try_with(|held| held.set(ENDING));
                release(lane);
            }
        }
    }
    thread_local! {
        static LEASE: Lease = const { Lease(Cell::new(None)) };
    }
    LEASE.try_with(|lease| lease.0.set(lane)).is_ok()
}

#[cfg(fanfeed_loom)]
use ends_with_its_model as lease;

/// All threads of a model end with it, and a model has fewer threads than there are lanes.
#[cfg(fanfeed_loom)]
fn ends_with_its_model(_: Option<usize>) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Mutex, PoisonError};
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant};

    use super::{AUTOMATIC, BEFORE, EXCLUSIVE, SHARED, ThreadSlot, current};

    /// Gives each test the lanes to itself, except for those that tests of other modules take.
    static LANES: Mutex<()> = Mutex::new(());

    /// A thread that has taken its lane, and lives until its sender is dropped.
    struct Holder {
        lane: usize,
        leave: Sender<()>,
        thread: JoinHandle<()>,
    }

    fn lane_after_some_sends() -> usize {
        for _ in 0..BEFORE {
            current();
        }
        current()
    }

    fn hold() -> Holder {
        let (leave, left): (_, Receiver<()>) = channel();
        let (say, said) = channel();
        let thread = thread::spawn(move || {
            let lane = lane_after_some_sends();
            say.send(lane).unwrap();
            let _ = left.recv();
            assert!(
                lane == SHARED || lane == current(),
                "a thread keeps its lane"
            );
        });
        Holder {
            lane: said.recv().unwrap(),
            leave,
            thread,
        }
    }

    fn leave(holder: Holder) {
        drop(holder.leave);
        holder.thread.join().unwrap();
    }

    fn assert_alone<'a>(holders: impl IntoIterator<Item = &'a Holder>) {
        let mut taken = HashSet::new();
        for Holder { lane, .. } in holders {
            assert!(*lane <= SHARED);
            assert!(
                *lane == SHARED || taken.insert(*lane),
                "two have lane {lane}"
            );
        }
    }

    /// Tests of other modules may hold lanes for a while.
    fn eventually(mut f: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !f() {
            assert!(Instant::now() < deadline, "no lane is given back");
            thread::yield_now();
        }
    }

    #[test]
    fn threads_that_live_at_the_same_time_have_separate_lanes() {
        let _lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        let lasting: Vec<_> = (0..4).map(|_| hold()).collect();
        for _ in 0..4 {
            let passing: Vec<_> = (0..4).map(|_| hold()).collect();
            assert_alone(lasting.iter().chain(&passing));
            passing.into_iter().for_each(leave);
        }
        let more: Vec<_> = (0..EXCLUSIVE).map(|_| hold()).collect();
        assert_alone(lasting.iter().chain(&more));
        lasting.into_iter().chain(more).for_each(leave);
    }

    #[test]
    fn a_lane_is_given_back_when_its_thread_ends() {
        let _lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 * EXCLUSIVE {
            // Two at a time, so that it takes more than one lane that is given back.
            eventually(|| {
                let [one, other] = [hold(), hold()];
                let are_alone = one.lane != SHARED && other.lane != SHARED;
                leave(one);
                leave(other);
                are_alone
            });
        }
    }

    #[test]
    fn a_thread_that_came_too_late_has_a_lane_once_another_has_ended() {
        let _lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others: Vec<_> = (0..AUTOMATIC).map(|_| hold()).collect();
        // A thread of another module's test may have a lane and end at any moment. So these wait
        // until no other thread has one.
        eventually(|| {
            let strays = others.iter_mut().filter(|other| other.lane == SHARED);
            strays.for_each(|stray| leave(std::mem::replace(stray, hold())));
            others.iter().all(|other| other.lane < SHARED)
        });
        thread::spawn(move || {
            assert_eq!(lane_after_some_sends(), SHARED);
            assert!(!ThreadSlot::is_held());
            leave(others.swap_remove(0));
            eventually(|| current() != SHARED);
            assert!(ThreadSlot::is_held());
            others.into_iter().for_each(leave);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn threads_that_send_once_take_no_lane() {
        let _lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        thread::spawn(|| {
            for _ in 0..BEFORE {
                assert_eq!(current(), SHARED);
                assert!(!ThreadSlot::is_held());
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_that_asks_gets_a_lane_when_all_automatic_lanes_are_taken() {
        let _lanes = LANES.lock().unwrap_or_else(PoisonError::into_inner);
        let others: Vec<_> = (0..EXCLUSIVE).map(|_| hold()).collect();
        let rest = EXCLUSIVE - AUTOMATIC;
        let askers: Vec<_> = (0..rest)
            .map(|_| {
                let (leave, left): (_, Receiver<()>) = channel();
                let (say, said) = channel();
                let thread = thread::spawn(move || {
                    let slot =
                        ThreadSlot::acquire().expect("some lanes are kept for threads that ask");
                    say.send(current()).unwrap();
                    let _ = left.recv();
                    drop(slot);
                    assert!(!ThreadSlot::is_held());
                    // Again, and given back by the end of the thread.
                    assert!(ThreadSlot::acquire().map(std::mem::forget).is_some());
                });
                Holder {
                    lane: said.recv().unwrap(),
                    leave,
                    thread,
                }
            })
            .collect();
        assert!(askers.iter().all(|asker| asker.lane < SHARED));
        assert_alone(others.iter().chain(&askers));
        thread::spawn(|| assert!(ThreadSlot::acquire().is_none()))
            .join()
            .unwrap();
        others.into_iter().chain(askers).for_each(leave);
    }
}
