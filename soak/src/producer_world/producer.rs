//! A producer that records what it did, so that other threads can compare that with its
//! subscription.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{after, select};
use fanfeed::{CancelToken, SubscriptionError};

use crate::random::Random;
use crate::value::Value;
use crate::world::World;

/// How long it may take until a token shows that its producer has ended.
const PATIENCE: Duration = Duration::from_secs(20);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// What a producer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    EndsWell,
    Fails,
    Panics,
    /// Until its token is cancelled. Then it ends in one way or another, which is no failure.
    Waits,
}

impl Way {
    pub(super) fn any(random: &mut Random) -> Self {
        random.pick(&[Self::EndsWell, Self::Fails, Self::Panics, Self::Waits])
    }

    pub(super) fn any_failure(random: &mut Random) -> Self {
        random.pick(&[Self::Fails, Self::Panics])
    }
}

/// The error of one producer or attempt.
#[derive(Debug)]
pub(super) struct Fault(pub(super) u64);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fault {}", self.0)
    }
}

impl std::error::Error for Fault {}

/// A number that no other producer or attempt has.
pub(super) fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What the panic of that producer or attempt says.
pub(super) fn panic_of(number: u64) -> String {
    format!("panic {number}")
}

/// Whether it is the error of that producer or attempt, which ended in that way.
pub(super) fn is_of(error: &SubscriptionError, number: u64, way: Way) -> bool {
    match (way, error) {
        (Way::Fails, SubscriptionError::Failed(error)) => error
            .downcast_ref::<Fault>()
            .is_some_and(|fault| fault.0 == number),
        (Way::Panics, SubscriptionError::Panicked(message)) => **message == *panic_of(number),
        _ => false,
    }
}

/// What is known of one producer.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) number: u64,
    pub(super) way: Way,
    begun: AtomicBool,
    over: AtomicBool,
    /// When it was about to end, it had been told to.
    told: AtomicBool,
}

impl Run {
    /// It has run, and has ended.
    #[track_caller]
    pub(super) fn check_over(&self, world: &World, when: &str) {
        if !self.begun.load(Ordering::SeqCst) || !self.over.load(Ordering::SeqCst) {
            world.violated(
                format!("{when}: the producer has ended"),
                format!("{self:?}"),
            );
        }
    }

    /// Whether its subscription fails if nobody tells it to end before.
    pub(super) fn fails(&self) -> bool {
        matches!(self.way, Way::Fails | Way::Panics)
    }

    /// Whether that may be the error of its subscription.
    pub(super) fn may_have_failed_with(&self, error: &SubscriptionError) -> bool {
        is_of(error, self.number, self.way) && !self.told.load(Ordering::SeqCst)
    }
}

/// Held by a producer: what becomes of it, its run knows.
struct Running(Arc<Run>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// A producer that ends in that way.
pub(super) fn producer(
    world: &'static World,
    random: &mut Random,
    way: Way,
) -> (
    Arc<Run>,
    impl FnOnce(CancelToken) -> Result<(), Fault> + Send + 'static,
) {
    producer_that(world, random, way, |_, _| {})
}

/// A producer that does something, and ends in that way.
pub(super) fn producer_that(
    world: &'static World,
    random: &mut Random,
    way: Way,
    act: impl FnOnce(&CancelToken, &mut Random) + Send + 'static,
) -> (
    Arc<Run>,
    impl FnOnce(CancelToken) -> Result<(), Fault> + Send + 'static,
) {
    let run = Arc::new(Run {
        number: next_number(),
        way,
        begun: AtomicBool::new(false),
        over: AtomicBool::new(false),
        told: AtomicBool::new(false),
    });
    let number = run.number;
    let value = Value::new(world, 0, number, false);
    let mut random = random.fork();
    let running = Running(Arc::clone(&run));
    (run, move |token: CancelToken| {
        world.enter();
        // Dropped last, when all else that it has is gone.
        let running = running;
        let value = value;
        if running.0.begun.swap(true, Ordering::SeqCst) {
            world.violated("a producer runs once", number);
        }
        world.sent.add(1);
        act(&token, &mut random);
        super::rest(&mut random);
        if way == Way::Waits {
            wait_for(world, &token, &mut random);
        }
        running.0.told.store(token.is_cancelled(), Ordering::SeqCst);
        value.read();
        let end = match way {
            Way::Waits => random.pick(&[Way::EndsWell, Way::Fails, Way::Panics]),
            end => end,
        };
        match end {
            Way::Fails => Err(Fault(number)),
            Way::Panics => world.provoke_as(panic_of(number)),
            Way::EndsWell | Way::Waits => Ok(()),
        }
    })
}

/// Waits until the token is cancelled, in one of the ways in which that can be done.
pub(super) fn wait_for(world: &World, token: &CancelToken, random: &mut Random) {
    match random.below(4) {
        0 => {
            let _ = token.channel().recv();
        }
        1 => while !token.wait_timeout(Duration::from_millis(random.below(20))) {},
        2 => {
            let limit = after(PATIENCE * 3);
            select! {
                recv(token.channel()) -> _ => {}
                recv(limit) -> _ => world.violated("a token that is cancelled", "none"),
            }
        }
        _ => {
            while !token.is_cancelled() {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
    check_cancelled(world, token);
}

/// A token that was cancelled says so in all ways.
fn check_cancelled(world: &World, token: &CancelToken) {
    let is_disconnected = match token.channel().recv_timeout(PATIENCE) {
        Ok(never) => match never {},
        Err(error) => error.is_disconnected(),
    };
    if !token.is_cancelled() || !token.wait_timeout(Duration::ZERO) || !is_disconnected {
        world.violated("a token that was cancelled", format!("{token:?}"));
    }
}

/// The token of a producer that has ended is cancelled a moment later at most.
pub(super) fn await_cancelled(world: &World, token: &CancelToken) {
    token.wait_timeout(PATIENCE);
    check_cancelled(world, token);
}
