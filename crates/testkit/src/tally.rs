//! Which of `n` numbered messages arrived.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use crate::wait::wait_until_within;

/// Counts the arrivals of messages that are numbered from 0.
#[derive(Debug)]
pub struct Tally {
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    times: Vec<u32>,
    order: Vec<usize>,
    strangers: Vec<usize>,
}

/// The report of a [`Tally`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The number of expected messages.
    pub expected: usize,
    /// The numbers that have not arrived.
    pub missing: Vec<usize>,
    /// The numbers that arrived more than once.
    pub repeated: Vec<usize>,
    /// The numbers that were not expected.
    pub strangers: Vec<usize>,
}

impl Tally {
    /// Makes a tally that expects the messages `0..expected`.
    pub fn new(expected: usize) -> Self {
        Tally {
            seen: Mutex::new(Seen {
                times: vec![0; expected],
                order: Vec::new(),
                strangers: Vec::new(),
            }),
        }
    }

    /// Records one arrival.
    pub fn saw(&self, number: usize) {
        let mut seen = self.seen.lock().unwrap();
        match seen.times.get_mut(number) {
            Some(times) => {
                *times += 1;
                seen.order.push(number);
            }
            None => seen.strangers.push(number),
        }
    }

    /// The number of arrivals, including repeated ones.
    pub fn arrivals(&self) -> usize {
        self.seen.lock().unwrap().order.len()
    }

    /// How many different messages arrived.
    pub fn different(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.times.iter().filter(|&&times| times > 0).count()
    }

    /// The numbers in the order of their arrival.
    pub fn order(&self) -> Vec<usize> {
        self.seen.lock().unwrap().order.clone()
    }

    /// Returns a report of the arrivals so far.
    pub fn report(&self) -> Report {
        let seen = self.seen.lock().unwrap();
        let numbers = |wanted: fn(u32) -> bool| {
            let times = seen.times.iter().enumerate();
            times
                .filter(|(_, times)| wanted(**times))
                .map(|(number, _)| number)
                .collect()
        };
        Report {
            expected: seen.times.len(),
            missing: numbers(|times| times == 0),
            repeated: numbers(|times| times > 1),
            strangers: seen.strangers.clone(),
        }
    }

    /// Waits up to `limit` until every message arrived at least once.
    ///
    /// # Panics
    /// After `limit`, with the report.
    #[track_caller]
    pub fn wait_complete(&self, limit: Duration) {
        let expected = self.seen.lock().unwrap().times.len();
        let started = std::time::Instant::now();
        while self.different() < expected {
            assert!(
                started.elapsed() < limit,
                "waited {limit:?} in vain for all messages: {}",
                self.report()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits up to `limit` until at least `n` different messages arrived.
    ///
    /// # Panics
    /// After `limit`.
    #[track_caller]
    pub fn wait_for(&self, n: usize, limit: Duration) {
        wait_until_within(limit, &format!("{n} messages arrive"), || {
            self.different() >= n
        });
    }

    /// Checks that each message arrived exactly once.
    ///
    /// # Panics
    /// If a message did not, with the report.
    #[track_caller]
    pub fn assert_exactly_once(&self) {
        let report = self.report();
        assert!(report.is_exactly_once(), "{report}");
    }
}

impl Report {
    /// Whether each message arrived exactly once, and nothing else.
    pub fn is_exactly_once(&self) -> bool {
        self.is_complete() && self.repeated.is_empty()
    }

    /// Whether each message arrived at least once, and nothing else.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.strangers.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |numbers: &[usize]| {
            let first: Vec<_> = numbers.iter().take(10).map(usize::to_string).collect();
            format!("{} ({})", numbers.len(), first.join(", "))
        };
        write!(
            f,
            "of {} messages missing {}, repeated {}, never expected {}",
            self.expected,
            some(&self.missing),
            some(&self.repeated),
            some(&self.strangers)
        )
    }
}
