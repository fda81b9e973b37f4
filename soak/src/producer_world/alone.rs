//! One producer, and every way to end it or let it go.

use fanfeed::{CancelToken, Subscription, SubscriptionError};

use crate::random::Random;
use crate::world::World;

use super::ending::{self, Errors};
use super::producer::{Run, Way, await_cancelled, producer_that};

/// What has come of it is what must or may have.
pub(super) fn check(
    world: &World,
    run: &Run,
    was_told: bool,
    was_watched: bool,
    error: Option<&SubscriptionError>,
) {
    let is_right = match error {
        Some(error) => run.may_have_failed_with(error),
        None => was_told || !was_watched || !run.fails(),
    };
    if !is_right {
        world.violated(
            format!("an error as of {run:?}, told to end: {was_told}"),
            format!("{error:?}"),
        );
    }
}

pub(super) fn episode(world: &'static World, random: &mut Random) {
    world.came.add(1);
    let way = Way::any(random);
    let (tell, token) = crossbeam_channel::bounded::<CancelToken>(1);
    let (run, producer) = producer_that(world, random, way, move |token, _| {
        let _ = tell.try_send(token.clone());
    });
    let subscription = Subscription::spawn(producer);
    let errors = Errors::of(&subscription, random);
    let mut closed = subscription.closed();
    super::rest(random);
    let ends_by_itself = way != Way::Waits;
    match random.below(4) {
        0 if ends_by_itself => {
            ending::await_end(world, closed);
            run.check_over(world, "once it has ended");
            // For no reason any more.
            subscription.unsubscribe();
            let error = errors.at_the_end(world, &subscription);
            check(world, &run, false, true, error.as_ref());
        }
        1 if ends_by_itself => {
            subscription.detach();
            ending::await_end(world, closed);
            run.check_over(world, "once it has ended, detached");
            let is_watched = errors.is_watched();
            let error = errors.once(world);
            check(world, &run, false, is_watched, error.as_ref());
        }
        2 => {
            drop(subscription);
            run.check_over(world, "once its handle was dropped");
            if !closed.wait_timeout(std::time::Duration::ZERO) {
                world.violated("an end with the handle", "none");
            }
            let error = errors.once(world);
            check(world, &run, true, true, error.as_ref());
        }
        _ => {
            let threads = random.between(1, 3);
            ending::unsubscribe(world, &subscription, threads, || {
                run.check_over(world, "once `unsubscribe` has returned");
            });
            let error = errors.at_the_end(world, &subscription);
            check(world, &run, true, true, error.as_ref());
        }
    }
    match token.try_recv() {
        Ok(token) => await_cancelled(world, &token),
        Err(_) => world.violated("a producer that was given a token", "none"),
    }
}
