//! Those who send on a ring, in every form.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfeed::{ExclusiveRingFeed, RingFeed, TrySendError};

use crate::pace::Pace;
use crate::random::Random;
use crate::value::Value;

use super::Generation;

/// One of several senders.
pub(super) fn shared(
    generation: &Generation,
    ring: &RingFeed<Value>,
    sender: usize,
    random: &mut Random,
) {
    let mut sender = Sender::new(generation, sender);
    let mut pace = Pace::default();
    while !generation.stop.load(Ordering::SeqCst) {
        pace.keep(random);
        match random.below(6) {
            0 | 1 => sender.one(|value| Ok(ring.send(value))),
            2 => sender.one(|value| ring.try_send(value)),
            3 => {
                let limit = Duration::from_micros(random.below(2000));
                sender.one(|value| ring.send_timeout(value, limit));
            }
            4 => sender.batch(random, |values| ring.send_batch(values)),
            _ => sender.in_place(random, |write| ring.send_with(write)),
        }
    }
}

/// The only sender of an exclusive ring.
pub(super) fn exclusive(
    generation: &Generation,
    ring: &mut ExclusiveRingFeed<Value>,
    random: &mut Random,
) {
    let mut sender = Sender::new(generation, 0);
    let mut pace = Pace::default();
    while !generation.stop.load(Ordering::SeqCst) {
        pace.keep(random);
        match random.below(6) {
            0 | 1 => sender.one(|value| Ok(ring.send(value))),
            2 => sender.one(|value| ring.try_send(value)),
            3 => {
                let limit = Duration::from_micros(random.below(2000));
                sender.one(|value| ring.send_timeout(value, limit));
            }
            4 => sender.batch(random, |values| ring.send_batch(values)),
            _ => sender.in_place(random, |write| ring.send_with(write)),
        }
        if !ring.is_closed() && ring.position() != sender.number {
            generation
                .world
                .violated(format!("position {}", sender.number), ring.position());
        }
    }
}

struct Sender<'a> {
    generation: &'a Generation,
    sender: usize,
    /// That of its next value.
    number: u64,
    /// Where the ring put its last value.
    last: Option<u64>,
}

impl<'a> Sender<'a> {
    fn new(generation: &'a Generation, sender: usize) -> Self {
        Self {
            generation,
            sender,
            number: 0,
            last: None,
        }
    }

    fn value(&self, number: u64) -> Value {
        let Generation { world, touchy, .. } = *self.generation;
        Value::new(world, self.sender, number, touchy)
    }

    /// Sends one value; one that is given back was not sent.
    fn one(&mut self, send: impl FnOnce(Value) -> Result<u64, TrySendError<Value>>) {
        let value = self.value(self.number);
        self.generation.marks.begin(self.sender, 1);
        match send(value) {
            Ok(position) => self.sent_at(position, 1),
            Err(error) => {
                let is_full = error.is_full();
                let (sender, number) = error.into_inner().read();
                if (sender, number) != (self.sender, self.number) {
                    self.generation.world.violated(
                        format!("{:?} given back", (self.sender, self.number)),
                        format!("{:?}", (sender, number)),
                    );
                }
                if !is_full && !self.generation.marks.is_ending() {
                    self.generation.world.violated("an open ring", "Closed");
                }
                self.generation.marks.take_back(self.sender);
            }
        }
    }

    fn batch(&mut self, random: &mut Random, send: impl FnOnce(Vec<Value>) -> u64) {
        let count = random.between(1, 80);
        let numbers = self.number..self.number + count;
        let values = numbers.map(|number| self.value(number)).collect();
        self.generation.marks.begin(self.sender, count);
        let after = send(values);
        self.sent_at(after.wrapping_sub(1), count);
    }

    /// Writes a value in place; a writer that panics has sent nothing.
    fn in_place(
        &mut self,
        random: &mut Random,
        send: impl FnOnce(&mut dyn FnMut(&mut Value)) -> u64,
    ) {
        let Generation { world, touchy, .. } = *self.generation;
        let panics = self.generation.clumsy && random.once_in(20);
        let mut is_called = false;
        self.generation.marks.begin(self.sender, 1);
        let sent = catch_unwind(AssertUnwindSafe(|| {
            send(&mut |value| {
                is_called = true;
                if panics {
                    world.provoke();
                }
                value.rewrite(self.sender, self.number, touchy);
            })
        }));
        match sent {
            Ok(position) if is_called => self.sent_at(position, 1),
            // On an exclusive ring that was closed nothing is written.
            Ok(_) => self.generation.marks.take_back(self.sender),
            Err(_) => self.generation.marks.take_back(self.sender),
        }
    }

    /// The last of so many values went there.
    fn sent_at(&mut self, position: u64, count: u64) {
        let is_open = !self.generation.marks.is_ending();
        if is_open && self.last.is_some_and(|last| position < last + count) {
            self.generation.world.violated(
                format!("a position after {:?}, by {count}", self.last),
                position,
            );
        }
        self.last = Some(position);
        self.number += count;
        self.generation.marks.end(self.sender);
        self.generation.world.sent.add(count as i64);
    }
}
