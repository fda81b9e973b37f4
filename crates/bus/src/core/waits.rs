//! Who waits for whom, so that a listener that waits for itself gets an error instead of a deadlock.
//!
//! A thread inside listeners keeps what it is inside of from ending: the buses of its visits, and the dispatch whose
//! asynchronous listener it runs. While such a thread waits for a bus or a dispatch, there is an edge from each of these to
//! what it waits for. A wait that would close a circle is refused. Edges are added and looked at under one lock, so of the
//! waits that would make up a circle the last one is refused.
//!
//! Waits of threads that are not inside a listener keep nothing from ending and have no edges.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::visits::visited_buses;
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
    /// The dispatch whose asynchronous listener this thread runs, or 0.
    static DISPATCH: Cell<u64> = const { Cell::new(0) };
}

/// Marks the calling thread as running an asynchronous listener of a dispatch.
pub(crate) struct Running {
    outer: u64,
}

impl Running {
    pub(crate) fn enter(dispatch: u64) -> Self {
        let outer = DISPATCH.try_with(|own| own.replace(dispatch));
        Self {
            outer: outer.unwrap_or(0),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = DISPATCH.try_with(|own| own.set(self.outer));
    }
}

/// A wait of a thread inside listeners. It is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Wait(Option<u64>);

impl Wait {
    /// Begins to wait for a bus or a dispatch.
    pub(crate) fn begin(to: u64) -> Result<Self, BusError> {
        let mut own = visited_buses();
        let dispatch = DISPATCH.try_with(Cell::get).unwrap_or(0);
        if dispatch > 0 {
            own.push(dispatch);
        }
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
