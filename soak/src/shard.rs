//! Counters that many threads increment without contention.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

const SHARDS: usize = 16;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Without a destructor and without an allocation, because the allocator counts, too.
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

fn shard() -> usize {
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

/// A sum of what all threads have added.
#[derive(Debug)]
pub(crate) struct Sum([CachePadded<AtomicI64>; SHARDS]);

impl Sum {
    pub(crate) const fn new() -> Self {
        Self([const { CachePadded::new(AtomicI64::new(0)) }; SHARDS])
    }

    pub(crate) fn add(&self, count: i64) {
        self.0[shard()].fetch_add(count, Ordering::Relaxed);
    }

    /// Exact once nobody adds any more, and that is known by a join or the like.
    pub(crate) fn get(&self) -> i64 {
        self.0.iter().map(|part| part.load(Ordering::Relaxed)).sum()
    }
}
