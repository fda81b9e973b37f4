//! A source that fails, and is retried.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Backoff, CancelToken, Subscription, SubscriptionError, resubscribe_with_error};

use crate::random::Random;
use crate::value::Value;
use crate::world::World;

use super::ending::{self, Errors};
use super::producer::{Fault, Run, Way, is_of, next_number, panic_of, producer};

/// How long an attempt may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// There is no subscription.
    Refused,
    /// The subscription ends in that way.
    Runs(Way),
    /// The subscription is of two, of which one waits and the other ends in that way.
    RunsBeside(Way),
    /// There is no further attempt.
    Panics,
}

impl Attempt {
    fn that_fails(random: &mut Random) -> Self {
        let way = Way::any_failure(random);
        random.pick(&[Self::Refused, Self::Runs(way), Self::RunsBeside(way)])
    }

    fn that_is_last(random: &mut Random) -> Self {
        random.pick(&[
            Self::Runs(Way::EndsWell),
            Self::Runs(Way::Waits),
            Self::Panics,
        ])
    }
}

/// What the attempts of one resubscription tell.
#[derive(Debug, Default)]
struct Tally {
    attempts: AtomicU64,
    /// Whether an attempt is being made.
    is_trying: AtomicBool,
    runs: Mutex<Vec<Arc<Run>>>,
}

/// Held while an attempt is made, and when one panics.
struct Trying(Arc<Tally>);

impl Drop for Trying {
    fn drop(&mut self) {
        self.0.is_trying.store(false, Ordering::SeqCst);
    }
}

impl Tally {
    fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::SeqCst)
    }

    /// Nothing of it goes on.
    fn check_over(&self, world: &World, when: &str) {
        if self.is_trying.load(Ordering::SeqCst) {
            world.violated(format!("{when}: no attempt is made"), format!("{self:?}"));
        }
        for run in self.runs.lock().expect("nobody panics with it").iter() {
            run.check_over(world, when);
        }
    }
}

/// What makes the attempts, one after the other.
struct Source {
    world: &'static World,
    script: std::vec::IntoIter<Attempt>,
    tally: Arc<Tally>,
    random: Random,
    /// What the attempt before failed with.
    before: Option<(u64, Way)>,
    /// All goes when the resubscription has ended.
    value: Value,
}

impl Source {
    fn attempt(
        &mut self,
        token: &CancelToken,
        last: Option<&SubscriptionError>,
    ) -> Result<Subscription, Fault> {
        let world = self.world;
        world.enter();
        self.value.read();
        if self.tally.is_trying.swap(true, Ordering::SeqCst) {
            world.violated("one attempt at a time", format!("{:?}", self.tally));
        }
        let trying = Trying(Arc::clone(&self.tally));
        self.tally.check_runs_before(world);
        self.tally.attempts.fetch_add(1, Ordering::SeqCst);
        let is_told = match (self.before, last) {
            (None, None) => true,
            (Some((number, way)), Some(error)) => is_of(error, number, way),
            _ => false,
        };
        if !is_told {
            world.violated(
                format!("why the attempt before failed: {:?}", self.before),
                format!("{last:?}"),
            );
        }
        let Some(attempt) = self.script.next() else {
            world.violated("no attempt after the one that ended it", "one more");
        };
        if self.random.once_in(8) {
            // Takes longer than the longest wait, and ends when it is told to.
            token.wait_timeout(Duration::from_millis(5));
        }
        let outcome = match attempt {
            Attempt::Refused => {
                let number = next_number();
                self.before = Some((number, Way::Fails));
                Err(Fault(number))
            }
            Attempt::Panics => world.provoke_as(panic_of(0)),
            Attempt::Runs(way) => Ok(self.spawn(way)),
            Attempt::RunsBeside(way) => {
                let waits = self.spawn(Way::Waits);
                Ok(Subscription::join([waits, self.spawn(way)]))
            }
        };
        drop(trying);
        outcome
    }

    fn spawn(&mut self, way: Way) -> Subscription {
        let (run, producer) = producer(self.world, &mut self.random, way);
        self.before = Some((run.number, way));
        let mut runs = self.tally.runs.lock().expect("nobody panics with it");
        runs.push(run);
        drop(runs);
        Subscription::spawn(producer)
    }
}

impl Tally {
    /// What the attempts before have spawned has ended.
    fn check_runs_before(&self, world: &World) {
        for run in self.runs.lock().expect("nobody panics with it").iter() {
            run.check_over(world, "before the next attempt");
        }
    }
}

pub(super) fn episode(world: &'static World, random: &mut Random) {
    world.came.add(1);
    let mut script: Vec<_> = (0..random.below(7))
        .map(|_| Attempt::that_fails(random))
        .collect();
    let last = Attempt::that_is_last(random);
    script.push(last);
    let all = script.len() as u64;
    let tally = Arc::new(Tally::default());
    let mut source = Source {
        world,
        script: script.into_iter(),
        tally: Arc::clone(&tally),
        random: random.fork(),
        before: None,
        value: Value::new(world, 0, 0, false),
    };
    let backoff = Backoff::with_seed(Duration::from_millis(random.below(4)), random.next());
    let again = resubscribe_with_error(backoff, move |token, last| {
        source.attempt(&token, last.as_ref())
    });
    let errors = Errors::of(&again, random);
    if random.once_in(3) {
        // At any time.
        super::rest(random);
        let made = end(world, &again, &tally, random);
        check_attempts(world, 0..=all, made);
        let error = errors.at_the_end(world, &again);
        check_error(
            world,
            last == Attempt::Panics && made == all,
            false,
            error.as_ref(),
        );
    } else if last == Attempt::Runs(Way::Waits) {
        // When the last attempt has been made.
        let deadline = Instant::now() + PATIENCE;
        while tally.attempts() < all {
            if Instant::now() >= deadline {
                world.violated(
                    format!("{all} attempts within {PATIENCE:?}"),
                    tally.attempts(),
                );
            }
            thread::sleep(Duration::from_micros(200));
        }
        let made = end(world, &again, &tally, random);
        check_attempts(world, all..=all, made);
        let error = errors.at_the_end(world, &again);
        check_error(world, false, false, error.as_ref());
    } else {
        // By itself.
        ending::await_end(world, again.closed());
        tally.check_over(world, "once the resubscription has ended");
        check_attempts(world, all..=all, tally.attempts());
        let error = errors.at_the_end(world, &again);
        let panics = last == Attempt::Panics;
        check_error(world, panics, panics, error.as_ref());
    }
}

/// Unsubscribes it, and says how many attempts were made.
fn end(world: &'static World, again: &Subscription, tally: &Tally, random: &mut Random) -> u64 {
    let threads = random.between(1, 2);
    ending::unsubscribe(world, again, threads, || {
        tally.check_over(world, "once the resubscription was unsubscribed");
    });
    tally.attempts()
}

fn check_attempts(world: &World, expected: std::ops::RangeInclusive<u64>, made: u64) {
    if !expected.contains(&made) {
        world.violated(format!("{expected:?} attempts"), made);
    }
}

/// Only the panic of an attempt is the resubscription's own error.
fn check_error(world: &World, may_be: bool, must_be: bool, error: Option<&SubscriptionError>) {
    let is_right = match error {
        Some(error) => may_be && is_of(error, 0, Way::Panics),
        None => !must_be,
    };
    if !is_right {
        world.violated(
            format!("the panic of an attempt; may be: {may_be}, must be: {must_be}"),
            format!("{error:?}"),
        );
    }
}
