//! The table of keys, which publishers read without a lock.
//!
//! It is 1,024 maps, each an arc-swapped snapshot: a key that comes or goes copies the map of its shard, about a thousandth
//! of the table. A route is in the table only while it has lanes.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;

use super::roster::Roster;
use crate::dispatch::Lane;
use crate::key::Key;

const SHARDS: usize = 1024;

pub(crate) struct Table {
    shards: Box<[Shard]>,
    random: RandomState,
}

type Routes = HashMap<Arc<str>, Arc<Route>>;

#[derive(Default)]
struct Shard {
    routes: ArcSwapOption<Routes>,
    /// Held by those that add and remove lanes, so that no lane is added to a route that is being removed.
    edit: Mutex<()>,
}

/// What a key leads to.
#[derive(Debug)]
pub(crate) struct Route {
    roster: Roster,
    groups: Mutex<Vec<Arc<Lane>>>,
}

impl Route {
    fn new() -> Self {
        Self {
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

    /// Adds a lane. One of a group takes the place of an older one that was closed.
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

    fn shard(&self, key: &str) -> &Shard {
        // The map takes the low bits of its own hash.
        let hash = self.random.hash_one(key);
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// Calls `f` with the route of a key, if there is one. It must not wait: it holds a guard of the snapshot.
    #[inline]
    pub(crate) fn with(&self, key: &Key, f: impl FnOnce(&Route)) {
        let routes = self.shard(key.as_str()).routes.load();
        if let Some(route) = routes.as_ref().and_then(|routes| routes.get(key.as_str())) {
            f(route);
        }
    }

    /// Changes the route of a key, which is made if there is none.
    pub(crate) fn edit<R>(&self, key: &Key, edit: impl FnOnce(&Route) -> R) -> R {
        let shard = self.shard(key.as_str());
        let _editing = shard.edit.lock();
        let routes = shard.routes.load();
        if let Some(route) = routes.as_ref().and_then(|routes| routes.get(key.as_str())) {
            return edit(route);
        }
        let route = Arc::new(Route::new());
        let result = edit(&route);
        let mut grown = routes.as_deref().cloned().unwrap_or_default();
        grown.insert(Arc::clone(key.text()), route);
        shard.routes.store(Some(Arc::new(grown)));
        result
    }

    /// Takes a lane out, and with the last one its route.
    pub(crate) fn remove(&self, lane: &Arc<Lane>) {
        let key = lane.key().as_str();
        let shard = self.shard(key);
        let _editing = shard.edit.lock();
        let routes = shard.routes.load();
        let Some(routes) = routes.as_ref() else {
            return;
        };
        let Some(route) = routes.get(key) else { return };
        route.remove(lane);
        if route.roster.is_empty() {
            let mut shrunk = Routes::clone(routes);
            shrunk.remove(key);
            let shrunk = (!shrunk.is_empty()).then(|| Arc::new(shrunk));
            shard.routes.store(shrunk);
        }
    }

    pub(crate) fn keys(&self) -> usize {
        let count = |shard: &Shard| {
            shard
                .routes
                .load()
                .as_ref()
                .map_or(0, |routes| routes.len())
        };
        self.shards.iter().map(count).sum()
    }

    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        let mut lanes = Vec::new();
        for shard in &self.shards {
            if let Some(routes) = &*shard.routes.load() {
                for route in routes.values() {
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
