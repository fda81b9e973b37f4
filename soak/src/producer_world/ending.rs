//! The end of a subscription, as other threads see it.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};
use fanfeed::{Closed, Stats, Subscription, SubscriptionError};

use crate::random::Random;
use crate::world::World;

/// How long what ends by itself may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The receivers of one subscription's error: some that were there before its end.
pub(super) struct Errors(Vec<Receiver<SubscriptionError>>);

impl Errors {
    /// Receivers of the error that are made before the end; at times none.
    pub(super) fn of(subscription: &Subscription, random: &mut Random) -> Self {
        let early = random.below(3);
        Self((0..early).map(|_| subscription.err()).collect())
    }

    /// Checks a subscription that has ended, by receivers from before its end and from after it.
    pub(super) fn at_the_end(
        mut self,
        world: &'static World,
        subscription: &Subscription,
    ) -> Option<SubscriptionError> {
        if !subscription.is_closed() {
            world.violated("a subscription that has ended", format!("{subscription:?}"));
        }
        if subscription.stats() != Stats::default() {
            world.violated(
                "figures that stay at zero",
                format!("{:?}", subscription.stats()),
            );
        }
        self.0.push(subscription.err());
        self.once(world)
    }

    /// The one error that all of them have between them, if there is one, when the subscription has
    /// ended.
    pub(super) fn once(self, world: &'static World) -> Option<SubscriptionError> {
        world.delivered.add(1);
        world.went.add(1);
        let mut came = Vec::new();
        thread::scope(|scope| {
            let mut receivers = self.0.iter();
            let mine = receivers.next();
            // The others at the same time.
            let others: Vec<_> = receivers
                .map(|receiver| scope.spawn(|| all_of(world, receiver)))
                .collect();
            came.extend(mine.into_iter().flat_map(|mine| all_of(world, mine)));
            for other in others {
                came.extend(other.join().into_iter().flatten());
            }
        });
        if came.len() > 1 {
            world.violated(
                "at most one error, to one of all receivers",
                format!("{came:?}"),
            );
        }
        came.pop()
    }

    /// Whether anybody looked before the end, so that an error cannot go unseen.
    pub(super) fn is_watched(&self) -> bool {
        !self.0.is_empty()
    }
}

/// All that comes on the error channel of a subscription that has ended.
fn all_of(world: &World, errors: &Receiver<SubscriptionError>) -> Vec<SubscriptionError> {
    let mut came = Vec::new();
    loop {
        match errors.try_recv() {
            Ok(error) => came.push(error),
            Err(TryRecvError::Disconnected) => return came,
            Err(TryRecvError::Empty) => world.violated(
                "the error channel of what has ended is disconnected",
                "it is not",
            ),
        }
    }
}

/// Waits for what ends by itself.
pub(super) fn await_end(world: &World, mut closed: Closed) {
    if !closed.wait_timeout(PATIENCE) {
        world.violated(format!("an end within {PATIENCE:?}"), format!("{closed:?}"));
    }
}

/// Unsubscribes from so many threads at once. Each of them looks when its call has returned.
pub(super) fn unsubscribe(
    world: &'static World,
    subscription: &Subscription,
    threads: u64,
    look: impl Fn() + Sync,
) {
    let unsubscribe = || {
        subscription.unsubscribe();
        if !subscription.is_closed() {
            world.violated("an end by `unsubscribe`", format!("{subscription:?}"));
        }
        look();
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| {
                world.enter();
                unsubscribe();
            });
        }
        unsubscribe();
    });
}
