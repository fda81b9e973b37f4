//! A history of overlapping calls is linearizable if each of them can be placed at one moment
//! between its call and its return, so that a sequential program, the *specification*, would have
//! returned the same results.
//!
//! The search is that of Wing and Gong, "Testing and Verifying Concurrent Objects" (1993), with the
//! memoization of Lowe, "Testing for linearizability" (2017). Of the operations that are left, an
//! operation that was called before any of them had returned comes next. If the specification does
//! not allow it, or the rest fails, the next candidate is tried. Each combination of remaining
//! operations and state is looked at once.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a sequential program would do.
pub trait Specification {
    /// An operation, with its answer.
    type Operation: Debug;
    /// What is to be remembered between operations.
    type State: Clone + Eq + Hash;

    /// The state before the first operation.
    fn begin(&self) -> Self::State;

    /// The states there may be after this operation. None if it could not have had this answer.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Vec<Self::State>;
}

/// An operation, and when it was called and had returned.
#[derive(Debug, Clone)]
struct Event<O> {
    called: u64,
    returned: u64,
    operation: O,
}

/// Operations of several threads.
///
/// It is no part of the program: its lock is `std`'s, which no thread of a program waits for.
#[derive(Debug)]
pub struct History<O> {
    clock: Arc<AtomicU64>,
    events: Arc<Mutex<Vec<Event<O>>>>,
}

impl<O> Clone for History<O> {
    fn clone(&self) -> Self {
        Self {
            clock: Arc::clone(&self.clock),
            events: Arc::clone(&self.events),
        }
    }
}

impl<O> Default for History<O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O> History<O> {
    /// The most operations of a history that can be searched.
    const MOST: usize = 64;

    /// Of nothing so far.
    pub fn new() -> Self {
        Self {
            clock: Arc::default(),
            events: Arc::default(),
        }
    }

    /// Runs an operation, which says what it was and what the answer is, and keeps that with the
    /// time it took.
    pub fn record(&self, f: impl FnOnce() -> O) {
        self.record_steps(|| vec![f()]);
    }

    /// As [`record`](Self::record), of a call that takes effect in several steps: an operation for
    /// each.
    pub fn record_steps(&self, f: impl FnOnce() -> Vec<O>) {
        let called = self.clock.fetch_add(1, Ordering::SeqCst);
        let operations = f();
        let returned = self.clock.fetch_add(1, Ordering::SeqCst);
        let events = operations.into_iter().map(|operation| Event {
            called,
            returned,
            operation,
        });
        self.events.lock().unwrap().extend(events);
    }

    /// Asserts that the history is linearizable.
    #[track_caller]
    pub fn assert_is_allowed_by<S: Specification<Operation = O>>(&self, specification: &S)
    where
        O: Debug,
    {
        let mut events = self.events.lock().unwrap();
        events.sort_by_key(|event| event.called);
        let allowed = is_linearizable(specification, &events);
        assert!(allowed, "not linearizable: {:?}", lines(&events));
    }
}

fn lines<O: Debug>(events: &[Event<O>]) -> Vec<String> {
    events
        .iter()
        .map(|event| format!("{}-{} {:?}", event.called, event.returned, event.operation))
        .collect()
}

fn is_linearizable<S: Specification>(specification: &S, events: &[Event<S::Operation>]) -> bool {
    assert!(events.len() <= History::<()>::MOST, "too long a history");
    let all = (0..events.len()).fold(0_u64, |all, index| all | 1 << index);
    let mut seen = HashSet::new();
    let mut open = vec![(all, specification.begin())];
    while let Some((left, state)) = open.pop() {
        if left == 0 {
            return true;
        }
        let is_left = |index: &usize| left & 1 << index != 0;
        let indices = (0..events.len()).filter(is_left);
        let first_return = indices.clone().map(|index| events[index].returned).min();
        let candidates = indices.filter(|&index| Some(events[index].called) < first_return);
        for index in candidates {
            for after in specification.step(&state, &events[index].operation) {
                let next = (left & !(1 << index), after);
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Event, Specification, is_linearizable};

    /// A register that is 0 at first.
    struct Register;

    #[derive(Debug)]
    enum Access {
        Write(u32),
        Read(u32),
    }
    use Access::{Read, Write};

    impl Specification for Register {
        type Operation = Access;
        type State = u32;

        fn begin(&self) -> u32 {
            0
        }

        fn step(&self, state: &u32, access: &Access) -> Vec<u32> {
            match access {
                Write(value) => vec![*value],
                Read(value) if value == state => vec![*state],
                Read(_) => Vec::new(),
            }
        }
    }

    fn allowed(accesses: impl IntoIterator<Item = (u64, u64, Access)>) -> bool {
        let events: Vec<_> = accesses
            .into_iter()
            .map(|(called, returned, operation)| Event {
                called,
                returned,
                operation,
            })
            .collect();
        is_linearizable(&Register, &events)
    }

    #[test]
    fn what_follows_each_other_keeps_its_order() {
        assert!(allowed([]));
        assert!(allowed([
            (0, 1, Read(0)),
            (2, 3, Write(1)),
            (4, 5, Read(1))
        ]));
        assert!(!allowed([(0, 1, Write(1)), (2, 3, Read(0))]));
        assert!(!allowed([(0, 1, Read(1)), (2, 3, Write(1))]));
    }

    #[test]
    fn what_overlaps_may_come_in_either_order() {
        assert!(allowed([(0, 3, Write(1)), (1, 2, Read(0))]));
        assert!(allowed([(0, 3, Write(1)), (1, 2, Read(1))]));
        assert!(!allowed([(0, 3, Write(1)), (1, 2, Read(2))]));
    }

    #[test]
    fn a_write_does_not_come_and_go() {
        // Both reads overlap with the write, and the later one does not see what the earlier one
        // saw.
        assert!(!allowed([
            (0, 5, Write(1)),
            (1, 2, Read(1)),
            (3, 4, Read(0))
        ]));
        // Herlihy and Wing's: two that overlap are seen in one order by all.
        assert!(!allowed([
            (0, 3, Write(1)),
            (1, 2, Write(2)),
            (4, 5, Read(1)),
            (6, 7, Read(2)),
        ]));
    }

    #[test]
    fn a_search_goes_back_where_it_went_wrong() {
        assert!(allowed([
            (0, 9, Write(1)),
            (1, 8, Write(2)),
            (2, 7, Write(3)),
            (3, 4, Read(3)),
            (5, 6, Read(1)),
            (10, 11, Read(2)),
        ]));
    }
}
