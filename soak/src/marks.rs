//! How far each sender has got, so that other threads know what they must have received.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::account::Edge;

/// How far one sender has come.
#[derive(Debug, Default)]
struct Mark {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// How far the senders of one generation have come, and where it ended.
#[derive(Debug)]
pub(crate) struct Marks {
    senders: Vec<CachePadded<Mark>>,
    ending: AtomicBool,
    end: OnceLock<Edge>,
}

impl Marks {
    pub(crate) fn new(senders: usize) -> Self {
        Self {
            senders: (0..senders).map(|_| CachePadded::default()).collect(),
            ending: AtomicBool::new(false),
            end: OnceLock::new(),
        }
    }

    pub(crate) fn senders(&self) -> usize {
        self.senders.len()
    }

    /// The sender is about to send so many more.
    pub(crate) fn begin(&self, sender: usize, count: u64) {
        self.senders[sender]
            .begun
            .fetch_add(count, Ordering::SeqCst);
    }

    /// What it was about to send is sent.
    pub(crate) fn end(&self, sender: usize) {
        let mark = &self.senders[sender];
        mark.ended
            .store(mark.begun.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// So many that it was about to send were not sent: their numbers are used again.
    pub(crate) fn take_back(&self, sender: usize, count: u64) {
        self.senders[sender]
            .begun
            .fetch_sub(count, Ordering::SeqCst);
    }

    /// The edge at which `act` takes place.
    pub(crate) fn around<R>(&self, act: impl FnOnce() -> R) -> (R, Edge) {
        let read = |which: fn(&Mark) -> &AtomicU64| {
            let marks = self.senders.iter();
            marks
                .map(|mark| which(mark).load(Ordering::SeqCst))
                .collect()
        };
        let low = read(|mark| &mark.ended);
        let is_over = self.ending.load(Ordering::SeqCst);
        let result = act();
        let high = read(|mark| &mark.begun);
        let mut edge = Edge { low, high };
        if is_over {
            // What was sent after the end reached nobody.
            edge.not_after(self.last());
        }
        (result, edge)
    }

    /// Ends the generation by `act`.
    pub(crate) fn close(&self, act: impl FnOnce()) {
        let ((), edge) = self.around(|| {
            self.ending.store(true, Ordering::SeqCst);
            act();
        });
        let _ = self.end.set(edge);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Where the generation ended, which it is about to if it has not. (Should it never, the
    /// watchdog says so.)
    pub(crate) fn last(&self) -> &Edge {
        loop {
            if let Some(end) = self.end.get() {
                return end;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// All that was sent. Exact once the senders have ended.
    pub(crate) fn sent(&self) -> u64 {
        let marks = self.senders.iter();
        marks.map(|mark| mark.ended.load(Ordering::SeqCst)).sum()
    }
}
