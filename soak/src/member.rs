//! A subscriber with its channel and its account.

use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Stats, Subscription, SubscriptionId};

use crate::account::{Account, Edge, Loss};
use crate::inbox::{Got, Inbox, Rest};
use crate::random::Random;
use crate::value::Value;
use crate::world::World;

/// How long what has ended may take to show it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A subscriber that is read by one thread.
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) inbox: Inbox,
    pub(crate) subscription: Subscription,
    pub(crate) account: Account,
    /// Whether it ends when it falls behind.
    pub(crate) may_overflow: bool,
    /// Whether it reads a ring itself: what it had not read when it was cut off counts as
    /// delivered.
    pub(crate) is_ring: bool,
    /// Told misses are those of a second channel behind the first, which the subscription's figures
    /// do not know of.
    pub(crate) loses_behind: bool,
}

/// Looks at what a member receives.
pub(crate) trait Watch {
    /// Whether that number may be missing for that subscription.
    fn excuses(&self, of: SubscriptionId, sender: usize, number: u64) -> bool;

    /// A value came, or (`None`) the order of what comes is broken here.
    fn came(&mut self, _came: Option<&Value>) {}
}

impl Member {
    /// Reads some of what is there.
    pub(crate) fn read(
        &mut self,
        world: &'static World,
        wait: Duration,
        random: &mut Random,
        watch: &mut impl Watch,
    ) -> Rest {
        let mut got = (0, 0);
        let Self {
            name,
            inbox,
            account,
            subscription,
            ..
        } = self;
        let id = subscription.id();
        // An own channel tells of every value that it misses, for whatever reason.
        let tells_all = matches!(inbox, Inbox::Own(_));
        let rest = inbox.read(wait, random, &mut |came| match came {
            Got::Value(value) => {
                let (sender, number) = value.read();
                let outcome = account.receive(sender, number, |sender, number| {
                    !tells_all && watch.excuses(id, sender, number)
                });
                world.demand(name, outcome);
                watch.came(Some(value));
                got.0 += 1;
            }
            Got::Missed(missed) => {
                world.demand(name, account.miss(missed));
                watch.came(None);
                got.1 += missed;
            }
            Got::Panicked => {
                account.receive_unseen();
                watch.came(None);
                got.0 += 1;
            }
        });
        world.delivered.add(got.0);
        world.missed.add(got.1 as i64);
        rest
    }

    /// Reads what is left of one that was unsubscribed: nothing more is put there, and after it
    /// comes the end at once.
    pub(crate) fn read_to_end(
        &mut self,
        world: &'static World,
        random: &mut Random,
        watch: &mut impl Watch,
    ) -> Rest {
        // Another thread that has ended it, or has closed its feed, may be about to drop its
        // carrier. Nobody waits for that where it may be code of others.
        let runs_code = matches!(self.inbox, Inbox::Tokio(_) | Inbox::Shelf(_));
        let patience = if runs_code { PATIENCE } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        loop {
            let before = (self.account.received(), self.account.told());
            let rest = self.read(world, Duration::ZERO, random, watch);
            let is_idle = before == (self.account.received(), self.account.told());
            if rest == Rest::Open && (!is_idle || Instant::now() < deadline) {
                if is_idle {
                    thread::yield_now();
                }
                continue;
            }
            let again = self.read(world, Duration::ZERO, random, watch);
            if rest == Rest::Open || again != rest {
                world.violated(
                    format!("{}: once unsubscribed, its end, for good", self.name),
                    format!("{rest:?}, then {again:?}; {:?}", self.subscription.stats()),
                );
            }
            return rest;
        }
    }

    /// Holds the account of one that has ended against its figures. `all` says whether it has read
    /// all that it was given.
    pub(crate) fn settle(
        &self,
        world: &'static World,
        mut end: Edge,
        all: bool,
        watch: &impl Watch,
    ) -> Stats {
        let stats = self.subscription.stats();
        let overflowed = self.has_overflowed(world);
        if overflowed || !all {
            end.forget_low();
        }
        let (received, told) = (self.account.received(), self.account.told());
        let behind = if self.loses_behind { told } else { 0 };
        let exact = all && !(overflowed && self.is_ring);
        if stats.delivered < received + behind || exact && stats.delivered != received + behind {
            world.violated(
                format!(
                    "{}: received {received} + lost behind {behind} = delivered",
                    self.name
                ),
                format!("{stats:?}"),
            );
        }
        if !self.loses_behind && stats.dropped < told {
            world.violated(
                format!("{}: dropped at least {told}, as told", self.name),
                format!("{stats:?}"),
            );
        }
        let is_own = matches!(self.inbox, Inbox::Own(_));
        if is_own && all && stats.dropped != told + u64::from(overflowed) {
            world.violated(
                format!("{}: dropped {told}, as told", self.name),
                format!("{stats:?}"),
            );
        }
        let lost = stats.dropped + behind;
        if self.account.loss() != Loss::Told {
            world.missed.add(lost as i64);
        }
        let outcome = self.account.finish(&end, lost, |sender, number| {
            watch.excuses(self.subscription.id(), sender, number)
        });
        world.demand(self.name, outcome);
        stats
    }

    /// Whether its subscription failed, in the only way that it may.
    fn has_overflowed(&self, world: &'static World) -> bool {
        let error = self.subscription.err().try_recv();
        match error {
            Ok(error) if error.is_overflowed() && self.may_overflow => true,
            Ok(error) => world.violated(format!("{}: no error", self.name), error),
            Err(_) => false,
        }
    }

    /// Waits until the subscription has ended, which it must.
    pub(crate) fn await_end(&self, world: &'static World) {
        if !self.subscription.closed().wait_timeout(PATIENCE) {
            world.violated(
                format!("{}: ended within {PATIENCE:?}", self.name),
                format!("{:?}", self.subscription.stats()),
            );
        }
    }
}
