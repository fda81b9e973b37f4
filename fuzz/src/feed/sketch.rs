//! The model of one subscriber: a queue, a policy and some counts.

use std::collections::VecDeque;

use fanfeed::{Overflow, TryRecvError};

/// How a subscription has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Overflowed,
    Panicked,
}

/// What is expected of a subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    pub(crate) is_own: bool,
    pub(crate) is_closure: bool,
    pub(crate) tells_depth: bool,
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    /// Whether the subscription has not ended.
    pub(crate) live: bool,
    pub(crate) far_end_is_there: bool,
    /// Whether it takes everything and keeps nothing.
    pub(crate) is_sink: bool,
    /// What is left in a crossbeam channel whose far end is gone: a bounded one keeps it for as
    /// long as it has a sender.
    pub(crate) left: usize,
    pub(crate) is_ring: bool,
    /// Whether the next value makes the carrier panic.
    pub(crate) panics: bool,
    /// Whether the next value makes the carrier unsubscribe itself.
    pub(crate) leaves: bool,
    /// What is in the channel, each with how many were missed right before it.
    pub(crate) queue: VecDeque<(u64, u64)>,
    /// How many values have been in the queue.
    pub(crate) pushed: u64,
    /// How many were missed after the last in the queue.
    pub(crate) missed_last: u64,
    /// Misses that the receiver was told of.
    pub(crate) missed: u64,
    /// Misses that a drain has come upon and not told of.
    pub(crate) untold: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) blocked: u64,
    pub(crate) failure: Option<Failure>,
}

/// What becomes of a value that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Delivered,
    Missed,
    Waits,
    Ended,
}

impl Sketch {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        Self {
            is_own: false,
            is_closure: false,
            tells_depth: true,
            capacity,
            overflow,
            live: true,
            far_end_is_there: true,
            is_sink: false,
            left: 0,
            is_ring: false,
            panics: false,
            leaves: false,
            queue: VecDeque::new(),
            pushed: 0,
            missed_last: 0,
            missed: 0,
            untold: 0,
            delivered: 0,
            dropped: 0,
            blocked: 0,
            failure: None,
        }
    }

    pub(crate) fn end(&mut self, failure: Option<Failure>) {
        if self.live {
            self.live = false;
            self.failure = failure;
        }
    }

    pub(crate) fn has_room_for(&self, count: usize) -> bool {
        self.is_sink || self.queue.len().saturating_add(count) <= self.capacity
    }

    /// Whether a send of so many values waits for this one.
    pub(crate) fn would_block(&self, count: usize) -> bool {
        self.live
            && !self.is_closure
            && self.far_end_is_there
            && !self.panics
            && self.overflow == Overflow::Block
            && !self.has_room_for(count)
    }

    pub(crate) fn offer(&mut self, number: u64) -> Offer {
        if self.panics {
            self.panics = false;
            self.dropped += 1;
            self.end(Some(Failure::Panicked));
            return Offer::Ended;
        }
        if std::mem::take(&mut self.leaves) {
            // Before it takes the value, or does not: that is up to the rest.
            self.end(None);
        }
        if !self.far_end_is_there && !self.is_own {
            self.end(None);
            return Offer::Ended;
        }
        if self.has_room_for(1) {
            return self.push(number);
        }
        match self.overflow {
            Overflow::Block => Offer::Waits,
            Overflow::DropNewest => {
                self.miss(self.place());
                Offer::Missed
            }
            Overflow::DropOldest => {
                let (_, missed) = self.queue.pop_front().expect("a full queue has an oldest");
                self.delivered -= 1;
                self.dropped += 1;
                let next = self.queue.front_mut().map(|(_, before)| before);
                *next.unwrap_or(&mut self.missed_last) += missed + 1;
                self.push(number)
            }
            Overflow::Disconnect => {
                self.dropped += 1;
                self.end(Some(Failure::Overflowed));
                Offer::Ended
            }
        }
    }

    /// Where in the stream a value would be that is offered now.
    pub(crate) fn place(&self) -> u64 {
        self.pushed
    }

    /// It misses the value at that place. If it is past it, it learns so before the next.
    pub(crate) fn miss(&mut self, place: u64) {
        self.dropped += 1;
        let left = self.pushed.saturating_sub(place) as usize;
        let index = self.queue.len().saturating_sub(left);
        match self.queue.get_mut(index) {
            Some((_, before)) => *before += 1,
            None => self.missed_last += 1,
        }
    }

    fn push(&mut self, number: u64) -> Offer {
        let missed = std::mem::take(&mut self.missed_last);
        if !self.is_sink {
            self.queue.push_back((number, missed));
        }
        self.pushed += 1;
        self.delivered += 1;
        Offer::Delivered
    }

    /// What the next receive returns.
    pub(crate) fn receive(&mut self) -> Result<u64, TryRecvError> {
        if self.untold > 0 {
            return Err(TryRecvError::Lagged(std::mem::take(&mut self.untold)));
        }
        let missed = match self.queue.front_mut() {
            Some((_, missed)) => missed,
            None => &mut self.missed_last,
        };
        if *missed > 0 && self.is_own {
            let missed = std::mem::take(missed);
            self.missed += missed;
            return Err(TryRecvError::Lagged(missed));
        }
        match self.queue.pop_front() {
            Some((number, _)) => Ok(number),
            None if self.live => Err(TryRecvError::Empty),
            None if self.is_own && self.failure == Some(Failure::Overflowed) => {
                Err(TryRecvError::Overflowed)
            }
            None => Err(TryRecvError::Closed),
        }
    }

    /// How many values are alive because of it. A ring keeps those that were read until others take
    /// their slots.
    pub(crate) fn alive(&self) -> usize {
        if self.is_ring && (self.live || !self.is_sink) {
            self.capacity
                .min(usize::try_from(self.delivered).unwrap_or(usize::MAX))
        } else {
            self.queue.len()
        }
    }

    /// Whether a receive that waits would wait now.
    pub(crate) fn would_wait(&self) -> bool {
        self.clone().receive() == Err(TryRecvError::Empty)
    }
}
