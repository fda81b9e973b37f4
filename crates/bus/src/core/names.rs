//! The routes of the names, in a tree of which a copy with one change shares the rest.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::core::table::Route;

/// How many names a leaf has at most, unless their hashes are the same.
const MOST: usize = 32;
/// How many bits of the hash choose a child of a branch.
const BITS: u32 = 4;
const CHILDREN: usize = 1 << BITS;

/// A map that is copied for each change of the table. It is a tree over the hashes of the names. A
/// copy shares all nodes except those on the way to the name that then changes: with `n` names it
/// takes `log n` steps instead of `n`.
#[derive(Clone)]
pub(crate) struct Names {
    hasher: RandomState,
    root: Arc<Node>,
}

#[derive(Clone)]
enum Node {
    Leaf(Vec<Named>),
    Branch {
        /// How many names are below.
        len: usize,
        children: [Arc<Node>; CHILDREN],
    },
}

#[derive(Clone)]
struct Named {
    hash: u64,
    route: Arc<Route>,
}

impl Named {
    #[inline]
    fn is(&self, hash: u64, name: &str) -> bool {
        self.hash == hash && *self.route.name == *name
    }
}

/// The child of a branch at this depth, in bits.
#[inline]
fn child(hash: u64, depth: u32) -> usize {
    (hash >> depth) as usize % CHILDREN
}

impl Node {
    fn empty() -> Self {
        Self::Leaf(Vec::new())
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(each) => each.len(),
            Self::Branch { len, .. } => *len,
        }
    }

    /// True if the name is new.
    fn insert(&mut self, new: Named, depth: u32) -> bool {
        match self {
            Self::Leaf(each) => {
                let old = each
                    .iter_mut()
                    .find(|old| old.is(new.hash, &new.route.name));
                if let Some(old) = old {
                    *old = new;
                    return false;
                }
                each.push(new);
                if each.len() > MOST && depth < u64::BITS {
                    self.split(depth);
                }
                true
            }
            Self::Branch { len, children } => {
                let child = Arc::make_mut(&mut children[child(new.hash, depth)]);
                let is_new = child.insert(new, depth + BITS);
                *len += usize::from(is_new);
                is_new
            }
        }
    }

    /// Makes a branch of a leaf.
    fn split(&mut self, depth: u32) {
        let mut leaves = [const { Vec::new() }; CHILDREN];
        let len = self.len();
        self.take_into(&mut |named| leaves[child(named.hash, depth)].push(named.clone()));
        let children = leaves.map(|leaf| Arc::new(Self::Leaf(leaf)));
        *self = Self::Branch { len, children };
    }

    fn take_into(&self, take: &mut dyn FnMut(&Named)) {
        match self {
            Self::Leaf(each) => each.iter().for_each(take),
            Self::Branch { children, .. } => {
                children.iter().for_each(|child| child.take_into(take));
            }
        }
    }

    /// True if the name was there.
    fn remove(&mut self, hash: u64, name: &str, depth: u32) -> bool {
        match self {
            Self::Leaf(each) => {
                let at = each.iter().position(|named| named.is(hash, name));
                at.map(|at| each.swap_remove(at)).is_some()
            }
            Self::Branch { len, children } => {
                let child = Arc::make_mut(&mut children[child(hash, depth)]);
                if !child.remove(hash, name, depth + BITS) {
                    return false;
                }
                *len -= 1;
                // Far below `MOST`, so that names that come and go at the limit do not split and
                // join at each step.
                if *len < MOST / 4 {
                    let mut rest = Vec::with_capacity(*len);
                    self.take_into(&mut |named| rest.push(named.clone()));
                    *self = Self::Leaf(rest);
                }
                true
            }
        }
    }

    fn replace_all(&mut self, replace: &mut dyn FnMut(&Route) -> Arc<Route>) {
        match self {
            Self::Leaf(each) => {
                for named in each {
                    named.route = replace(&named.route);
                }
            }
            Self::Branch { children, .. } => {
                for child in children {
                    Arc::make_mut(child).replace_all(replace);
                }
            }
        }
    }
}

impl Names {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            root: Arc::new(Node::empty()),
        }
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Route>> {
        let hash = self.hasher.hash_one(name);
        let (mut node, mut depth) = (&*self.root, 0);
        loop {
            match node {
                Node::Leaf(each) => {
                    let mut each = each.iter();
                    return each
                        .find(|named| named.is(hash, name))
                        .map(|named| &named.route);
                }
                Node::Branch { children, .. } => {
                    node = &children[child(hash, depth)];
                    depth += BITS;
                }
            }
        }
    }

    /// Sets the route of its name.
    pub(crate) fn insert(&mut self, route: Arc<Route>) {
        let hash = self.hasher.hash_one(&*route.name);
        Arc::make_mut(&mut self.root).insert(Named { hash, route }, 0);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if self.get(name).is_some() {
            let hash = self.hasher.hash_one(name);
            Arc::make_mut(&mut self.root).remove(hash, name, 0);
        }
    }

    /// All routes.
    pub(crate) fn routes(&self) -> Vec<Arc<Route>> {
        let mut routes = Vec::with_capacity(self.root.len());
        self.root
            .take_into(&mut |named| routes.push(Arc::clone(&named.route)));
        routes
    }

    /// Replaces all routes. It copies all nodes.
    pub(crate) fn replace_all(&mut self, mut replace: impl FnMut(&Route) -> Arc<Route>) {
        Arc::make_mut(&mut self.root).replace_all(&mut replace);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::{MOST, Named, Names, Node};
    use crate::core::table::Route;

    fn route(name: &str) -> Arc<Route> {
        Route::new(name.into(), Box::default())
    }

    #[test]
    fn names_are_found_while_nodes_split_and_join_and_copies_stay_as_they_were() {
        let mut names = Names::new();
        let all: Vec<_> = (0..40 * MOST).map(|at| format!("name.{at}")).collect();
        for (at, name) in all.iter().enumerate() {
            let before = names.clone();
            names.insert(route(name));
            assert!(names.get(name).is_some() && before.get(name).is_none());
            assert_eq!((names.root.len(), before.root.len()), (at + 1, at));
        }
        let same = route(&all[0]);
        names.insert(Arc::clone(&same));
        assert!(Arc::ptr_eq(names.get(&all[0]).unwrap(), &same));
        let routes = names.routes().into_iter();
        let found: HashSet<_> = routes.map(|route| route.name.to_string()).collect();
        assert_eq!(found, all.iter().cloned().collect());
        let before = names.clone();
        names.replace_all(|route| Route::new(Arc::clone(&route.name), Box::default()));
        assert!(Arc::ptr_eq(before.get(&all[0]).unwrap(), &same));
        assert!(!Arc::ptr_eq(names.get(&all[0]).unwrap(), &same));
        for (at, name) in all.iter().enumerate().rev() {
            names.remove(name);
            names.remove(name);
            assert!(names.get(name).is_none());
            assert_eq!(names.root.len(), at);
        }
        assert!(matches!(&*names.root, Node::Leaf(rest) if rest.is_empty()));
    }

    #[test]
    fn names_of_one_hash_stay_in_one_leaf() {
        let mut node = Node::empty();
        let names: Vec<_> = (0..4 * MOST).map(|at| format!("name.{at}")).collect();
        for name in &names {
            let route = route(name);
            assert!(node.insert(Named { hash: 7, route }, 0));
        }
        assert_eq!(node.len(), names.len());
        for name in &names {
            assert!(node.remove(7, name, 0) && !node.remove(7, name, 0));
        }
        assert_eq!(node.len(), 0);
    }
}
