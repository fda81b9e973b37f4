//! Many producers as one: the first failure ends all of them.

use std::sync::Arc;

use fanfeed::{Subscription, SubscriptionError};

use crate::random::Random;
use crate::world::World;

use super::alone;
use super::ending::{self, Errors};
use super::producer::{Run, Way, producer};

/// Producers that were joined, in one tier or two.
struct Members {
    runs: Vec<Arc<Run>>,
    /// For each run, the receivers of its own subscription's error.
    errors: Vec<Errors>,
}

impl Members {
    fn check_over(&self, world: &World, when: &str) {
        for run in &self.runs {
            run.check_over(world, when);
        }
    }

    fn spawn(&mut self, world: &'static World, random: &mut Random, way: Way) -> Subscription {
        world.came.add(1);
        let (run, producer) = producer(world, random, way);
        let subscription = Subscription::spawn(producer);
        self.runs.push(run);
        self.errors.push(Errors::of(&subscription, random));
        subscription
    }

    /// Holds the error of the whole against those of its members, of which any may have been told
    /// to end.
    fn settle(self, world: &'static World, was_told: bool, whole: Option<&SubscriptionError>) {
        let may_be = |error| self.runs.iter().any(|run| run.may_have_failed_with(error));
        let must_fail = !was_told && self.runs.iter().any(|run| run.fails());
        if whole.map_or(must_fail, |error| !may_be(error)) {
            world.violated(
                format!(
                    "the error of one of {:?}, told to end: {was_told}",
                    self.runs
                ),
                format!("{whole:?}"),
            );
        }
        let is_told = was_told || whole.is_some();
        for (run, errors) in self.runs.iter().zip(self.errors) {
            let is_watched = errors.is_watched();
            let error = errors.once(world);
            // Whose error the whole has was told by nobody.
            let is_the_one = whole.is_some_and(|whole| run.may_have_failed_with(whole));
            let is_told = is_told && !is_the_one;
            alone::check(world, run, is_told, is_watched, error.as_ref());
        }
    }
}

pub(super) fn episode(world: &'static World, random: &mut Random) {
    world.came.add(1);
    let ends_by_itself = random.once_in(2);
    // A failure, or an unsubscribe, ends the producers that wait.
    let with_failure = random.once_in(2);
    let mut members = Members {
        runs: Vec::new(),
        errors: Vec::new(),
    };
    let mut joined = Vec::new();
    for _ in 0..random.between(u64::from(ends_by_itself), 6) {
        let way = match Way::any(random) {
            Way::Waits | Way::Fails | Way::Panics if ends_by_itself && !with_failure => {
                Way::EndsWell
            }
            way => way,
        };
        joined.push(members.spawn(world, random, way));
        if random.once_in(4) {
            // Those so far are one among the others.
            world.came.add(1);
            world.went.add(1);
            joined = vec![Subscription::join(joined)];
        }
    }
    if with_failure {
        let way = Way::any_failure(random);
        joined.push(members.spawn(world, random, way));
    }
    let joined = Subscription::join(joined);
    let errors = Errors::of(&joined, random);
    let closed = joined.closed();
    super::rest(random);
    if !ends_by_itself {
        let threads = random.between(1, 2);
        ending::unsubscribe(world, &joined, threads, || {
            members.check_over(world, "once all were unsubscribed as one");
        });
        let error = errors.at_the_end(world, &joined);
        members.settle(world, true, error.as_ref());
    } else if random.once_in(4) && errors.is_watched() {
        joined.detach();
        ending::await_end(world, closed);
        members.check_over(world, "once all have ended as one, detached");
        let error = errors.once(world);
        members.settle(world, false, error.as_ref());
    } else {
        ending::await_end(world, closed);
        members.check_over(world, "once all have ended as one");
        let error = errors.at_the_end(world, &joined);
        members.settle(world, false, error.as_ref());
    }
}
