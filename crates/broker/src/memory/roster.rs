//! A roster: the lanes of one key, which publishers read without a lock.
//!
//! The first 64 are in one array that is copied at each change and swapped. Beyond that there are chunks of 64, so that a
//! change copies 64 pointers however many lanes there are. A chunk keeps its place; one that has room is filled again.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::dispatch::Lane;
use crate::sync::Mutex;

const CHUNK: usize = 64;
/// Marks a lane in the first array. Other lanes have the number of their chunk.
const FIRST: usize = usize::MAX;

type Lanes = Box<[Arc<Lane>]>;

pub(crate) struct Roster {
    lists: ArcSwap<Lists>,
    /// Held by threads that change the roster.
    edit: Mutex<Edit>,
}

#[derive(Default)]
struct Lists {
    first: Lanes,
    chunks: Option<Arc<[Chunk]>>,
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
            lists: ArcSwap::from_pointee(Lists::default()),
            edit: Mutex::default(),
        }
    }

    pub(crate) fn for_each(&self, mut f: impl FnMut(&Arc<Lane>)) {
        self.give((), |lane, ()| f(lane));
    }

    /// Gives each lane a clone of a value. Without chunks, the last lane gets the value itself.
    #[inline]
    pub(crate) fn give<T: Clone>(&self, value: T, mut f: impl FnMut(&Arc<Lane>, T)) {
        let lists = self.lists.load();
        let Some(chunks) = &lists.chunks else {
            if let Some((last, others)) = lists.first.split_last() {
                give_clones(others, &value, &mut f);
                f(last, value);
            }
            return;
        };
        give_clones(&lists.first, &value, &mut f);
        for chunk in chunks.iter() {
            give_clones(&chunk.load(), &value, &mut f);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.edit.lock().count == 0
    }

    pub(crate) fn add(&self, lane: &Arc<Lane>) {
        let mut edit = self.edit.lock();
        edit.count += 1;
        let lists = self.lists.load();
        if lists.first.len() < CHUNK {
            lane.set_place(FIRST);
            self.set_first(&lists, with(&lists.first, lane));
            return;
        }
        let at = match edit.open.last() {
            Some(at) => *at,
            None => {
                let chunks = lists.chunks.iter().flat_map(|chunks| chunks.iter());
                let new = Arc::new(ArcSwap::from_pointee(Lanes::default()));
                let grown: Arc<[Chunk]> = chunks.cloned().chain([new]).collect();
                let at = grown.len() - 1;
                edit.open.push(at);
                self.lists.store(Arc::new(Lists {
                    first: lists.first.clone(),
                    chunks: Some(grown),
                }));
                at
            }
        };
        lane.set_place(at);
        let lists = self.lists.load();
        let chunk = &lists.chunks.as_ref().expect("there is a chunk")[at];
        let lanes = with(&chunk.load(), lane);
        if lanes.len() == CHUNK {
            edit.open.pop();
        }
        chunk.store(Arc::new(lanes));
    }

    pub(crate) fn remove(&self, lane: &Arc<Lane>) {
        let mut edit = self.edit.lock();
        let place = lane.place();
        let lists = self.lists.load();
        if place == FIRST {
            let lanes = without(&lists.first, lane);
            edit.count -= lists.first.len() - lanes.len();
            self.set_first(&lists, lanes);
            return;
        }
        let chunks = lists.chunks.as_ref();
        let Some(chunk) = chunks.and_then(|chunks| chunks.get(place)) else {
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

    fn set_first(&self, lists: &Lists, first: Lanes) {
        self.lists.store(Arc::new(Lists {
            first,
            chunks: lists.chunks.clone(),
        }));
    }
}

/// All clones are made before the first one is given away: after that, other threads drop theirs and contend for the count.
#[inline]
fn give_clones<T: Clone>(lanes: &[Arc<Lane>], value: &T, mut f: impl FnMut(&Arc<Lane>, T)) {
    let clones: Vec<T> = lanes.iter().map(|_| value.clone()).collect();
    lanes
        .iter()
        .zip(clones)
        .for_each(|(lane, clone)| f(lane, clone));
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
