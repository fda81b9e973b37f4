//! A subscription of a mux with its channel and its account.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{RecvTimeoutError, Subscription, TryRecvError, mux};

use crate::account::{Account, Edge};
use crate::inbox::Rest;
use crate::shelf::Shelf;
use crate::world::World;

use super::events::{self, Kinds, kind_of, stream};

/// How long what has ended may take to show it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many events are taken before others get their turn.
const AT_ONCE: usize = 256;

/// The far end of its channel.
pub(super) enum Inbox {
    Own(Box<mux::Subscription>),
    Crossbeam(crossbeam_channel::Receiver<mux::Event>),
    Shelf(Arc<Shelf<mux::Event>>),
}

impl Inbox {
    /// The next event, if there is one within so long.
    fn take(&mut self, world: &World, wait: Duration) -> Result<mux::Event, Rest> {
        match self {
            Self::Own(channel) if wait.is_zero() => {
                channel.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => Rest::Open,
                    TryRecvError::Closed => Rest::Closed,
                    other => world.violated("a mux's channel that misses nothing", other),
                })
            }
            Self::Own(channel) => channel.recv_timeout(wait).map_err(|error| match error {
                RecvTimeoutError::Timeout => Rest::Open,
                RecvTimeoutError::Closed => Rest::Closed,
                other => world.violated("a mux's channel that misses nothing", other),
            }),
            Self::Crossbeam(channel) => channel.recv_timeout(wait).map_err(|error| match error {
                crossbeam_channel::RecvTimeoutError::Timeout => Rest::Open,
                crossbeam_channel::RecvTimeoutError::Disconnected => Rest::Closed,
            }),
            Self::Shelf(shelf) => {
                // Looked at first: once the mux's ends are gone, nothing is put there.
                let is_alone = Arc::strong_count(shelf) == 1;
                shelf.take().ok_or_else(|| {
                    if is_alone {
                        return Rest::Closed;
                    }
                    thread::sleep(wait);
                    Rest::Open
                })
            }
        }
    }
}

/// A subscription that is read by one thread.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) inbox: Inbox,
    pub(super) subscription: Subscription,
    pub(super) kinds: Kinds,
    pub(super) account: Account,
    /// When it was about to subscribe.
    pub(super) since: Instant,
    /// The turn after the last one seen, of each poster.
    pub(super) turns: Vec<u64>,
}

impl Member {
    /// Reads some of what is there, and says how many events that was.
    pub(super) fn read(&mut self, world: &'static World, wait: Duration) -> (usize, Rest) {
        for count in 0..AT_ONCE {
            match self.inbox.take(world, wait) {
                Ok(event) => self.look_at(world, &event),
                Err(rest) => return (count, rest),
            }
        }
        (AT_ONCE, Rest::Open)
    }

    fn look_at(&mut self, world: &'static World, event: &mux::Event) {
        world.delivered.add(1);
        let seen = events::see(world, event);
        if !self.kinds[seen.kind] {
            world.violated(
                format!("{}: events of {:?} only", self.name, self.kinds),
                format!("{seen:?}"),
            );
        }
        if event.time() < self.since {
            world.violated(
                format!("{}: nothing that is older than it", self.name),
                format!("{seen:?}, older by {:?}", self.since - event.time()),
            );
        }
        let outcome = self
            .account
            .receive(stream(seen.poster, seen.kind), seen.number, |_, _| false);
        world.demand(self.name, outcome);
        let next = &mut self.turns[seen.poster];
        if seen.turn < *next {
            world.violated(
                format!(
                    "{}: of poster {} turn {next} or later",
                    self.name, seen.poster
                ),
                format!("{seen:?}: types in the wrong order"),
            );
        }
        *next = seen.turn + 1;
    }

    /// Reads what is left once nothing more may be put there: after it comes the end at once, for
    /// good.
    pub(super) fn read_to_end(&mut self, world: &'static World, after: &str) {
        // Another thread may be about to drop a carrier of our own, and nobody waits for that.
        let mut patience = Duration::ZERO;
        if let Inbox::Shelf(shelf) = &self.inbox {
            shelf.give_up();
            patience = PATIENCE;
        }
        let deadline = Instant::now() + patience;
        loop {
            match self.read(world, Duration::ZERO) {
                (AT_ONCE, _) => {}
                (_, Rest::Closed) => break,
                (_, Rest::Open) if Instant::now() < deadline => thread::yield_now(),
                (_, rest) => world.violated(
                    format!("{}: once {after}, its end", self.name),
                    format!("{rest:?}; {:?}", self.subscription.stats()),
                ),
            }
        }
        let again = self.read(world, Duration::ZERO);
        if again != (0, Rest::Closed) {
            world.violated(
                format!("{}: its end for good", self.name),
                format!("then {again:?}"),
            );
        }
    }

    /// Holds the account of one that was read to its end against its figures.
    pub(super) fn settle(&self, world: &'static World, end: Edge) {
        if !self.subscription.closed().wait_timeout(PATIENCE) {
            world.violated(
                format!("{}: ended within {PATIENCE:?}", self.name),
                format!("{:?}", self.subscription.stats()),
            );
        }
        if let Ok(error) = self.subscription.err().try_recv() {
            world.violated(format!("{}: no error", self.name), error);
        }
        let (stats, received) = (self.subscription.stats(), self.account.received());
        if stats.delivered != received || stats.dropped != 0 {
            world.violated(
                format!("{}: received {received} = delivered", self.name),
                format!("{stats:?}"),
            );
        }
        let end = end.only(|stream| self.kinds[kind_of(stream)]);
        let outcome = self.account.finish(&end, 0, |_, _| false);
        world.demand(self.name, outcome);
    }
}
