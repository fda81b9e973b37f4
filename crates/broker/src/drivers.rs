//! Choosing a driver at run time, by URL.

use std::fmt;
use std::sync::Arc;

use crate::broker::Broker;
use crate::driver::{Driver, unknown_scheme};
use crate::error::ConnectError;
use crate::memory::MemoryBroker;

/// The drivers that a program knows. `memory:` is always there.
///
/// ```
/// use fanfeed_broker::{Broker, Drivers};
///
/// // With `.with(fanfeed_redis::driver())`, `redis://..` would work too.
/// let drivers = Drivers::new();
/// let broker = drivers.connect("memory:")?;
/// assert_eq!(broker.driver(), "memory");
/// assert_eq!(
///     drivers.connect("carrier-pigeon://loft").err().unwrap().to_string(),
///     "no driver is known for `carrier-pigeon:`: the known schemes are memory; add the driver with `Drivers::with`",
/// );
/// # Ok::<(), fanfeed_broker::ConnectError>(())
/// ```
#[derive(Clone, Default)]
pub struct Drivers {
    drivers: Vec<Arc<dyn Driver>>,
}

impl Drivers {
    /// Only the memory driver.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a driver. If two drivers have the same scheme, the one that was added last is used.
    #[must_use]
    pub fn with(mut self, driver: impl Driver + 'static) -> Self {
        self.drivers.push(Arc::new(driver));
        self
    }

    /// Connects, and fails if the server cannot be reached within the driver's timeout. `memory:` makes a new broker each
    /// time.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]. None of them holds the URL or a password.
    pub fn connect(&self, url: &str) -> Result<Arc<dyn Broker>, ConnectError> {
        self.open(url, false)
    }

    /// As [`connect`](Self::connect), but a server that is away is no error: the broker tries again until it is connected,
    /// and subscriptions are pending meanwhile.
    ///
    /// # Errors
    ///
    /// If the URL cannot be used.
    pub fn connect_lazy(&self, url: &str) -> Result<Arc<dyn Broker>, ConnectError> {
        self.open(url, true)
    }

    fn open(&self, url: &str, lazy: bool) -> Result<Arc<dyn Broker>, ConnectError> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(ConnectError::BadUrl(
                "it has no scheme: it has to begin with one, such as `memory:` or `redis://`"
                    .into(),
            ));
        };
        let scheme = scheme.to_ascii_lowercase();
        let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_empty() || !scheme.chars().all(letters) {
            return Err(ConnectError::BadUrl(
                "its scheme is empty or has characters other than letters, digits, `+`, `-` and `.`".into(),
            ));
        }
        let known = self
            .drivers
            .iter()
            .rev()
            .find(|driver| driver.schemes().contains(&&*scheme));
        if let Some(driver) = known {
            return driver.connect(url, lazy);
        }
        if scheme == "memory" {
            return match rest {
                "" | "//" => Ok(Arc::new(MemoryBroker::new())),
                _ => Err(ConnectError::BadUrl(
                    "`memory:` takes nothing after the colon".into(),
                )),
            };
        }
        Err(unknown_scheme(url, &self.schemes().join(", ")))
    }

    /// The schemes that have drivers.
    pub fn schemes(&self) -> Vec<&'static str> {
        let mut schemes = vec!["memory"];
        schemes.extend(self.drivers.iter().flat_map(|driver| driver.schemes()));
        schemes.sort_unstable();
        schemes.dedup();
        schemes
    }
}

impl fmt::Debug for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drivers")
            .field("schemes", &self.schemes())
            .finish()
    }
}
