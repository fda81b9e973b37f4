//! The async twins of what waits for a broker.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fanfeed::Subscription;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bus::EventBus;
use crate::dispatch::Dispatch;
use crate::error::BusError;
use crate::event::Event;
use crate::register::Register;
#[cfg(feature = "redis")]
use crate::remote::config::BusConfig;
use crate::remote::confirmed;
use crate::remote::registry::EventRegistry;
use crate::twins::aside;

/// Between processes, in async code, with the features `broker` and `tokio`.
///
/// These wait for the server on a thread of their own, from when they are first polled.
impl EventBus {
    /// [`register_with`](Self::register_with) for async code. If the future is dropped, the
    /// listener is unregistered.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub fn register_with_async(
        &self,
        register: Register,
    ) -> impl Future<Output = Result<Subscription, BusError>> + Send + use<> {
        let bus = self.clone();
        aside("fanfeed-bus-register", move || bus.register_with(register))
    }

    /// [`register_type_as`](Self::register_type_as) for async code.
    ///
    /// # Errors
    ///
    /// As [`register_type`](Self::register_type).
    pub fn register_type_as_async<E: Event + Serialize + DeserializeOwned>(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(), BusError>> + Send + use<E> {
        let (bus, name) = (self.clone(), Arc::<str>::from(name));
        aside("fanfeed-bus-register", move || {
            bus.register_type_as::<E>(name)
        })
    }

    /// [`dispatch_confirmed`](Self::dispatch_confirmed) for async code. It begins when it is first
    /// polled. The thread that waits for the server calls the local listeners, even if the future
    /// is not polled again. If the future is dropped before, no local listener is called, and other
    /// processes may get the event all the same.
    ///
    /// Each call has a thread of its own until the server has the event, so bound how many of them
    /// wait at the same time. Two calls that wait at the same time may publish in either order. If
    /// the system has no thread left, the call blocks the thread that polls it.
    ///
    /// # Errors
    ///
    /// As [`dispatch_confirmed`](Self::dispatch_confirmed).
    pub fn dispatch_confirmed_async<E: Event>(
        &self,
        event: E,
        timeout: Duration,
    ) -> impl Future<Output = Result<Dispatch, BusError>> + Send + use<E> {
        confirmed::dispatch_async(Arc::clone(self.shared()), event, timeout)
    }

    /// [`from_config`](Self::from_config) for async code.
    ///
    /// # Errors
    ///
    /// As [`from_config`](Self::from_config).
    #[cfg(feature = "redis")]
    pub fn from_config_async(
        config: impl Into<BusConfig>,
    ) -> impl Future<Output = Result<Self, BusError>> + Send {
        let config = config.into();
        aside("fanfeed-bus-connect", move || Self::from_config(config))
    }
}

impl EventRegistry {
    /// [`register_as`](Self::register_as) for async code.
    ///
    /// # Errors
    ///
    /// As [`register_as`](Self::register_as).
    pub fn register_as_async<E: Event + Serialize + DeserializeOwned>(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<(), BusError>> + Send + use<E> {
        let (registry, name) = (self.clone(), Arc::<str>::from(name));
        aside("fanfeed-bus-register", move || {
            registry.register_as::<E>(name)
        })
    }
}
