//! Counters that `stats` shows and the feature `metrics` reports.

use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "metrics")]
use super::quietly;

/// A count of events.
pub(crate) struct Counter {
    count: AtomicU64,
    /// What was counted and has to be reported.
    #[cfg(all(feature = "metrics", feature = "server"))]
    noted: AtomicU64,
    #[cfg(feature = "metrics")]
    meter: metrics::Counter,
}

impl Counter {
    /// A counter that is not exported.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        Self {
            count: AtomicU64::new(0),
            #[cfg(all(feature = "metrics", feature = "server"))]
            noted: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            meter: metrics::Counter::noop(),
        }
    }

    /// A counter that the recorder of the program knows by this name.
    pub(crate) fn registered(_name: &'static str, _text: &'static str) -> Self {
        Self {
            count: AtomicU64::new(0),
            #[cfg(all(feature = "metrics", feature = "server"))]
            noted: AtomicU64::new(0),
            #[cfg(feature = "metrics")]
            meter: {
                metrics::describe_counter!(_name, _text.trim());
                metrics::counter!(_name)
            },
        }
    }

    /// Called without any lock: the recorder is the program's code, and may use the server or the
    /// client.
    pub(crate) fn add(&self, n: u64) {
        self.count.fetch_add(n, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        quietly(|| self.meter.increment(n));
    }

    /// Counts where a lock may be held. The recorder learns of it by [`report`](Self::report).
    #[cfg(feature = "server")]
    pub(crate) fn note(&self, n: u64) {
        self.count.fetch_add(n, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.noted.fetch_add(n, Ordering::Relaxed);
    }

    /// Reports what was noted. Called without any lock.
    #[cfg(feature = "server")]
    pub(crate) fn report(&self) {
        // ORDERING: a thread reports after it has noted, and the number is all that there is to
        // see. One call gets it.
        #[cfg(feature = "metrics")]
        if self.noted.load(Ordering::Relaxed) > 0 {
            let n = self.noted.swap(0, Ordering::Relaxed);
            if n > 0 {
                quietly(|| self.meter.increment(n));
            }
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Defines the counters of a server or a client, and the public struct that shows them.
macro_rules! counters {
    (
        $(#[$of_stats:meta])*
        stats $Stats:ident { $($(#[doc = $of_gauge:literal])+ $gauge:ident,)* }
        counters $Counters:ident, prefix $prefix:literal {
            $($(#[doc = $doc:literal])+ $name:ident,)+
        }
    ) => {
        $(#[$of_stats])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $Stats {
            $($(#[doc = $of_gauge])+ pub $gauge: usize,)*
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        pub(super) struct $Counters {
            $(pub(super) $name: $crate::observe::Counter,)+
        }

        impl $Counters {
            /// Asks the recorder of the program for its counters, if there is one.
            pub(super) fn registered() -> Self {
                Self {
                    $($name: $crate::observe::Counter::registered(
                        concat!($prefix, stringify!($name), "_total"),
                        concat!($($doc),+),
                    ),)+
                }
            }

            #[cfg(test)]
            #[allow(dead_code, reason = "the counters of the client are in no unit test")]
            pub(super) fn alone() -> Self {
                Self { $($name: $crate::observe::Counter::alone(),)+ }
            }

            pub(super) fn snapshot(&self, $($gauge: usize),*) -> $Stats {
                $Stats {
                    $($gauge,)*
                    $($name: self.$name.get(),)+
                }
            }
        }
    };
}

pub(crate) use counters;
