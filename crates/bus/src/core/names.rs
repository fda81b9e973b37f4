//! The routes of the names, in a map of which a copy with one change shares the rest.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::table::Route;

/// How many names a shard has on average, at most.
const MOST: usize = 64;

type Shard = HashMap<Arc<str>, Arc<Route>>;

/// A map that is copied for each change of the table. A copy shares all shards but the one that then changes: with `n` names
/// it takes `n / MOST + MOST` steps instead of `n`.
#[derive(Clone)]
pub(crate) struct Names {
    /// A power of two.
    shards: Vec<Arc<Shard>>,
    len: usize,
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            shards: vec![Arc::default()],
            len: 0,
        }
    }

    fn place(&self, name: &str) -> usize {
        // Only names that all fall into one shard would make a change slow, as it is without shards.
        let mix = |hash: usize, byte: u8| {
            let hash = (hash ^ usize::from(byte)).wrapping_mul(0x9e37_79b9);
            hash ^ (hash >> 15)
        };
        match self.shards.len() {
            1 => 0,
            count => name.bytes().fold(count, mix) & (count - 1),
        }
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Route>> {
        self.shards[self.place(name)].get(name)
    }

    /// Sets the route of its name.
    pub(crate) fn insert(&mut self, route: Arc<Route>) {
        let place = self.place(&route.name);
        let old = Arc::make_mut(&mut self.shards[place]).insert(Arc::clone(&route.name), route);
        self.len += usize::from(old.is_none());
        if self.len > MOST * self.shards.len() {
            self.spread(self.shards.len() * 2);
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let place = self.place(name);
        let old = Arc::make_mut(&mut self.shards[place]).remove(name);
        self.len -= usize::from(old.is_some());
        if self.shards.len() > 1 && self.len < MOST / 4 * self.shards.len() {
            self.spread(self.shards.len() / 2);
        }
    }

    /// Distributes the names over so many shards.
    fn spread(&mut self, count: usize) {
        let old = std::mem::take(&mut self.shards);
        let mut shards = vec![Shard::default(); count];
        self.shards = vec![Arc::default(); count];
        for (name, route) in old.iter().flat_map(|shard| &**shard) {
            shards[self.place(name)].insert(Arc::clone(name), Arc::clone(route));
        }
        self.shards = shards.into_iter().map(Arc::new).collect();
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.shards.iter().flat_map(|shard| shard.keys())
    }

    /// All routes, to be replaced. It copies all shards.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Arc<Route>> {
        let shards = self.shards.iter_mut();
        shards.flat_map(|shard| Arc::make_mut(shard).values_mut())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::{MOST, Names};
    use crate::core::table::Route;

    #[test]
    fn names_are_found_while_shards_come_and_go_and_copies_stay_as_they_were() {
        let mut names = Names::new();
        let all: Vec<_> = (0..40 * MOST).map(|at| format!("name.{at}")).collect();
        for (at, name) in all.iter().enumerate() {
            let before = names.clone();
            names.insert(Route::new(name.as_str().into(), Box::default()));
            assert!(names.get(name).is_some() && before.get(name).is_none());
            assert_eq!((names.len, before.len), (at + 1, at));
        }
        assert_eq!(names.shards.len(), 64);
        let largest = names.shards.iter().map(|shard| shard.len()).max();
        assert!(largest < Some(2 * MOST), "{largest:?}");
        let same = Route::new(all[0].as_str().into(), Box::default());
        names.insert(Arc::clone(&same));
        assert!(Arc::ptr_eq(names.get(&all[0]).unwrap(), &same));
        let keys: HashSet<_> = names.keys().map(|name| name.to_string()).collect();
        assert_eq!(keys, all.iter().cloned().collect());
        for (at, name) in all.iter().enumerate().rev() {
            names.remove(name);
            names.remove(name);
            assert!(names.get(name).is_none() && names.len == at);
        }
        assert_eq!(names.shards.len(), 1);
    }
}
