//! The line, one step at a time.
#![cfg(not(any(fanfeed_loom, fanfeed_shuttle)))]

use super::super::count::Count;
use super::{Again, Arc, BOUND, Instant, Ticket, Waker, WakerSet};

struct Waiting {
    ticket: Ticket,
    count: Arc<Count>,
}

impl Waiting {
    fn join(set: &WakerSet, ticket: Ticket) -> Self {
        let count = Arc::new(Count::default());
        let mut waiting = Self { ticket, count };
        waiting.join_again(set);
        waiting
    }

    fn join_again(&mut self, set: &WakerSet) -> Again {
        set.join(&mut self.ticket, &Waker::from(Arc::clone(&self.count)))
    }

    fn woken(&self) -> usize {
        self.count.get()
    }
}

fn threads<const N: usize>(set: &WakerSet) -> [Waiting; N] {
    [(); N].map(|()| Waiting::join(set, Ticket::of_thread()))
}

#[track_caller]
fn assert_woken<const N: usize>(waiting: &[Waiting; N], times: [usize; N]) {
    assert_eq!(waiting.each_ref().map(Waiting::woken), times);
}

#[test]
fn as_many_are_woken_as_there_are_places_in_the_order_in_which_they_came() {
    let set = WakerSet::new();
    let mut line = threads::<6>(&set);
    set.wake(1);
    assert_woken(&line, [1, 0, 0, 0, 0, 0]);
    set.wake(2);
    assert_woken(&line, [1, 1, 1, 0, 0, 0]);
    // Three have not acted.
    set.wake_for(3);
    assert_woken(&line, [1, 1, 1, 0, 0, 0]);
    set.wake_for(4);
    assert_woken(&line, [1, 1, 1, 1, 0, 0]);
    // Waiters that were woken in vain are in front again.
    line[2].join_again(&set);
    set.wake(1);
    assert_woken(&line, [1, 1, 2, 1, 0, 0]);
    // A waiter that joins again while it is in line keeps its place.
    line[4].join_again(&set);
    set.wake(1);
    assert_woken(&line, [1, 1, 2, 1, 1, 0]);
    set.wake_all();
    assert_woken(&line, [1, 1, 2, 1, 1, 1]);
    assert!(!set.is_waited_on());
    for waiting in &mut line {
        set.leave(&mut waiting.ticket, || unreachable!("no waiter is left"));
    }
    assert_eq!(set.shared().waiters.lock().unacted_in_all(), 0);
}

#[test]
fn a_waiter_that_leaves_passes_its_wake_up_on_if_a_place_may_be_left() {
    let set = WakerSet::new();
    let mut line = threads::<4>(&set);
    // It was not woken, so there is nothing to hand on.
    set.leave(&mut line[0].ticket, || unreachable!());
    set.wake(1);
    set.leave(&mut line[1].ticket, || false);
    assert_woken(&line, [0, 1, 0, 0]);
    set.wake(1);
    set.leave(&mut line[2].ticket, || true);
    assert_woken(&line, [0, 1, 1, 1]);
    set.leave(&mut line[3].ticket, || unreachable!());
    // The second call has no effect.
    set.leave(&mut line[3].ticket, || unreachable!());
}

#[test]
fn only_where_places_are_made_without_a_fence_does_a_waiter_look_again() {
    let (fenced, unfenced) = (WakerSet::new(), WakerSet::unfenced());
    let join = |set: &WakerSet| {
        let mut waiting = threads::<2>(set);
        let again = waiting.each_mut().map(|waiting| waiting.join_again(set));
        for waiting in &mut waiting {
            set.leave(&mut waiting.ticket, || false);
        }
        again
    };
    assert_eq!(join(&fenced), [Again::Never; 2]);
    assert_eq!(join(&unfenced)[0], Again::Repeatedly);
    // Long after the first has joined, no waiter is overlooked.
    let mut first = Waiting::join(&unfenced, Ticket::of_thread());
    let begun = Instant::now();
    while begun.elapsed() < BOUND {
        crate::sync::yield_now();
    }
    let mut second = Waiting::join(&unfenced, Ticket::of_thread());
    assert_eq!(second.join_again(&unfenced), Again::Never);
    for waiting in [&mut first, &mut second] {
        unfenced.leave(&mut waiting.ticket, || false);
    }
}

/// What the alarm does for the watch.
#[cfg(feature = "async")]
fn pass_on(set: &WakerSet) {
    let mut waiters = set.shared().waiters.lock();
    let wakers = waiters.pass_on();
    // The alarm does not interfere.
    waiters.watch.is_running = true;
    drop(waiters);
    wakers.wake();
}

#[cfg(feature = "async")]
#[test]
fn what_tasks_do_not_act_on_goes_on_in_growing_steps_up_to_a_thread() {
    let set = WakerSet::new();
    set.shared().waiters.lock().watch.is_running = true;
    let tasks = [(); 100].map(|()| Waiting::join(&set, Ticket::default()));
    let mut line = threads::<2>(&set);
    let woken = || tasks.iter().map(Waiting::woken).sum::<usize>();
    set.wake(1);
    let steps = std::iter::from_fn(|| {
        let before = woken();
        (before < tasks.len()).then(|| {
            pass_on(&set);
            woken() - before
        })
    });
    assert_eq!(steps.collect::<Vec<_>>(), [2, 4, 8, 16, 32, 37]);
    assert!(tasks.iter().all(|task| task.woken() == 1));
    // The last step ended at the first thread. It may have been for that step's tasks that
    // there was room, so without progress the second thread is woken too.
    assert_woken(&line, [1, 0]);
    pass_on(&set);
    assert_woken(&line, [1, 1]);
    // All tasks have had their time.
    for waiting in &mut line {
        waiting.join_again(&set);
    }
    pass_on(&set);
    assert_woken(&line, [1, 1]);
}

#[cfg(feature = "async")]
#[test]
fn no_wake_up_is_passed_on_that_was_acted_on() {
    let set = WakerSet::new();
    set.shared().waiters.lock().watch.is_running = true;
    let mut line = [(); 3].map(|()| Waiting::join(&set, Ticket::default()));
    set.wake(1);
    set.leave(&mut line[0].ticket, || false);
    pass_on(&set);
    assert_woken(&line, [1, 0, 0]);
    set.wake(1);
    pass_on(&set);
    assert_woken(&line, [1, 1, 1]);
}

#[cfg(feature = "async")]
#[test]
fn the_alarm_passes_wake_ups_on() {
    let set = WakerSet::new();
    let line = [(); 20].map(|()| Waiting::join(&set, Ticket::default()));
    set.wake(1);
    let begun = Instant::now();
    while line[19].woken() == 0 {
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(20),
            "not passed on"
        );
        crate::sync::yield_now();
    }
    assert_woken(&line, [1; 20]);
}

#[cfg(target_pointer_width = "64")]
#[test]
fn a_waiter_takes_half_a_cache_line() {
    assert_eq!(super::Line::<super::Waiter>::SLOT, 32);
}
