//! A reader, and its possible states.

use fanfeed::{Subscription, SubscriptionId, TryRecvError, ring};

use super::program::Kind;
use super::track::Track;
use crate::trace::{ensure, expect, fail};
use crate::value::Value;

pub(crate) struct Reader {
    pub(crate) id: SubscriptionId,
    /// The readers that it follows.
    pub(crate) leaders: Vec<SubscriptionId>,
    /// Up to where those that are left have passed the ring.
    pub(crate) passed: Option<u64>,
    pub(crate) receiver: ring::Receiver<Value>,
    pub(crate) handle: Option<Subscription>,
    pub(crate) name: Option<&'static str>,
    pub(crate) kind: Kind,
    /// The position that it began with.
    pub(crate) start: u64,
    /// The position that it reads next, by what it was told.
    pub(crate) position: u64,
    /// How many it was told that it has missed.
    pub(crate) told: u64,
    /// How many it has skipped.
    pub(crate) skipped: u64,
    /// Unsubscribed at this position.
    pub(crate) cancelled: Option<u64>,
    pub(crate) is_overflowed: bool,
    /// Whether it came to a ring that had ended.
    pub(crate) came_late: bool,
}

impl Reader {
    /// Whether its subscription has not ended, by the model.
    pub(crate) fn is_live(&self, track: &Track) -> bool {
        !track.is_closed && self.cancelled.is_none() && !self.is_overflowed && !self.came_late
    }

    /// Up to where it may read now.
    pub(crate) fn until(&self, track: &Track) -> u64 {
        self.passed.unwrap_or(u64::MAX).min(track.next())
    }

    /// Whether a read has something to say.
    pub(crate) fn is_ready(&self, track: &Track) -> bool {
        self.is_cut() || self.is_at_end(track) || self.position < self.until(track)
    }

    fn is_at_end(&self, track: &Track) -> bool {
        track.is_closed && self.position >= track.next()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cancelled.is_some() || self.is_overflowed || self.came_late
    }

    /// It was handed this value. `in_time`: while the ring stood still.
    pub(crate) fn handed(&mut self, track: &Track, number: u64, in_time: bool) {
        ensure(!self.is_cut(), || {
            format!("{number} was received after the end")
        });
        let position = self.position;
        ensure(self.passed.is_none_or(|passed| position < passed), || {
            format!("{number} was received, and its leaders have not passed it")
        });
        expect("the next value", &Some(number), &track.at(position));
        if in_time {
            ensure(position >= track.gone(self.kind), || {
                format!("{number} was received, and written over before")
            });
        }
        self.position = position + 1;
    }

    /// It was told that it has missed so many.
    pub(crate) fn lagged(&mut self, track: &Track, missed: u64) {
        ensure(self.kind == Kind::Lossy && missed > 0, || {
            format!("{:?} lags by {missed}", self.kind)
        });
        self.told += missed;
        let most = track.may_be_gone();
        let position = self.position + missed;
        if position > most {
            fail(&format!(
                "missed up to {position}, which is more than {most}"
            ));
        }
        self.position = position;
    }

    /// Something other than a value was returned.
    pub(crate) fn told(&mut self, track: &Track, error: TryRecvError) {
        self.look(track);
        let has_nothing = self.position >= self.until(track);
        let is_as_expected = match error {
            TryRecvError::Lagged(missed) => {
                ensure(!self.is_cut(), || "it lags after its end".into());
                return self.lagged(track, missed);
            }
            TryRecvError::Empty => !self.is_cut() && !self.is_at_end(track) && has_nothing,
            TryRecvError::Closed => !self.is_overflowed && (self.is_cut() || self.is_at_end(track)),
            TryRecvError::Overflowed => self.is_overflowed,
        };
        ensure(is_as_expected, || {
            format!(
                "{error:?} was returned at {} of {}, {:?}, cancelled at {:?}, overflowed: {}, ring closed: {}",
                self.position,
                track.next(),
                self.kind,
                self.cancelled,
                self.is_overflowed,
                track.is_closed
            )
        });
    }

    /// Whether the ring has gone on without it, in the ways that are allowed.
    pub(crate) fn look(&mut self, track: &Track) {
        self.look_since(track, self.position);
    }

    /// As `look`, since it was at that position: while it is handed a value it has not read it.
    pub(crate) fn look_since(&mut self, track: &Track, position: u64) {
        if self.kind != Kind::Fragile || !self.is_live(track) {
            return;
        }
        let is_closed = self.receiver.is_closed();
        if is_closed {
            ensure(position < track.may_be_gone(), || {
                format!("it overflowed at {} of {}", self.position, track.next())
            });
            self.is_overflowed = true;
        } else {
            ensure(self.position >= track.gone(self.kind), || {
                format!(
                    "it did not overflow at {} of {}",
                    self.position,
                    track.next()
                )
            });
        }
    }

    /// Compares its figures with the model.
    pub(crate) fn check(&mut self, track: &Track) {
        self.look(track);
        let is_live = self.is_live(track);
        expect("is_closed", &self.receiver.is_closed(), &!is_live);
        expect("missed", &self.receiver.missed(), &self.told);
        expect("skipped", &self.receiver.skipped(), &self.skipped);
        if !self.came_late {
            expect("position", &self.receiver.position(), &self.position);
        }
        expect("name", &self.receiver.subscription().name(), &self.name);
        let stats = self.receiver.stats();
        let may_miss = if self.kind == Kind::Strict {
            0
        } else {
            track.may_be_gone().saturating_sub(self.position)
        };
        if self.came_late {
            expect(
                "figures of one that came late",
                &(stats.delivered, stats.dropped),
                &(0, 0),
            );
            return;
        }
        ensure(
            (self.told..=self.told + may_miss).contains(&stats.dropped),
            || {
                format!(
                    "dropped: expected {} and up to {may_miss} more, saw {}",
                    self.told, stats.dropped
                )
            },
        );
        if self.is_overflowed {
            // It ended when it was overtaken: how many had been sent by then is the ring's affair.
            return;
        }
        let end = self.cancelled.unwrap_or(track.next());
        let sent = end - self.start;
        let seen = stats.delivered + stats.dropped;
        expect("delivered + dropped", &seen, &sent);
        let lag = self.receiver.lag();
        if self.cancelled.is_some() {
            expect("lag after the end", &lag, &0);
            return;
        }
        let at = track.next() - lag;
        let most = self.position.max(track.may_be_gone());
        ensure(
            at == self.position || self.kind == Kind::Lossy && (self.position..=most).contains(&at),
            || format!("lag: it is at {at}, and was to be at {}", self.position),
        );
    }
}
