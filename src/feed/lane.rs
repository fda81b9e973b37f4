//! What a thread is to every feed: its lane.

use std::cell::Cell;

use crate::sync::{AtomicU32, Ordering, global, thread_local};
pub(crate) use crate::wait::InDelivery;

/// Lanes that one thread has to itself, until it ends. Threads beyond that share [`SHARED`].
pub(crate) const EXCLUSIVE: usize = 15;
/// The lane of threads that found no other: what is counted there takes a read-modify-write.
pub(crate) const SHARED: usize = EXCLUSIVE;
/// All lanes.
pub(crate) const COUNT: usize = EXCLUSIVE + 1;

const UNSET: usize = usize::MAX;

global! {
    /// One bit per exclusive lane that is taken.
    static TAKEN: AtomicU32 = AtomicU32::new(0);
}

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static LANE: Cell<usize> = const { Cell::new(UNSET) };
}

/// The calling thread's lane.
#[inline]
pub(crate) fn current() -> usize {
    let lane = LANE.with(Cell::get);
    if lane == UNSET { take() } else { lane }
}

#[cold]
fn take() -> usize {
    let lane = free_lane().unwrap_or(SHARED);
    LANE.with(|held| held.set(lane));
    if lane != SHARED && !given_back_at_exit(lane) {
        // The thread is ending: nothing would give the lane back.
        release(lane);
        LANE.with(|held| held.set(SHARED));
        return SHARED;
    }
    lane
}

fn free_lane() -> Option<usize> {
    let mut taken = TAKEN.load(Ordering::Relaxed);
    loop {
        let lane = taken.trailing_ones() as usize;
        if lane >= EXCLUSIVE {
            return None;
        }
        // ORDERING: the Acquire pairs with the Release in `release`: what the lane's last thread counted is visible.
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

/// Has the lane released when the thread ends. False if the thread is ending already.
#[cfg(not(fanfeed_loom))]
fn given_back_at_exit(lane: usize) -> bool {
    struct Lease(Cell<Option<usize>>);
    impl Drop for Lease {
        fn drop(&mut self) {
            if let Some(lane) = self.0.get() {
                // Under shuttle it is gone by now; elsewhere it never is.
                let _ = LANE.try_with(|held| held.set(SHARED));
                release(lane);
            }
        }
    }
    thread_local! {
        static LEASE: Lease = const { Lease(Cell::new(None)) };
    }
    LEASE.try_with(|lease| lease.0.set(Some(lane))).is_ok()
}

#[cfg(fanfeed_loom)]
use ends_with_its_model as given_back_at_exit;

/// The threads of a model all end with it, and it has fewer than there are lanes.
#[cfg(fanfeed_loom)]
fn ends_with_its_model(_: usize) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant};

    use super::{EXCLUSIVE, SHARED, current};

    /// A thread that has taken its lane, and lives until its sender is dropped.
    struct Holder {
        lane: usize,
        leave: Sender<()>,
        thread: JoinHandle<()>,
    }

    fn hold() -> Holder {
        let (leave, left): (_, Receiver<()>) = channel();
        let (say, said) = channel();
        let thread = thread::spawn(move || {
            say.send(current()).unwrap();
            let _ = left.recv();
            assert_eq!(current(), current(), "a thread keeps its lane");
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

    #[test]
    fn threads_that_live_at_one_time_have_lanes_of_their_own() {
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
        // Threads of other tests may have all lanes for a while.
        let deadline = Instant::now() + Duration::from_secs(20);
        for _ in 0..2 * EXCLUSIVE {
            // Two at a time, so that it takes more than one lane that is given back.
            loop {
                let [one, other] = [hold(), hold()];
                let are_alone = one.lane != SHARED && other.lane != SHARED;
                leave(one);
                leave(other);
                if are_alone {
                    break;
                }
                assert!(Instant::now() < deadline, "no lane is given back");
            }
        }
    }
}
