//! The feed, its subscribers, and their model.

use std::cell::RefCell;
use std::collections::BTreeSet;

use fanfeed::{
    Feed, SendAsync, Stats, Subscription, SubscriptionError, SubscriptionId, SubscriptionScope,
    Undelivered, WeakFeed,
};

use super::far_end::FarEnd;
use super::frame::{Frame, Waits};
use super::program::Act;
use super::sketch::{Failure, Sketch};
use crate::trace::{ensure, expect, fail};
use crate::value::{self, Value};

pub(crate) type Errors = crossbeam_channel::Receiver<SubscriptionError>;

pub(crate) struct Subscriber {
    pub(crate) id: SubscriptionId,
    pub(crate) name: Option<&'static str>,
    pub(crate) handle: Option<Subscription>,
    pub(crate) far_end: FarEnd,
    pub(crate) sketch: Sketch,
    pub(crate) errors: Option<Errors>,
    pub(crate) error_is_taken: bool,
    pub(crate) act: Act,
    pub(crate) is_tracked: bool,
    /// For carriers of the program's own.
    pub(crate) shared: Option<std::sync::Weak<super::carrier::Shared>>,
}

impl Subscriber {
    pub(crate) fn subscription(&self) -> Option<&Subscription> {
        match (&self.handle, &self.far_end) {
            (Some(handle), _) => Some(handle),
            (None, FarEnd::Own(receiver)) => Some(receiver.subscription()),
            _ => None,
        }
    }

    pub(crate) fn stats(&self) -> Option<Stats> {
        self.subscription().map(Subscription::stats)
    }

    fn depth(&self) -> Option<usize> {
        let sketch = &self.sketch;
        let tells = sketch.is_own || sketch.live && sketch.tells_depth;
        tells.then_some(sketch.queue.len())
    }
}

/// A value that was not delivered to all.
pub(crate) struct Held {
    pub(crate) undelivered: Undelivered<Value>,
    pub(crate) number: u64,
    pub(crate) waits: Waits,
    pub(crate) delivered: usize,
}

/// A send that waits without blocking.
pub(crate) struct Sending {
    pub(crate) future: SendAsync<Value>,
    pub(crate) number: u64,
    pub(crate) is_begun: bool,
    pub(crate) waits: Waits,
    pub(crate) delivered: usize,
}

pub(crate) struct World {
    pub(crate) feeds: Vec<Feed<Value>>,
    pub(crate) weak: WeakFeed<Value>,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) numbers: BTreeSet<SubscriptionId>,
    pub(crate) scope: SubscriptionScope,
    pub(crate) held: Vec<Held>,
    pub(crate) sending: Option<Sending>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) is_closed: bool,
    pub(crate) has_crowd: bool,
    pub(crate) next: u64,
    /// The clone of the next send that is to panic.
    pub(crate) armed: u64,
    /// Closures do nothing but being called.
    pub(crate) is_quiet: bool,
    pub(crate) elsewhere: Feed<Value>,
    pub(crate) elsewhere_far_end: crossbeam_channel::Receiver<Value>,
    pub(crate) sent_elsewhere: usize,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Looks at the world, or changes it. Sends are not made inside of this, because closures come back
/// to it.
pub(crate) fn with<R>(act: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with(|world| act(world.borrow_mut().as_mut().expect("a program is being run")))
}

pub(crate) fn set(world: Option<World>) -> Option<World> {
    WORLD.with(|held| std::mem::replace(&mut *held.borrow_mut(), world))
}

impl World {
    pub(crate) fn new() -> Self {
        let feed = Feed::new();
        let elsewhere = Feed::new();
        let (sender, elsewhere_far_end) = crossbeam_channel::unbounded();
        elsewhere.subscribe(sender).detach();
        Self {
            weak: feed.downgrade(),
            feeds: vec![feed],
            subscribers: Vec::new(),
            numbers: BTreeSet::new(),
            scope: SubscriptionScope::new(),
            held: Vec::new(),
            sending: None,
            frames: Vec::new(),
            is_closed: false,
            has_crowd: false,
            next: 0,
            armed: 0,
            is_quiet: false,
            elsewhere,
            elsewhere_far_end,
            sent_elsewhere: 0,
        }
    }

    /// The subscriber that a small number stands for.
    pub(crate) fn choose(&self, who: u8) -> Option<usize> {
        (usize::from(who)).checked_rem(self.subscribers.len())
    }

    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        for subscriber in &mut self.subscribers {
            subscriber.sketch.end(None);
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.subscribers
            .iter()
            .filter(|one| one.sketch.live)
            .count()
    }

    /// Compares everything that can be seen from outside with the model; of a crowd, which would
    /// take long, a part.
    pub(crate) fn check(&self) {
        self.check_first(24);
    }

    /// As `check`, of all subscribers.
    pub(crate) fn check_all(&self) {
        self.check_first(usize::MAX);
    }

    fn check_first(&self, count: usize) {
        if let Some(feed) = self.feeds.last() {
            expect("subscribers", &feed.subscriber_count(), &self.live());
            expect("is_closed", &feed.is_closed(), &self.is_closed);
        }
        expect(
            "upgrade",
            &self.weak.upgrade().is_some(),
            &!self.feeds.is_empty(),
        );
        let tracked = |one: &&Subscriber| one.is_tracked && one.sketch.live;
        let tracked = self.subscribers.iter().filter(tracked).count();
        expect("tracked", &self.scope.count(), &tracked);
        for (index, one) in self.subscribers.iter().enumerate().take(count) {
            Self::check_one(index, one);
        }
        self.check_live();
    }

    fn check_one(index: usize, one: &Subscriber) {
        let sketch = &one.sketch;
        if let (FarEnd::Closure(held), false) = (&one.far_end, sketch.live) {
            ensure(held.strong_count() == 0, || {
                format!("closure {index} has ended and is kept")
            });
        }
        if let FarEnd::Own(receiver) = &one.far_end {
            expect("len", &receiver.len(), &sketch.queue.len());
            expect("is_empty", &receiver.is_empty(), &sketch.queue.is_empty());
            expect("missed", &receiver.missed(), &sketch.missed);
            expect("receiver's is_closed", &receiver.is_closed(), &!sketch.live);
            expect("capacity", &receiver.capacity(), &sketch.capacity);
        }
        let Some(subscription) = one.subscription() else {
            return;
        };
        let stats = subscription.stats();
        let seen = (stats.delivered, stats.dropped, stats.blocked, stats.depth);
        // A channel whose far end is gone may still say how much it held.
        let depth = if sketch.far_end_is_there {
            one.depth()
        } else {
            stats.depth
        };
        let expected = (sketch.delivered, sketch.dropped, sketch.blocked, depth);
        ensure(seen == expected, || {
            format!(
                "(delivered, dropped, blocked, depth) of subscriber {index}: expected {expected:?}, saw {seen:?}, with {sketch:?}"
            )
        });
        expect(
            "subscription's is_closed",
            &subscription.is_closed(),
            &!sketch.live,
        );
        expect("id", &subscription.id(), &one.id);
        expect("name", &subscription.name(), &one.name);
    }

    fn check_live(&self) {
        let alive: usize = self.subscribers.iter().map(|one| one.sketch.alive()).sum();
        let holders = self.held.len() + usize::from(self.sending.is_some());
        let least = (alive + holders + self.elsewhere_far_end.len()) as i64;
        let left = self.subscribers.iter().filter(|one| one.sketch.live);
        let left: usize = left.map(|one| one.sketch.left).sum();
        // Each holder may keep one clone that was given back.
        let most = least + (holders + left) as i64;
        let seen = value::live();
        ensure((least..=most).contains(&seen), || {
            format!("live values: expected {least} to {most}, saw {seen}")
        });
    }

    /// Takes the error of a subscription, if there is one.
    pub(crate) fn check_error(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        if one.errors.is_none() {
            one.errors = one.subscription().map(Subscription::err);
        }
        let Some(errors) = &one.errors else { return };
        let seen = match errors.try_recv() {
            Ok(error) if error.is_overflowed() => Ok(Failure::Overflowed),
            Ok(error) if error.is_panicked() => Ok(Failure::Panicked),
            Ok(error) => fail(&format!("an error of another kind: {error:?}")),
            Err(error) => Err(error),
        };
        let expected = match one.sketch.failure {
            _ if one.sketch.live => Err(crossbeam_channel::TryRecvError::Empty),
            Some(failure) if !one.error_is_taken => Ok(failure),
            _ => Err(crossbeam_channel::TryRecvError::Disconnected),
        };
        one.error_is_taken |= expected.is_ok();
        expect("error", &seen, &expected);
    }
}
