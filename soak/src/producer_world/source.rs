//! Sources that do not belong to the crate: one thread delivers to them and ends them, while
//! another ends them in every way.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use fanfeed::{
    Subscription, SubscriptionError, SubscriptionScope, SubscriptionSource, SubscriptionState,
};

use crate::random::Random;
use crate::value::Value;
use crate::world::World;

use super::ending::{self, Errors};
use super::producer::{Fault, Way, is_of, next_number, panic_of};

/// How a source ended: see `Source::outcome`.
const BY_PANIC: u8 = 0;
const WELL: u8 = 1;
const FAILED: u8 = 2;

struct Source {
    world: &'static World,
    number: u64,
    state: SubscriptionState,
    /// What the handler reads. Locked while it runs, and empty once the source was cancelled.
    handler: Mutex<Option<Value>>,
    running: AtomicBool,
    /// Whether it panics when it is cancelled.
    clumsy: bool,
    /// Set by the call that ended it, if one did.
    outcome: AtomicU8,
}

impl Source {
    fn new(world: &'static World, random: &mut Random) -> Arc<Self> {
        let number = next_number();
        Arc::new(Self {
            world,
            number,
            state: SubscriptionState::new(None),
            handler: Mutex::new(Some(Value::new(world, 0, number, false))),
            running: AtomicBool::new(false),
            clumsy: random.once_in(5),
            outcome: AtomicU8::new(BY_PANIC),
        })
    }

    fn deliver(&self) {
        let mut handler = self.handler.lock().expect("nobody panics with it");
        if let Some(value) = &*handler
            && !self.state.is_ended()
        {
            self.running.store(true, Ordering::SeqCst);
            value.read();
            thread::yield_now();
            self.running.store(false, Ordering::SeqCst);
        }
        if self.state.is_ended() {
            *handler = None;
        }
    }

    fn end(&self, fails: bool) {
        let error = fails.then(|| SubscriptionError::failed(Fault(self.number)));
        if self.state.end(error) {
            let outcome = if fails { FAILED } else { WELL };
            if self.outcome.swap(outcome, Ordering::SeqCst) != BY_PANIC {
                self.world.violated("one end", self.number);
            }
        }
    }

    /// It was cancelled, so that its handler is not running.
    fn check_over(&self, when: &str) {
        let is_running = !self.clumsy && self.running.load(Ordering::SeqCst);
        if is_running || !self.state.is_ended() {
            self.world.violated(
                format!("{when}: a source that has ended"),
                format!("its handler runs: {is_running}, {:?}", self.state),
            );
        }
    }

    /// The error is that of the end that counts.
    fn check_error(&self, was_watched: bool, error: Option<&SubscriptionError>) {
        let way = match self.outcome.load(Ordering::SeqCst) {
            WELL => Way::EndsWell,
            FAILED => Way::Fails,
            _ => Way::Panics,
        };
        let is_right = match error {
            Some(error) => is_of(error, self.number, way),
            None => !was_watched || way == Way::EndsWell,
        };
        if !is_right {
            self.world.violated(
                format!(
                    "the error of source {}, which ended as {way:?}",
                    self.number
                ),
                format!("{error:?}"),
            );
        }
    }
}

impl SubscriptionSource for Source {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.cancel_soon();
        if SubscriptionState::may_wait() {
            drop(self.handler.lock().expect("nobody panics with it").take());
        }
    }

    fn cancel_soon(&self) {
        if self.clumsy {
            self.world.provoke_as(panic_of(self.number));
        }
        self.end(false);
    }
}

pub(super) fn episode(world: &'static World, random: &mut Random) {
    let sources: Vec<_> = (0..random.between(1, 4))
        .map(|_| Source::new(world, random))
        .collect();
    world.came.add(sources.len() as i64);
    world.sent.add(sources.len() as i64);
    let subscriptions: Vec<_> = sources
        .iter()
        .map(|source| Subscription::from_source(source.clone()))
        .collect();
    let errors: Vec<_> = subscriptions
        .iter()
        .map(|subscription| Errors::of(subscription, random))
        .collect();
    thread::scope(|scope| {
        let mut others = random.fork();
        let sources = &sources;
        scope.spawn(move || {
            world.enter();
            deliver(sources, &mut others);
        });
        super::rest(random);
        part(world, random, subscriptions);
        for source in sources {
            source.check_over("once all were ended");
        }
    });
    for (source, errors) in sources.iter().zip(errors) {
        let was_watched = errors.is_watched();
        source.check_error(was_watched, errors.once(world).as_ref());
    }
}

/// Delivers for a while, and ends some of them.
fn deliver(sources: &[Arc<Source>], random: &mut Random) {
    for _ in 0..random.between(1, 20) {
        sources.iter().for_each(|source| source.deliver());
    }
    for source in sources {
        if random.once_in(3) {
            source.end(random.once_in(2));
        }
        source.deliver();
    }
}

/// Ends all of them in some way.
fn part(world: &'static World, random: &mut Random, subscriptions: Vec<Subscription>) {
    match random.below(4) {
        0 => {
            let scope = SubscriptionScope::new();
            for subscription in subscriptions {
                scope
                    .track(subscription)
                    .expect("nobody has closed it")
                    .detach();
            }
            scope.close();
            if scope.count() != 0 {
                world.violated("a scope that was closed", format!("{scope:?}"));
            }
        }
        1 => {
            let joined = Subscription::join(subscriptions);
            ending::unsubscribe(world, &joined, random.between(1, 3), || {});
        }
        2 => drop(subscriptions),
        _ => {
            for subscription in &subscriptions {
                ending::unsubscribe(world, subscription, random.between(1, 3), || {});
            }
        }
    }
}
