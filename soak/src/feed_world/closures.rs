//! Closures as subscribers, some of which panic.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Feed, Subscription};

use crate::account::{Account, Edge, Loss};
use crate::random::Random;
use crate::value::Value;
use crate::world::World;

use super::Generation;

/// How long a thread that has ended a closure may take to drop it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Shared by a closure and the thread that subscribed it.
struct Shared {
    world: &'static World,
    account: Mutex<Account>,
    is_over: AtomicBool,
    panics: AtomicU64,
}

/// A closure that is subscribed.
pub(super) struct Called {
    shared: Arc<Shared>,
    subscription: Subscription,
}

impl Called {
    pub(super) fn subscribe(
        generation: &Generation,
        feed: &Feed<Value>,
        random: &mut Random,
    ) -> Self {
        // It panics at that call, if it comes to that.
        let fuse = if random.once_in(3) {
            random.between(1, 500)
        } else {
            u64::MAX
        };
        let world = generation.world;
        let shared = Arc::new(Shared {
            world,
            account: Mutex::new(Account::new(Loss::Never, Edge::default())),
            is_over: AtomicBool::new(false),
            panics: AtomicU64::new(0),
        });
        let called = Arc::clone(&shared);
        // Nobody's call goes on before the edge is known.
        let mut account = shared.account.lock().expect("nobody panics with it");
        let (subscription, start) = generation
            .marks
            .around(|| feed.subscribe_fn(move |value| called.call(value, fuse)));
        *account = Account::new(Loss::Never, start);
        drop(account);
        world.came.add(1);
        Self {
            shared,
            subscription,
        }
    }

    /// Unsubscribes it, if it has not ended, and holds its account against its figures.
    pub(super) fn leave(self, generation: &Generation) {
        let world = generation.world;
        // A panic beside an end that comes from elsewhere may be the later of the two, and is then
        // no error.
        let ended_by_itself = !generation.abrupt && self.subscription.is_closed();
        let ((), mut end) = generation.marks.around(|| self.subscription.unsubscribe());
        self.shared.is_over.store(true, Ordering::SeqCst);
        let panics = self.shared.panics.load(Ordering::SeqCst);
        if panics > 0 {
            end.forget_low();
            match self.subscription.err().try_recv() {
                Ok(error) if error.is_panicked() => {}
                Err(_) if !ended_by_itself => {}
                other => world.violated("a closure that panicked: Panicked", format!("{other:?}")),
            }
        } else if let Ok(error) = self.subscription.err().try_recv() {
            world.violated("a closure: no error", error);
        }
        let stats = self.subscription.stats();
        let account = self.shared.account.lock().expect("nobody panics with it");
        if stats.delivered != account.received() || stats.dropped != panics {
            world.violated(
                format!("a closure: {} called, {panics} panics", account.received()),
                format!("{stats:?}"),
            );
        }
        let outcome = account.finish(&end, stats.dropped, |_, _| false);
        world.demand("a closure", outcome);
        drop(account);
        // Another thread that has ended it, or has closed the feed, may be about to drop it.
        let deadline = Instant::now() + PATIENCE;
        while Arc::strong_count(&self.shared) != 1 {
            if Instant::now() >= deadline {
                world.violated("a closure dropped after it was unsubscribed", "it is not");
            }
            thread::yield_now();
        }
        generation.add_gone(self.subscription, false);
    }
}

impl Shared {
    fn call(&self, value: &Value, fuse: u64) {
        if self.is_over.load(Ordering::SeqCst) {
            self.world.violated(
                "no call once `unsubscribe` has returned",
                format!("value {:?}", value.read()),
            );
        }
        let (sender, number) = value.read();
        {
            let mut account = self.account.lock().expect("nobody panics with it");
            if account.received() + 1 < fuse {
                let outcome = account.receive(sender, number, |_, _| false);
                self.world.demand("a closure", outcome);
                self.world.delivered.add(1);
                return;
            }
        }
        self.panics.fetch_add(1, Ordering::SeqCst);
        self.world.provoke();
    }
}
