//! The waits under way, and for what each waits, so that a listener that waits for itself gets an
//! error instead of a deadlock.
//!
//! A thread inside listeners keeps what it is inside of from ending: the buses of its visits, and
//! the dispatch whose asynchronous listeners it runs, with their buses. The latter includes the
//! destructors of the event and of the listener, which may run after the visit has ended. While
//! such a thread waits for a bus or a dispatch, there is an edge from each of these to what it
//! waits for. A wait that would close a circle is refused. Edges are added and looked at under one
//! lock, so of the waits that would make up a circle the last one is refused.
//!
//! Waits of threads that are not inside a listener keep nothing from ending and have no edges.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::Progress;
use crate::core::visits::{Inside, visited_buses};
use crate::error::BusError;
use crate::sync::thread_local;

/// The number of the next bus or dispatch.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number for a bus or a dispatch, unique in this process.
pub(crate) fn number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

struct Edge {
    wait: u64,
    from: u64,
    to: u64,
}

/// A leaf: no other lock is taken, and no user code runs, while it is held.
static EDGES: Mutex<Vec<Edge>> = Mutex::new(Vec::new());

thread_local! {
    /// The dispatches whose asynchronous listeners this thread runs, the innermost last.
    static RUNNING: RefCell<Vec<Run>> = const { RefCell::new(Vec::new()) };
}

/// A call of an asynchronous listener.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run {
    bus: u64,
    dispatch: u64,
}

/// Marks the calling thread as running an asynchronous listener of a dispatch.
pub(crate) struct Running {
    run: Run,
    _inside: Inside,
}

impl Running {
    pub(crate) fn enter(progress: &Progress) -> Self {
        let run = Run {
            bus: progress.shared.number,
            dispatch: progress.number(),
        };
        let _ = RUNNING.try_with(|running| running.borrow_mut().push(run));
        Self {
            run,
            _inside: Inside::enter(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| {
            let mut running = running.borrow_mut();
            if let Some(own) = running.iter().rposition(|each| *each == self.run) {
                running.remove(own);
            }
        });
    }
}

/// A wait of a thread inside listeners. It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Wait(Option<u64>);

impl Wait {
    /// Begins to wait for a bus or a dispatch.
    pub(crate) fn begin(to: u64) -> Result<Self, BusError> {
        let mut own = visited_buses();
        let _ = RUNNING.try_with(|running| {
            let running = running.borrow();
            own.extend(running.iter().flat_map(|run| [run.bus, run.dispatch]));
        });
        if own.is_empty() {
            return Ok(Self(None));
        }
        let mut edges = EDGES.lock().unwrap_or_else(PoisonError::into_inner);
        if leads_to(&edges, to, &own) {
            return Err(BusError::WouldDeadlock);
        }
        let wait = number();
        edges.extend(own.into_iter().map(|from| Edge { wait, from, to }));
        Ok(Self(Some(wait)))
    }
}

/// Whether one of `goals` is `from`, or what it waits for in turn.
fn leads_to(edges: &[Edge], from: u64, goals: &[u64]) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(&at) = reached.get(next) {
        if goals.contains(&at) {
            return true;
        }
        next += 1;
        for edge in edges.iter().filter(|edge| edge.from == at) {
            if !reached.contains(&edge.to) {
                reached.push(edge.to);
            }
        }
    }
    false
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(wait) = self.0 {
            let mut edges = EDGES.lock().unwrap_or_else(PoisonError::into_inner);
            edges.retain(|edge| edge.wait != wait);
        }
    }
}
