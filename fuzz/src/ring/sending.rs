//! Sends.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fanfeed::TrySendError;

use super::program::{BatchForm, Form};
use super::sender::Sender;
use super::world::World;
use crate::trace::{ensure, expect};
use crate::value::{Value, panic_on_purpose};

impl World {
    fn value(&mut self) -> Value {
        self.number += 1;
        Value::new(self.number)
    }

    pub(crate) fn send(&mut self, form: Form) {
        let room = self.room();
        let slowest = self.slowest();
        let waits = matches!(form, Form::Send | Form::InPlace | Form::InPlacePanicking);
        let form = if room == 0 && !self.track.is_closed && waits {
            Form::Try
        } else {
            form
        };
        let is_in_place = matches!(form, Form::InPlace | Form::InPlacePanicking);
        let value = self.value();
        let number = value.number();
        let next = self.track.next();
        let sender = &mut self.sender;
        let outcome = catch_unwind(AssertUnwindSafe(|| sender.send(form, value)));
        let is_closed = self.track.is_closed;
        match outcome {
            Ok(None) => {}
            Ok(Some(Ok(position))) => {
                // A send that cannot fail says where the ring ended.
                let waits = is_in_place || matches!(form, Form::Send);
                ensure(!is_closed || waits, || {
                    "a value was sent on a closed ring".into()
                });
                expect("position", &position, &next);
                if !is_closed {
                    ensure(room > 0, || {
                        "a value was sent where there was no room".into()
                    });
                    self.track.push(number, slowest);
                }
            }
            Ok(Some(Err(TrySendError::Closed(value)))) => {
                expect("the value that came back", &value.number(), &number);
                ensure(is_closed, || "Closed, and the ring is not".into());
            }
            Ok(Some(Err(TrySendError::Full(value)))) => {
                expect("the value that came back", &value.number(), &number);
                ensure(!is_closed && room == 0, || {
                    format!("Full, with room for {room}")
                });
            }
            Err(_) => {
                ensure(!is_closed && matches!(form, Form::InPlacePanicking), || {
                    "a send panicked".into()
                });
                self.track.write(slowest);
                self.track.reach = self.track.reach.max(next + 1);
                if self.sender.is_exclusive() {
                    self.leftover = self.leftover.max(next + 1);
                }
            }
        }
    }

    /// A batch; one that would wait is of as many as there is room for.
    pub(crate) fn batch(&mut self, count: u8, form: BatchForm) {
        match form {
            BatchForm::Iterator | BatchForm::Slice | BatchForm::Panicking => {}
            BatchForm::Try | BatchForm::Timeout | BatchForm::Deadline => {
                return self.batch_in_time(count, form);
            }
            BatchForm::InPlace | BatchForm::InPlaceTry | BatchForm::InPlacePanicking => {
                return self.batch_in_place(count, form);
            }
        }
        let is_closed = self.track.is_closed;
        let has_strict = self.room() < self.track.capacity || self.has_strict();
        let count = u64::from(count % 70);
        let count = if has_strict {
            count.min(self.room())
        } else {
            count
        };
        let values: Vec<Value> = (0..count).map(|_| self.value()).collect();
        let numbers: Vec<u64> = values.iter().map(Value::number).collect();
        let next = self.track.next();
        let slowest = self.slowest();
        let sender = &mut self.sender;
        let outcome = catch_unwind(AssertUnwindSafe(|| match form {
            BatchForm::Iterator => sender.send_batch(values.into_iter()),
            BatchForm::Slice => sender.send_slice(&values),
            _ => {
                let mut values = values.into_iter();
                sender.send_batch(std::iter::from_fn(move || {
                    Some(values.next().unwrap_or_else(|| panic_on_purpose()))
                }))
            }
        }));
        let sent = match outcome {
            Ok(None) => return,
            Ok(Some(position)) => {
                let sent = if is_closed { 0 } else { count };
                expect("position after a batch", &position, &(next + sent));
                sent
            }
            Err(_) if self.sender.is_exclusive() => count,
            // They are taken 32 at a time before any of those is sent.
            Err(_) => count / 32 * 32,
        };
        if is_closed {
            return;
        }
        for number in &numbers[..sent as usize] {
            self.track.push(*number, slowest);
        }
        if count > sent || matches!(form, BatchForm::Panicking) {
            self.track.write(slowest);
            self.track.reach = self.track.reach.max(self.track.next() + 1);
        }
    }

    /// A batch of which what finds no room comes back.
    fn batch_in_time(&mut self, count: u8, form: BatchForm) {
        let count = u64::from(count % 70);
        let has_strict = self.has_strict();
        let room = if has_strict { self.room() } else { count };
        let values: Vec<Value> = (0..count).map(|_| self.value()).collect();
        let numbers: Vec<u64> = values.iter().map(Value::number).collect();
        let (next, slowest) = (self.track.next(), self.slowest());
        let Some(outcome) = self.sender.try_send_batch(form, values.into_iter()) else {
            return;
        };
        let sent = if self.track.is_closed {
            0
        } else {
            count.min(room)
        };
        match outcome {
            Ok(position) => {
                expect("position after a batch", &position, &(next + sent));
                expect("values sent", &count, &sent);
            }
            Err(error) => {
                expect("Closed", &error.is_closed(), &self.track.is_closed);
                let rest = error.into_inner();
                let rest: Vec<u64> = rest.iter().map(Value::number).collect();
                ensure(sent < count, || "there was room for all".into());
                expect("what came back", &rest, &numbers[sent as usize..].to_vec());
            }
        }
        for number in &numbers[..sent as usize] {
            self.track.push(*number, slowest);
        }
        if sent < count && !self.track.is_closed {
            self.track.write(slowest);
            self.track.reach = self.track.reach.max(self.track.next() + 1);
        }
    }

    /// Claims slots of an exclusive ring, and has them written in place.
    fn batch_in_place(&mut self, count: u8, form: BatchForm) {
        let most = self.track.max_claim();
        let (room, slowest) = (self.room(), self.slowest());
        let (next, is_closed) = (self.track.next(), self.track.is_closed);
        let mut count = u64::from(count) % (most + 1);
        if !matches!(form, BatchForm::InPlaceTry) && self.has_strict() {
            count = count.min(room);
        }
        let first = self.number + 1;
        self.number += count;
        let Sender::Exclusive(Some(ring)) = &mut self.sender else {
            return;
        };
        let mut written = 0;
        let mut write = |index: usize, slot: &mut Value| {
            expect("index", &(index as u64), &written);
            slot.renumber(first + written);
            written += 1;
            if matches!(form, BatchForm::InPlacePanicking) && written == count {
                panic_on_purpose();
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| match form {
            BatchForm::InPlaceTry => ring
                .try_send_batch_with(count as usize, &mut write)
                .map_err(|error| error.is_closed()),
            _ => Ok(ring.send_batch_with(count as usize, &mut write)),
        }));
        match outcome {
            Ok(Ok(position)) => {
                let sent = if is_closed { 0 } else { count };
                expect("position after a claim", &position, &(next + sent));
                expect("written", &written, &sent);
                ensure(sent <= room, || format!("{sent} with room for {room}"));
                for number in first..first + sent {
                    self.track.push(number, slowest);
                }
                if sent > 0 {
                    self.track.claim(next, sent);
                }
            }
            Ok(Err(told_closed)) => {
                expect("written", &written, &0);
                expect("Closed", &told_closed, &is_closed);
                ensure(is_closed || room < count, || {
                    format!("Full, with room for {room} of {count}")
                });
            }
            Err(_) => {
                let planned = matches!(form, BatchForm::InPlacePanicking) && count > 0;
                ensure(!is_closed && planned, || "a claim panicked".into());
                self.track.claim(next, count);
                self.leftover = self.leftover.max(next + count);
            }
        }
    }

    fn has_strict(&self) -> bool {
        self.readers
            .iter()
            .any(|one| one.kind == super::program::Kind::Strict && one.cancelled.is_none())
    }
}
