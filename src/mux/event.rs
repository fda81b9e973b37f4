//! An event as its subscribers get it.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use crate::traits::debug_struct;

/// An event of a [`TypeMux`](crate::TypeMux), with the time at which it was posted.
///
/// Cloning it does not copy the event: all subscribers share the posted event, which is dropped
/// with the last handle.
///
/// The time is an [`Instant`], which never runs backwards. A subscription relies on it to see no
/// event that is older than itself. If the time of day matters, put a
/// [`SystemTime`](std::time::SystemTime) into the event.
#[derive(Clone)]
#[doc(alias = "TypeMuxEvent")]
pub struct Event {
    time: Instant,
    data: Arc<dyn Any + Send + Sync>,
}

impl Event {
    /// An event posted now.
    pub(super) fn new<E: Any + Send + Sync>(event: E) -> Self {
        Self {
            data: Arc::new(event),
            time: Instant::now(),
        }
    }

    /// When the event was posted.
    pub fn time(&self) -> Instant {
        self.time
    }

    /// The posted event.
    pub fn data(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.data
    }

    /// Whether the posted event is of this type.
    pub fn is<E: Any>(&self) -> bool {
        self.data.is::<E>()
    }

    /// The posted event, if it is of this type.
    pub fn downcast_ref<E: Any>(&self) -> Option<&E> {
        self.data.downcast_ref()
    }

    /// The posted event, if it is of this type, to be kept without the time.
    ///
    /// # Errors
    ///
    /// `self`, if the event is of another type.
    pub fn downcast<E: Any + Send + Sync>(self) -> Result<Arc<E>, Self> {
        let time = self.time;
        self.data.downcast().map_err(|data| Event { time, data })
    }
}

debug_struct!(Event, |this| Event { time: this.time });
