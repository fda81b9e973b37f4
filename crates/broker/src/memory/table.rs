//! The table of keys, which publishers read without a lock.
//!
//! It is 1,024 shards, each an arc-swapped snapshot in the order of the hashes: a key that comes or goes copies its shard,
//! about a thousandth of the table. A route is in the table only while it has lanes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::roster::Roster;
use crate::dispatch::Lane;
use crate::key::Key;
use crate::message::Message;
use crate::sync::Mutex;

const SHARDS: usize = 1024;

pub(crate) struct Table {
    shards: Box<[Shard]>,
    random: RandomState,
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
    /// Held by threads that add and remove lanes, so that no lane is added to a route that is being removed.
    edit: Mutex<()>,
}

/// What a key leads to.
#[derive(Debug)]
pub(crate) struct Route {
    key: Arc<str>,
    roster: Roster,
    groups: Mutex<Vec<Arc<Lane>>>,
}

impl Route {
    fn new(key: Arc<str>) -> Self {
        Self {
            key,
            roster: Roster::new(),
            groups: Mutex::default(),
        }
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The lane of a group.
    pub(crate) fn group(&self, name: &str) -> Option<Arc<Lane>> {
        let groups = self.groups.lock();
        let lane = groups
            .iter()
            .find(|lane| lane.group().is_some_and(|group| &**group == name));
        lane.cloned()
    }

    /// Adds a lane. A group's lane replaces an older one that was closed.
    pub(crate) fn add(&self, lane: &Arc<Lane>) {
        if let Some(name) = lane.group() {
            let mut groups = self.groups.lock();
            groups.retain(|other| other.group() != Some(name));
            groups.push(Arc::clone(lane));
        }
        self.roster.add(lane);
    }

    fn remove(&self, lane: &Arc<Lane>) {
        if lane.group().is_some() {
            self.groups.lock().retain(|other| !Arc::ptr_eq(other, lane));
        }
        self.roster.remove(lane);
    }
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Shard::default)
                .take(SHARDS)
                .collect(),
            random: RandomState::new(),
        }
    }

    #[inline]
    fn shard(&self, key: &str) -> (&Shard, u64) {
        let hash = self.random.hash_one(key);
        (&self.shards[hash as usize % SHARDS], hash)
    }

    /// Calls `f` with the message and the route of its key, or gives the message back if there is none. `f` must not wait:
    /// this holds a guard of the snapshot.
    #[inline]
    pub(crate) fn with(
        &self,
        message: Message,
        f: impl FnOnce(&Route, Message),
    ) -> Option<Message> {
        let key = message.key();
        let (shard, hash) = self.shard(key.as_str());
        let routes = shard.routes.load();
        let routes = routes.as_ref();
        if let Some(route) = routes.and_then(|routes| routes.get(hash, key.as_str())) {
            f(route, message);
            return None;
        }
        Some(message)
    }

    /// Changes the route of a key, which is made if there is none.
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

    /// Takes a lane out, and with the last one its route.
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
        if route.roster.is_empty() {
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
                    route.roster.for_each(|lane| lanes.push(Arc::clone(lane)));
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
