//! The table of listeners: a snapshot that is replaced as a whole, under a lock, and read without
//! one.

use std::any::TypeId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::core::names::Names;
use crate::core::source::{Entry, Place, Run};

/// The listeners that get the events of one name, in the order in which they were registered.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(crate) listeners: Box<[Arc<Entry>]>,
    /// Whether a listener outlives the call of `dispatch`.
    pub(crate) is_asynchronous: bool,
}

impl Route {
    pub(crate) fn new(name: Arc<str>, listeners: Box<[Arc<Entry>]>) -> Arc<Self> {
        let mut each = listeners.iter();
        Arc::new(Self {
            name,
            is_asynchronous: each.any(|entry| !matches!(entry.run, Run::Here)),
            listeners,
        })
    }

    /// Whether a listener was registered for this name.
    fn is_wanted(&self) -> bool {
        let mut each = self.listeners.iter();
        each.any(|entry| entry.source.place != Place::All)
    }
}

/// A route for each name that has listeners, and the same by the type of the event, since a type is
/// found sooner than a name. A program has few types, and may make many names.
#[derive(Clone)]
pub(crate) struct Table {
    names: Names,
    types: HashMap<TypeId, Arc<Route>, BuildHasherDefault<TypeHasher>>,
    /// For events of all other names.
    all: Arc<Route>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            names: Names::new(),
            types: HashMap::default(),
            all: Route::new("".into(), Box::default()),
        }
    }

    /// The route of a type of events that is dispatched under this name.
    #[inline]
    pub(crate) fn route(&self, of: TypeId, name: &str) -> &Route {
        match self.types.get(&of) {
            Some(route) => route,
            None => self.route_of_name(name),
        }
    }

    #[inline(never)]
    pub(crate) fn route_of_name(&self, name: &str) -> &Route {
        self.names.get(name).unwrap_or(&self.all)
    }

    /// The table with one more listener.
    pub(crate) fn with(&self, entry: &Arc<Entry>, typed: Option<TypeId>) -> Self {
        let mut table = self.clone();
        let add = |route: &Route, name: &Arc<str>| {
            let each = route.listeners.iter().chain([entry]).cloned();
            Route::new(Arc::clone(name), each.collect())
        };
        match &entry.source.place {
            Place::Name(name) => {
                let route = add(self.names.get(name).unwrap_or(&self.all), name);
                if let Some(typed) = typed {
                    table.types.insert(typed, Arc::clone(&route));
                }
                table.set(route);
            }
            Place::All => {
                table.all = add(&self.all, &self.all.name);
                table.names.replace_all(|route| add(route, &route.name));
                table.set_types();
            }
        }
        table
    }

    /// Replaces the route of a name.
    fn set(&mut self, route: Arc<Route>) {
        let each = self.types.values_mut();
        for typed in each.filter(|typed| typed.name == route.name) {
            *typed = Arc::clone(&route);
        }
        self.names.insert(route);
    }

    /// The table without the listeners of a place that `is_gone`.
    pub(crate) fn without(&self, place: &Place, is_gone: impl Fn(&Entry) -> bool) -> Self {
        let mut table = self.clone();
        let rest = |route: &Route| {
            let rest = route.listeners.iter().filter(|entry| !is_gone(entry));
            Route::new(Arc::clone(&route.name), rest.cloned().collect())
        };
        match place {
            Place::Name(name) => {
                let route = self.names.get(name).map(|route| rest(route));
                match route.filter(|route| route.is_wanted()) {
                    Some(route) => table.set(route),
                    None => {
                        table.names.remove(name);
                        table.types.retain(|_, typed| typed.name != *name);
                    }
                }
            }
            Place::All => {
                table.names.replace_all(rest);
                table.all = rest(&self.all);
                table.set_types();
            }
        }
        table
    }

    /// Lets all types have the routes of their names.
    fn set_types(&mut self) {
        for typed in self.types.values_mut() {
            if let Some(route) = self.names.get(&typed.name) {
                *typed = Arc::clone(route);
            }
        }
    }

    /// The listeners that were registered for this name.
    pub(crate) fn of_name(&self, name: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let route = self.names.get(name).into_iter();
        let each = route.flat_map(|route| &route.listeners);
        each.filter(|entry| entry.source.place != Place::All)
    }

    /// Whether there is a listener for all events.
    #[cfg(feature = "broker")]
    pub(crate) fn has_listeners_for_all(&self) -> bool {
        !self.all.listeners.is_empty()
    }

    /// All listeners.
    pub(crate) fn each(&self) -> Vec<Arc<Entry>> {
        let mut each = self.all.listeners.to_vec();
        for route in self.names.routes() {
            let of_name = route.listeners.iter();
            each.extend(
                of_name
                    .filter(|entry| entry.source.place != Place::All)
                    .cloned(),
            );
        }
        each
    }
}

/// A [`TypeId`] is a hash already.
#[derive(Default)]
pub(crate) struct TypeHasher(u64);

impl Hasher for TypeHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
