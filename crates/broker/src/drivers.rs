//! Chooses a driver at run time, by URL.

use std::fmt;
use std::sync::Arc;

use crate::broker::Broker;
use crate::driver::{Driver, EngineOptions, unknown_scheme};
use crate::error::ConnectError;
use crate::memory::MemoryOptions;

/// The drivers that a program can choose from. `memory:` is always among them.
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

    /// Connects to the server of the URL. Fails if the server cannot be reached within the driver's
    /// timeout. `memory:` makes a new broker each time.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]. None of them holds the URL or a password.
    pub fn connect(&self, url: &str) -> Result<Arc<dyn Broker>, ConnectError> {
        self.connect_with(url, EngineOptions::new())
    }

    /// The async variant of [`connect`](Self::connect). It waits on one of the runtime's threads
    /// for blocking work. If the future is dropped, the broker is still made, and then dropped.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn connect_async(
        &self,
        url: &str,
    ) -> impl Future<Output = Result<Arc<dyn Broker>, ConnectError>> + Send + use<> {
        self.connect_with_async(url, EngineOptions::new())
    }

    /// The async variant of [`connect_with`](Self::connect_with), which waits as
    /// [`connect_async`](Self::connect_async) does.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn connect_with_async(
        &self,
        url: &str,
        options: EngineOptions,
    ) -> impl Future<Output = Result<Arc<dyn Broker>, ConnectError>> + Send + use<> {
        let (drivers, url) = (self.clone(), url.to_owned());
        crate::asynchronous::blocking(move || drivers.connect_with(&url, options))
    }

    /// As [`connect`](Self::connect), but an unreachable server is not an error: the broker tries
    /// again until it is connected. Subscriptions are pending while it is not.
    /// [`health`](Broker::health) says why it is not connected.
    ///
    /// # Errors
    ///
    /// If the URL cannot be used.
    pub fn connect_lazy(&self, url: &str) -> Result<Arc<dyn Broker>, ConnectError> {
        self.connect_with(url, EngineOptions::new().lazy(true))
    }

    /// As [`connect`](Self::connect), with options: a logger, the pool, the queue to the server,
    /// timeouts, or [`lazy`](EngineOptions::lazy). `memory:` uses only the logger and the pool,
    /// because the other options are about a server. The options of a single driver are in its URL.
    ///
    /// ```
    /// use fanfeed_broker::driver::EngineOptions;
    /// use fanfeed_broker::{Broker, Drivers, PoolOptions};
    ///
    /// let options = EngineOptions::new()
    ///     .logger(|event| eprintln!("{event}"))
    ///     .pool(PoolOptions::new().limit(64))
    ///     .queue(1000);
    /// let url = std::env::var("BROKER").unwrap_or_else(|_| "memory:".into());
    /// let broker = Drivers::new().connect_with(&url, options)?;
    /// # Ok::<(), fanfeed_broker::ConnectError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_with(
        &self,
        url: &str,
        options: EngineOptions,
    ) -> Result<Arc<dyn Broker>, ConnectError> {
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
            return driver.connect(url, options);
        }
        if scheme == "memory" {
            return match rest {
                "" | "//" => Ok(Arc::new(MemoryOptions::from(options).build())),
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
