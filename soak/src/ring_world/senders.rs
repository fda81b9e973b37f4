//! The senders on a ring, of every kind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfeed::{ExclusiveRingFeed, RingFeed, TrySendError};

use crate::inbox::poll_for;
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
        let limit = Duration::from_micros(random.below(2000));
        match random.below(9) {
            0 | 1 => sender.one(|value| Ok(ring.send(value))),
            2 => sender.one(|value| ring.try_send(value)),
            3 => sender.one(|value| ring.send_timeout(value, limit)),
            4 => sender.batch(random, |values| ring.send_batch(values)),
            5 => sender.batch_in_time(random, |values| ring.try_send_batch(values)),
            6 => sender.batch_in_time(random, |values| ring.send_batch_timeout(values, limit)),
            7 => sender.task(|value| poll_for(limit, ring.send_async(value))),
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
        let limit = Duration::from_micros(random.below(2000));
        match random.below(9) {
            0 | 1 => sender.one(|value| Ok(ring.send(value))),
            2 => sender.one(|value| ring.try_send(value)),
            3 => sender.one(|value| ring.send_timeout(value, limit)),
            4 => sender.batch(random, |values| ring.send_batch(values)),
            5 => sender.batch_in_time(random, |values| ring.try_send_batch(values)),
            6 => sender.batch_in_time(random, |values| ring.send_batch_timeout(values, limit)),
            7 => {
                let count = random.between(1, ring.max_claim().min(80) as u64);
                sender.claim(random, count, |write| {
                    ring.send_batch_with(count as usize, write)
                });
            }
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
                self.generation.marks.take_back(self.sender, 1);
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

    /// Sends a batch of which what is given back was not sent.
    fn batch_in_time(
        &mut self,
        random: &mut Random,
        send: impl FnOnce(Vec<Value>) -> Result<u64, TrySendError<Vec<Value>>>,
    ) {
        let Generation { world, marks, .. } = self.generation;
        let count = random.between(1, 80);
        let numbers = self.number..self.number + count;
        let values = numbers.map(|number| self.value(number)).collect();
        marks.begin(self.sender, count);
        match send(values) {
            Ok(after) => self.sent_at(after.wrapping_sub(1), count),
            Err(error) => {
                if error.is_closed() && !marks.is_ending() {
                    world.violated("an open ring", "Closed");
                }
                let rest = error.into_inner();
                let first = rest.first().map(|value| value.read().1);
                let sent = count.saturating_sub(rest.len() as u64);
                if first != Some(self.number + sent) {
                    world.violated(
                        format!("values from {} given back", self.number + sent),
                        format!("from {first:?}"),
                    );
                }
                marks.take_back(self.sender, count - sent);
                marks.end(self.sender);
                self.number += sent;
                // Others may have sent between the last of these and now.
                self.last = None;
                world.sent.add(sent as i64);
            }
        }
    }

    /// Sends one value as a task, which may be given up.
    fn task(&mut self, send: impl FnOnce(Value) -> Option<u64>) {
        let value = self.value(self.number);
        self.generation.marks.begin(self.sender, 1);
        match send(value) {
            Some(position) => self.sent_at(position, 1),
            None => self.generation.marks.take_back(self.sender, 1),
        }
    }

    /// Claims slots and writes them in place; a writer that panics has sent nothing.
    fn claim(
        &mut self,
        random: &mut Random,
        count: u64,
        send: impl FnOnce(&mut dyn FnMut(usize, &mut Value)) -> u64,
    ) {
        let Generation { world, touchy, .. } = *self.generation;
        let panics = self.generation.clumsy && random.once_in(20);
        let mut written = 0;
        self.generation.marks.begin(self.sender, count);
        let sent = catch_unwind(AssertUnwindSafe(|| {
            send(&mut |_, value| {
                written += 1;
                if panics && written == count {
                    world.provoke();
                }
                value.rewrite(self.sender, self.number + written - 1, touchy);
            })
        }));
        match sent {
            Ok(after) if written != 0 => self.sent_at(after.wrapping_sub(1), count),
            // On a ring that was closed nothing is written.
            _ => self.generation.marks.take_back(self.sender, count),
        }
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
            Ok(_) => self.generation.marks.take_back(self.sender, 1),
            Err(_) => self.generation.marks.take_back(self.sender, 1),
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
