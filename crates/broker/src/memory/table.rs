//! The table of keys, which publishers read without a lock.
//!
//! It has 1,024 shards, each an arc-swapped snapshot in the order of the hashes. Adding or removing
//! a key copies its shard, about a thousandth of the table. A route is in the table only while it
//! has lanes.

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::dispatch::{Lane, Log};
use crate::key::Key;
use crate::message::Message;
use crate::sync::Mutex;

const SHARDS: usize = 1024;

pub(crate) struct Table {
    shards: Box<[Shard]>,
    random: RandomState,
    /// Distinguishes this table from the other tables of this process.
    number: u64,
}

/// The route to which a thread published last, if it did so twice in a row. Then the next publish
/// to it needs neither the hash nor the snapshot. A route that is no longer in the table has no
/// lanes.
struct Last {
    table: u64,
    hash: u64,
    route: Option<Arc<Route>>,
}

crate::sync::thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// The routes of a shard by the hashes of their keys, in order.
#[derive(Default, Clone)]
struct Routes(Vec<(u64, Arc<Route>)>);

impl Routes {
    #[inline]
    fn find(&self, hash: u64, key: &str) -> Option<usize> {
        let first = self.0.partition_point(|(other, _)| *other < hash);
        let same = self.0[first..]
            .iter()
            .take_while(|(other, _)| *other == hash);
        let at = same
            .map(|(_, route)| route)
            .position(|route| &*route.key == key)?;
        Some(first + at)
    }

    #[inline]
    fn get(&self, hash: u64, key: &str) -> Option<&Arc<Route>> {
        self.find(hash, key).map(|at| &self.0[at].1)
    }
}

#[derive(Default)]
struct Shard {
    routes: ArcSwapOption<Routes>,
    /// Held while a thread adds or removes lanes, so that no lane is added to a route that is being
    /// removed.
    edit: Mutex<()>,
}

/// The lanes of a key.
#[derive(Debug)]
pub(crate) struct Route {
    key: Arc<str>,
    log: Arc<Log>,
    groups: Mutex<Vec<Arc<Lane>>>,
}

impl Route {
    fn new(key: Arc<str>) -> Self {
        Self {
            key,
            log: Log::new(),
            groups: Mutex::default(),
        }
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Returns the lane of a group.
    pub(crate) fn group(&self, name: &str) -> Option<Arc<Lane>> {
        let groups = self.groups.lock();
        let lane = groups
            .iter()
            .find(|lane| lane.group().is_some_and(|group| &**group == name));
        lane.cloned()
    }

    /// Adds a lane. The lane of a group replaces an older one that was closed.
    pub(crate) fn add(&self, lane: &Arc<Lane>) {
        if let Some(name) = lane.group() {
            let mut groups = self.groups.lock();
            groups.retain(|other| other.group() != Some(name));
            groups.push(Arc::clone(lane));
        }
        self.log.add(lane);
    }

    /// Removes a lane, which has left the log.
    fn remove(&self, lane: &Arc<Lane>) {
        if lane.group().is_some() {
            self.groups.lock().retain(|other| !Arc::ptr_eq(other, lane));
        }
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default)
                .take(SHARDS)
                .collect(),
            random: RandomState::new(),
            number: {
                static NEXT: AtomicU64 = AtomicU64::new(0);
                NEXT.fetch_add(1, Ordering::Relaxed)
            },
        }
    }

    #[inline]
    fn shard(&self, key: &str) -> (&Shard, u64) {
        let hash = self.random.hash_one(key);
        (&self.shards[hash as usize % SHARDS], hash)
    }

    /// Calls `f` with the message and the route of its key. Returns the message if there is no
    /// route, or the route has no lanes. `f` must not wait, because this may hold a guard of the
    /// snapshot.
    #[inline]
    pub(crate) fn with(
        &self,
        message: Message,
        mut f: impl FnMut(&Route, Message) -> Option<Message>,
    ) -> Option<Message> {
        let mut message = Some(message);
        let hash = LAST.try_with(|last| {
            let last = last.borrow();
            let last = last.as_ref().filter(|last| last.table == self.number)?;
            if let Some(route) = &last.route
                && message
                    .as_ref()
                    .is_some_and(|message| *route.key == *message.key().as_str())
            {
                message = f(route, message.take()?);
                return None;
            }
            Some(last.hash)
        });
        let hash = hash.ok().flatten().unwrap_or_default();
        self.find_with(message?, hash, f)
    }

    fn find_with(
        &self,
        message: Message,
        last: u64,
        mut f: impl FnMut(&Route, Message) -> Option<Message>,
    ) -> Option<Message> {
        let key = message.key();
        let (shard, hash) = self.shard(key.as_str());
        let routes = shard.routes.load();
        let routes = routes.as_ref();
        let Some(route) = routes.and_then(|routes| routes.get(hash, key.as_str())) else {
            return Some(message);
        };
        let back = f(route, message);
        let last = Last {
            table: self.number,
            hash,
            route: (hash == last).then(|| Arc::clone(route)),
        };
        let old = LAST.try_with(|cell| cell.replace(Some(last)));
        drop(old);
        back
    }

    /// Changes the route of a key. Creates the route if there is none.
    pub(crate) fn edit<R>(&self, key: &Key, edit: impl FnOnce(&Route) -> R) -> R {
        let (shard, hash) = self.shard(key.as_str());
        let _editing = shard.edit.lock();
        let routes = shard.routes.load();
        let known = routes.as_ref();
        if let Some(route) = known.and_then(|routes| routes.get(hash, key.as_str())) {
            return edit(route);
        }
        let route = Arc::new(Route::new(Arc::clone(key.text())));
        let result = edit(&route);
        let old = known.map_or(&[][..], |routes| &routes.0);
        let (before, behind) = old.split_at(old.partition_point(|(other, _)| *other < hash));
        let new = [(hash, route)];
        let grown = before.iter().chain(&new).chain(behind);
        let grown = Routes(grown.cloned().collect());
        shard.routes.store(Some(Arc::new(grown)));
        result
    }

    /// Removes a lane, which has left its log, and its route if that was the last lane.
    pub(crate) fn remove(&self, lane: &Arc<Lane>) {
        let key = lane.key().as_str();
        let (shard, hash) = self.shard(key);
        let _editing = shard.edit.lock();
        let routes = shard.routes.load();
        let Some(routes) = routes.as_ref() else {
            return;
        };
        let Some(at) = routes.find(hash, key) else {
            return;
        };
        let route = &routes.0[at].1;
        route.remove(lane);
        if route.log.is_empty() {
            let (before, behind) = (&routes.0[..at], &routes.0[at + 1..]);
            let shrunk = Routes(before.iter().chain(behind).cloned().collect());
            let shrunk = (!shrunk.0.is_empty()).then(|| Arc::new(shrunk));
            shard.routes.store(shrunk);
        }
    }

    pub(crate) fn keys(&self) -> usize {
        let count = |shard: &Shard| {
            shard
                .routes
                .load()
                .as_ref()
                .map_or(0, |routes| routes.0.len())
        };
        self.shards.iter().map(count).sum()
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        let mut lanes = Vec::new();
        for shard in &self.shards {
            if let Some(routes) = &*shard.routes.load() {
                for (_, route) in &routes.0 {
                    route.log.for_each(|lane| lanes.push(Arc::clone(lane)));
                }
            }
        }
        lanes
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("keys", &self.keys())
            .finish_non_exhaustive()
    }
}
