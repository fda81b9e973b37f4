//! The counts of a world, for the watchdog and the table.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shard::Sum;
use crate::violation;

thread_local! {
    static CURRENT: Cell<Option<&'static World>> = const { Cell::new(None) };
}

/// A part of the soak that runs beside the others, generation after generation.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) seed: u64,
    pub(crate) sent: Sum,
    pub(crate) delivered: Sum,
    pub(crate) missed: Sum,
    pub(crate) provoked: Sum,
    pub(crate) came: Sum,
    pub(crate) went: Sum,
    pub(crate) generations: AtomicU64,
    /// Values made, by `new` or by cloning, and values dropped.
    pub(crate) created: Sum,
    pub(crate) dropped: Sum,
    /// A description of the current generation, for violations and dumps.
    pub(crate) about: Mutex<String>,
}

impl World {
    /// A world that lives as long as the process: there are a handful.
    pub(crate) fn new(name: String, seed: u64) -> &'static Self {
        Box::leak(Box::new(Self {
            name,
            seed,
            sent: Sum::new(),
            delivered: Sum::new(),
            missed: Sum::new(),
            provoked: Sum::new(),
            came: Sum::new(),
            went: Sum::new(),
            generations: AtomicU64::new(0),
            created: Sum::new(),
            dropped: Sum::new(),
            about: Mutex::new(String::new()),
        }))
    }

    /// This thread works for this world from now on.
    pub(crate) fn enter(&'static self) {
        CURRENT.set(Some(self));
    }

    /// The world that this thread works for.
    pub(crate) fn current() -> &'static Self {
        CURRENT
            .get()
            .expect("a thread enters its world before it makes values")
    }

    pub(crate) fn begin(&self, about: String) {
        *self.about.lock().expect("nobody panics with it") = about;
    }

    /// A generation has ended: whatever it made is gone.
    pub(crate) fn end(&self) {
        let (created, dropped) = (self.created.get(), self.dropped.get());
        if created != dropped {
            self.violated(
                format!("{created} values dropped, as many as were made"),
                dropped,
            );
        }
        self.generations.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn violated(&self, expected: impl Display, seen: impl Display) -> ! {
        violation::report(self, &expected.to_string(), &seen.to_string())
    }

    /// Reports what an account or the like has found.
    #[track_caller]
    pub(crate) fn demand<T>(&self, who: &str, result: Result<T, crate::account::Wrong>) -> T {
        match result {
            Ok(value) => value,
            Err(wrong) => self.violated(format!("{who}: {}", wrong.expected), wrong.seen),
        }
    }

    /// Panics in a way that is no violation: without the hook, which reports all others.
    pub(crate) fn provoke(&self) -> ! {
        self.provoke_as("provoked".to_owned())
    }

    /// As [`provoke`](Self::provoke), with a message that tells it from others.
    pub(crate) fn provoke_as(&self, message: String) -> ! {
        self.provoked.add(1);
        std::panic::resume_unwind(Box::new(message))
    }

    pub(crate) fn live_values(&self) -> i64 {
        // In this order, so that a value that is made and dropped in between does not count as
        // negative.
        let dropped = self.dropped.get();
        self.created.get() - dropped
    }
}
