//! The list, one step at a time.
#![cfg(not(any(fanfeed_loom, fanfeed_shuttle)))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use super::super::count::Count;
use super::{KEPT, ListPlace, WakeList};

#[derive(Default)]
struct Waiting {
    place: ListPlace,
    count: Arc<Count>,
}

impl Waiting {
    fn join(&mut self, list: &WakeList) {
        list.join(&mut self.place, &Waker::from(Arc::clone(&self.count)));
    }

    fn leave(&mut self, list: &WakeList) {
        list.leave(&mut self.place);
    }

    fn woken(&self) -> usize {
        self.count.get()
    }

    /// Whether the list has a waker of it.
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.count) == 2
    }
}

fn waiting<const N: usize>(list: &WakeList) -> [Waiting; N] {
    let mut all = [(); N].map(|()| Waiting::default());
    all.iter_mut().for_each(|waiting| waiting.join(list));
    all
}

#[test]
fn all_are_woken_but_those_that_left() {
    let list = WakeList::new();
    let mut all = waiting::<4>(&list);
    all[1].leave(&list);
    assert!(!all[1].is_held() && list.is_waited_on());
    list.wake_all();
    assert_eq!(all.each_ref().map(Waiting::woken), [1, 0, 1, 1]);
    assert!(!list.is_waited_on());
    // No waiter is woken twice.
    list.wake_all();
    assert_eq!(all.each_ref().map(Waiting::woken), [1, 0, 1, 1]);
    assert!(!all.iter().any(Waiting::is_held));
}

#[test]
fn a_woken_waiter_that_leaves_removes_no_other_waiter() {
    let list = WakeList::new();
    let mut first = waiting::<2>(&list);
    list.wake_all();
    let later = waiting::<2>(&list);
    // They have the places that the first two had.
    first.iter_mut().for_each(|waiting| waiting.leave(&list));
    assert!(later.iter().all(Waiting::is_held));
    list.wake_all();
    assert_eq!(later.each_ref().map(Waiting::woken), [1, 1]);
    assert_eq!(first.each_ref().map(Waiting::woken), [1, 1]);
}

#[test]
fn a_waiter_that_joins_again_is_woken_once_by_its_last_waker() {
    let list = WakeList::new();
    let mut waiting = Waiting::default();
    for _ in 0..3 {
        waiting.join(&list);
        assert!(waiting.is_held());
    }
    let before = std::mem::take(&mut waiting.count);
    waiting.join(&list);
    assert_eq!(Arc::strong_count(&before), 1);
    list.wake_all();
    assert_eq!((waiting.woken(), before.get()), (1, 0));
    waiting.join(&list);
    list.wake_all();
    assert_eq!(waiting.woken(), 2);
}

#[test]
fn a_place_that_was_left_is_used_again() {
    let list = WakeList::new();
    let mut all = waiting::<8>(&list);
    for index in [3, 5, 0] {
        all[index].leave(&list);
    }
    for index in [5, 0, 3] {
        all[index].join(&list);
    }
    assert_eq!(list.waiters.lock().slots.len(), 8);
    all.iter_mut().for_each(|waiting| waiting.leave(&list));
    assert!(!list.is_waited_on());
    list.wake_all();
    assert!(all.iter().all(|waiting| waiting.woken() == 0));
}

#[test]
fn memory_is_used_again() {
    let list = WakeList::new();
    for _ in 0..4 {
        let all = waiting::<100>(&list);
        list.wake_all();
        assert!(all.iter().all(|waiting| waiting.woken() == 1));
    }
    let waiters = list.waiters.lock();
    let kept = waiters.slots.capacity() + waiters.spare.capacity();
    assert!(kept <= 2 * 128, "{kept}");
    assert_eq!(size_of::<Result<Waker, u32>>(), 16);
    assert_eq!(size_of::<ListPlace>(), 8);
}

#[test]
fn rounds_wrap() {
    let list = WakeList::new();
    list.round.store((1 << 40) - 1, Ordering::Relaxed);
    let mut before = Waiting::default();
    before.leave(&list);
    before.join(&list);
    assert_eq!(list.count.load(Ordering::Relaxed), 1);
    list.wake_all();
    let mut later = Waiting::default();
    later.join(&list);
    assert_eq!(later.place, ListPlace::new(0, 0));
    before.leave(&list);
    assert!(later.is_held());
    list.wake_all();
    assert_eq!((before.woken(), later.woken()), (1, 1));
}

/// A waker that waits again at once, as an executor that polls inside of it.
#[test]
fn a_waiter_may_join_while_all_are_woken() {
    struct Again(Arc<WakeList>, AtomicUsize);

    impl Wake for Again {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::SeqCst);
            let list = Arc::clone(&self.0);
            list.join(&mut ListPlace::default(), &Waker::from(self));
        }
    }

    let list = Arc::new(WakeList::new());
    let again = Arc::new(Again(Arc::clone(&list), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&again));
    list.join(&mut ListPlace::default(), &waker);
    for round in 1..4 {
        list.wake_all();
        assert_eq!(again.1.load(Ordering::SeqCst), round);
        assert!(list.is_waited_on());
    }
    // Otherwise the list and its waiter would keep each other alive.
    list.waiters.lock().slots.clear();
}

#[test]
fn the_memory_of_a_crowd_is_freed_when_it_has_left() {
    let list = WakeList::new();
    let capacity = || {
        let waiters = list.waiters.lock();
        waiters.slots.capacity() + waiters.spare.capacity()
    };
    let mut crowd = waiting::<1000>(&list);
    list.wake_all();
    crowd.iter_mut().for_each(|waiting| waiting.join(&list));
    assert!(capacity() >= 2000);
    crowd.iter_mut().for_each(|waiting| waiting.leave(&list));
    assert_eq!(capacity(), 0);
    // Woken, and not seen again.
    waiting::<1000>(&list);
    list.wake_all();
    for _ in 0..2 {
        waiting::<1>(&list);
        list.wake_all();
    }
    assert!(capacity() <= 2 * KEPT);
}
