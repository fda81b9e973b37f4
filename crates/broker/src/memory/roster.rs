//! The lanes of one key, which publishers read without a lock.
//!
//! The first 64 are in one array that is copied at each change and swapped. Beyond that there are chunks of 64, so that a
//! change copies 64 pointers however many lanes there are. A chunk keeps its place; one that has room is filled again.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use crate::dispatch::Lane;

const CHUNK: usize = 64;
/// The place of a lane in the first array. Others have the number of their chunk.
const FIRST: usize = usize::MAX;

type Lanes = Box<[Arc<Lane>]>;

pub(crate) struct Roster {
    first: ArcSwap<Lanes>,
    chunks: ArcSwapOption<Vec<Chunk>>,
    /// Held by those that change the roster.
    edit: Mutex<Edit>,
}

type Chunk = Arc<ArcSwap<Lanes>>;

#[derive(Default)]
struct Edit {
    count: usize,
    /// Chunks that have room.
    open: Vec<usize>,
}

impl Roster {
    pub(crate) fn new() -> Self {
        Self {
            first: ArcSwap::from_pointee(Lanes::default()),
            chunks: ArcSwapOption::empty(),
            edit: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn for_each(&self, mut f: impl FnMut(&Arc<Lane>)) {
        self.first.load().iter().for_each(&mut f);
        if let Some(chunks) = &*self.chunks.load() {
            for chunk in chunks.iter() {
                chunk.load().iter().for_each(&mut f);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.edit.lock().count == 0
    }

    pub(crate) fn add(&self, lane: &Arc<Lane>) {
        let mut edit = self.edit.lock();
        edit.count += 1;
        let first = self.first.load();
        if first.len() < CHUNK {
            lane.set_place(FIRST);
            self.first.store(Arc::new(with(&first, lane)));
            return;
        }
        let chunks = self.chunks.load_full();
        let at = match edit.open.last() {
            Some(at) => *at,
            None => {
                let mut grown = chunks.as_deref().cloned().unwrap_or_default();
                grown.push(Arc::new(ArcSwap::from_pointee(Lanes::default())));
                let at = grown.len() - 1;
                edit.open.push(at);
                self.chunks.store(Some(Arc::new(grown)));
                at
            }
        };
        lane.set_place(at);
        let chunks = self.chunks.load();
        let chunk = &chunks.as_ref().expect("there is a chunk")[at];
        let lanes = with(&chunk.load(), lane);
        if lanes.len() == CHUNK {
            edit.open.pop();
        }
        chunk.store(Arc::new(lanes));
    }

    pub(crate) fn remove(&self, lane: &Arc<Lane>) {
        let mut edit = self.edit.lock();
        let place = lane.place();
        if place == FIRST {
            let first = self.first.load();
            let lanes = without(&first, lane);
            edit.count -= first.len() - lanes.len();
            self.first.store(Arc::new(lanes));
            return;
        }
        let chunks = self.chunks.load();
        let Some(chunk) = chunks.as_ref().and_then(|chunks| chunks.get(place)) else {
            return;
        };
        let old = chunk.load();
        let lanes = without(&old, lane);
        edit.count -= old.len() - lanes.len();
        if old.len() == CHUNK && lanes.len() < CHUNK {
            edit.open.push(place);
        }
        chunk.store(Arc::new(lanes));
    }
}

fn with(lanes: &[Arc<Lane>], lane: &Arc<Lane>) -> Lanes {
    lanes.iter().chain([lane]).cloned().collect()
}

fn without(lanes: &[Arc<Lane>], lane: &Arc<Lane>) -> Lanes {
    let others = lanes.iter().filter(|other| !Arc::ptr_eq(other, lane));
    others.cloned().collect()
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster")
            .field("count", &self.edit.lock().count)
            .finish_non_exhaustive()
    }
}
