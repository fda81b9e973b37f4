//! The types of events that a subscription is for.

use std::any::{Any, TypeId, type_name};

/// A tuple of one to twelve types of events: `(Started,)`, `(Started, Stopped)`.
///
/// It names types and holds no values. A single type is a tuple too, so that a subscription to `(A,
/// B)` is never mistaken for a subscription to pairs; that would be `((A, B),)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of event types",
    note = "a single type of events is written `(Event,)`",
    note = "at most twelve types fit; `SubscriberBuilder::and` adds more",
    note = "each type must be `'static + Send + Sync`, as a posted event must be"
)]
pub trait EventTypes: sealed::Sealed {}

mod sealed {
    use super::EventType;

    pub trait Sealed {
        /// The types of the tuple, in order.
        fn list() -> Vec<EventType>;
    }
}

macro_rules! tuples {
    ($first:ident $($rest:ident)*) => {
        impl<$first, $($rest),*> EventTypes for ($first, $($rest,)*)
        where
            $first: Any + Send + Sync,
            $($rest: Any + Send + Sync,)*
        {
        }

        impl<$first, $($rest),*> sealed::Sealed for ($first, $($rest,)*)
        where
            $first: Any + Send + Sync,
            $($rest: Any + Send + Sync,)*
        {
            fn list() -> Vec<EventType> {
                vec![EventType::of::<$first>(), $(EventType::of::<$rest>()),*]
            }
        }

        tuples!($($rest)*);
    };
    () => {};
}

tuples!(A B C D E F G H I J K L);

/// One type of events.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    id: TypeId,
    name: &'static str,
}

impl EventType {
    fn of<T: Any>() -> Self {
        Self {
            id: TypeId::of::<T>(),
            name: type_name::<T>(),
        }
    }
}

/// Types of events, each once, and at least one.
#[derive(Debug, Clone)]
pub(super) struct TypeSet(Vec<EventType>);

impl TypeSet {
    #[track_caller]
    pub(super) fn of<Types: EventTypes>() -> Self {
        let mut set = Self(Vec::new());
        for event_type in Types::list() {
            set.insert(event_type);
        }
        set
    }

    #[track_caller]
    pub(super) fn add<T: Any>(&mut self) {
        self.insert(EventType::of::<T>());
    }

    #[track_caller]
    fn insert(&mut self, new: EventType) {
        let is_known = self.0.iter().any(|known| known.id == new.id);
        assert!(
            !is_known,
            "the type `{}` is listed twice in one subscription",
            new.name
        );
        self.0.push(new);
    }

    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = TypeId> {
        self.0.iter().map(|event_type| event_type.id)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|event_type| event_type.name)
    }
}
