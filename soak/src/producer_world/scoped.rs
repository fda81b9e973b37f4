//! A scope that several threads close at the same time, while others track.

use std::sync::{Arc, Mutex};
use std::thread;

use fanfeed::{Subscription, SubscriptionScope};

use crate::random::Random;
use crate::world::World;

use super::alone;
use super::ending::Errors;
use super::producer::{Run, Way, producer, producer_that};

/// What a thread that tracks has left to look at.
struct Kept {
    run: Arc<Run>,
    errors: Errors,
    /// Unless it was left to the scope alone.
    subscription: Option<Subscription>,
}

pub(super) fn episode(world: &'static World, random: &mut Random) {
    let scope = Arc::new(SubscriptionScope::new());
    // What `track` has given back.
    let tracked = Mutex::new(Vec::new());
    let trackers = random.between(1, 2);
    let closers = random.between(1, 2);
    let kept = thread::scope(|threads| {
        let (scope, tracked) = (&scope, &tracked);
        for _ in 0..closers {
            let mut random = random.fork();
            threads.spawn(move || {
                world.enter();
                super::rest(&mut random);
                close(world, scope, tracked);
            });
        }
        let trackers: Vec<_> = (0..trackers)
            .map(|_| {
                let mut random = random.fork();
                threads.spawn(move || {
                    world.enter();
                    track(world, scope, tracked, &mut random)
                })
            })
            .collect();
        let kept = trackers.into_iter().flat_map(|tracker| tracker.join());
        kept.flatten().collect::<Vec<_>>()
    });
    // Closed once more when no thread tracks any more: a producer that closed it may have been the
    // first, and waits for no other.
    close(world, &scope, &tracked);
    if !scope.is_closed() || scope.count() != 0 {
        world.violated("an empty scope that was closed", format!("{scope:?}"));
    }
    for kept in kept {
        kept.run.check_over(world, "once its scope was closed");
        let error = match &kept.subscription {
            Some(subscription) => kept.errors.at_the_end(world, subscription),
            None => kept.errors.once(world),
        };
        alone::check(world, &kept.run, true, true, error.as_ref());
    }
}

/// All that was tracked before has ended when `close` returns.
fn close(world: &World, scope: &SubscriptionScope, tracked: &Mutex<Vec<Arc<Run>>>) {
    let before = tracked.lock().expect("nobody panics with it").clone();
    scope.close();
    for run in before {
        run.check_over(world, "once the scope that tracks it was closed");
    }
}

/// Tracks until the scope is closed, or for long enough.
fn track(
    world: &'static World,
    scope: &Arc<SubscriptionScope>,
    tracked: &Mutex<Vec<Arc<Run>>>,
    random: &mut Random,
) -> Vec<Kept> {
    let mut kept = Vec::new();
    for _ in 0..random.between(1, 10) {
        world.came.add(1);
        let (run, subscription) = spawn(world, scope, random);
        let errors = Errors::of(&subscription, random);
        let Some(subscription) = scope.track(subscription) else {
            run.check_over(world, "once a closed scope has refused it");
            if !scope.is_closed() {
                world.violated("an open scope that tracks", format!("{scope:?}"));
            }
            let error = errors.once(world);
            alone::check(world, &run, true, true, error.as_ref());
            break;
        };
        tracked
            .lock()
            .expect("nobody panics with it")
            .push(Arc::clone(&run));
        let subscription = if random.once_in(3) {
            subscription.detach();
            None
        } else {
            Some(subscription)
        };
        kept.push(Kept {
            run,
            errors,
            subscription,
        });
        super::rest(random);
    }
    kept
}

fn spawn(
    world: &'static World,
    scope: &Arc<SubscriptionScope>,
    random: &mut Random,
) -> (Arc<Run>, Subscription) {
    let way = Way::any(random);
    if !random.once_in(12) {
        let (run, producer) = producer(world, random, way);
        return (run, Subscription::spawn(producer));
    }
    // One that closes the scope itself, which does not wait for itself.
    let scope = Arc::downgrade(scope);
    let (run, producer) = producer_that(world, random, way, move |_, _| {
        if let Some(scope) = scope.upgrade() {
            scope.close();
        }
    });
    (run, Subscription::spawn(producer))
}
