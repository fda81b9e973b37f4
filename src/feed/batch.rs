//! Many values on their way to all subscribers at once.
//!
//! A batch goes block by block. A block goes to one subscriber after the other, whole: an own channel takes it with one
//! read-modify-write. Who has no room for all of a block is waited for, value by value, before the next block begins; so
//! the order of each subscriber's values, and who waits for whom, is that of as many single sends.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use super::blocked;
use super::chunk::{Chunk, Seat};
use super::core::Core;
use super::delivery::{self, Delivery, Payload, Pending};
use super::entry::Entry;
use super::queue::{End, Queue};
use super::record::{Place, Section};
use crate::error::SubscriptionError;
use crate::overflow::Overflow;
use crate::wait::WakerCell;

/// Values per block: enough to make the cost of a send small beside that of its values.
const BLOCK: usize = 32;

/// Sends all values, and returns how many deliveries that made.
pub(crate) fn send<T: Clone + Send + 'static>(
    core: &Core<T>,
    values: impl IntoIterator<Item = T>,
) -> usize {
    let mut values = values.into_iter();
    let mut batch = Batch {
        block: VecDeque::new(),
        sent: 0,
        clones: VecDeque::new(),
        late: Vec::new(),
        delivered: 0,
        panic: None,
    };
    loop {
        batch.block.extend(values.by_ref().take(BLOCK));
        if batch.block.is_empty() {
            break;
        }
        batch.sent = 0;
        batch.serve(core);
        batch.wait_for_late(core);
        batch.block.clear();
        core.tidy();
    }
    if let Some(payload) = batch.panic {
        resume_unwind(payload);
    }
    batch.delivered
}

struct Batch<T> {
    /// The values of the block that have not been given away.
    block: VecDeque<T>,
    /// How many were given away: the last subscriber gets the originals.
    sent: usize,
    /// Clones for one subscriber; kept for their memory.
    clones: VecDeque<T>,
    /// Subscribers that had no room, and the first value of the block that they have not got.
    late: Vec<(Arc<Entry<T>>, usize)>,
    delivered: usize,
    panic: Option<Payload>,
}

/// How far one subscriber has come with the block.
struct Progress {
    /// The next value for it.
    next: usize,
    /// Whether what panics, if something does, is a clone.
    cloning: bool,
}

impl<T: Clone + Send + 'static> Batch<T> {
    /// Values in the block, those given away included.
    fn len(&self) -> usize {
        self.sent + self.block.len()
    }

    fn serve(&mut self, core: &Core<T>) {
        let section = core.records().enter();
        let directory = section.protect(core.directory());
        section.narrow(core.first().place());
        let is_live =
            |chunks: &[Arc<Chunk<T>>]| chunks.iter().any(|chunk| chunk.live().load() != 0);
        let (channels, closures) = directory.map_or((&[][..], &[][..]), |all| {
            (&all.channels[..], &all.closures[..])
        });
        self.serve_chunk(
            core,
            core.first(),
            &section,
            is_live(channels) || is_live(closures),
        );
        for (index, chunk) in channels.iter().enumerate() {
            section.begin(chunk.place());
            self.serve_chunk(
                core,
                chunk,
                &section,
                is_live(&channels[index + 1..]) || is_live(closures),
            );
        }
        for chunk in closures {
            self.call_chunk(core, chunk, &section);
        }
    }

    fn serve_chunk(&mut self, core: &Core<T>, chunk: &Chunk<T>, section: &Section<'_>, more: bool) {
        let live = chunk.live().load();
        let mut left = live;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            // SAFETY: the visit to this chunk began before `live` was read, and the seat was live.
            let seat = unsafe { chunk.seat(index) };
            let others = left != 0 || more || !self.late.is_empty();
            self.serve_seat(core, seat, others, section.lane());
        }
        WakerCell::fence();
        let mut rung = live;
        while rung != 0 {
            // SAFETY: as above.
            let seat = unsafe { chunk.seat(rung.trailing_zeros() as usize) };
            if let Some(queue) = seat.queue() {
                queue.bell().wake();
            }
            rung &= rung - 1;
        }
    }

    /// Gives one subscriber as much of the block as it has room for.
    fn serve_seat(&mut self, core: &Core<T>, seat: &Seat<T>, others: bool, lane: usize) {
        let mut progress = Progress {
            next: self.sent,
            cloning: false,
        };
        loop {
            let outcome = catch_unwind(AssertUnwindSafe(|| match seat.queue() {
                Some(queue) if queue.overflow() != Overflow::DropOldest => {
                    self.fill(core, seat.entry(), queue, others, &mut progress);
                }
                _ => self.offer_each(core, seat.entry(), others, lane, &mut progress),
            }));
            let Err(payload) = outcome else { return };
            self.clones.clear();
            let cloning = progress.cloning;
            if let Some(payload) = delivery::blame(core, seat.entry(), cloning, payload) {
                self.panic.get_or_insert(payload);
            }
            if !cloning {
                return;
            }
            progress.next += 1;
        }
    }

    /// An own channel takes what it has room for in one go.
    fn fill(
        &mut self,
        core: &Core<T>,
        entry: &Arc<Entry<T>>,
        queue: &Queue<T>,
        others: bool,
        progress: &mut Progress,
    ) {
        while progress.next < self.len() {
            let wanted = self.len() - progress.next;
            let pushed = if others {
                self.clone_run(queue.room_for(wanted), progress);
                let clones = &mut self.clones;
                let pushed = queue.push_many(clones.len(), || {
                    clones.pop_front().expect("as many as were asked for")
                });
                self.clones.clear();
                pushed
            } else {
                // Nobody comes after this one, so what it has missed before (a clone that panicked) nobody needs.
                self.block.drain(..progress.next - self.sent);
                self.sent = progress.next;
                let block = &mut self.block;
                let pushed = queue.push_many(wanted, || {
                    block.pop_front().expect("as many as were asked for")
                });
                self.sent += pushed.unwrap_or(0);
                pushed
            };
            match pushed {
                Err(()) => return drop(core.end(entry, End::Closed, None)),
                Ok(pushed) => {
                    self.delivered += pushed;
                    progress.next += pushed;
                    if pushed == 0 && queue.room_for(1) == 0 {
                        return self.overflow(core, entry, queue, progress.next);
                    }
                }
            }
        }
    }

    /// Clones up to so many values; fewer if one panics: those before it are delivered first.
    fn clone_run(&mut self, count: usize, progress: &mut Progress) {
        let from = progress.next - self.sent;
        progress.cloning = true;
        for value in self.block.range(from..from + count) {
            match catch_unwind(AssertUnwindSafe(|| value.clone())) {
                Ok(clone) => self.clones.push_back(clone),
                Err(_) if !self.clones.is_empty() => break,
                Err(payload) => resume_unwind(payload),
            }
        }
        progress.cloning = false;
    }

    fn overflow(&mut self, core: &Core<T>, entry: &Arc<Entry<T>>, queue: &Queue<T>, next: usize) {
        let missed = (self.len() - next) as u64;
        match queue.overflow() {
            Overflow::DropNewest => queue.refuse(missed),
            Overflow::Disconnect => {
                entry.count_dropped(missed);
                core.end(entry, End::Overflowed, Some(SubscriptionError::Overflowed));
            }
            Overflow::Block | Overflow::DropOldest => self.late.push((Arc::clone(entry), next)),
        }
    }

    /// Any other channel takes one value after the other.
    fn offer_each(
        &mut self,
        core: &Core<T>,
        entry: &Arc<Entry<T>>,
        others: bool,
        lane: usize,
        progress: &mut Progress,
    ) {
        while progress.next < self.len() {
            progress.cloning = true;
            let value = if others {
                self.block[progress.next - self.sent].clone()
            } else {
                self.block.drain(..progress.next - self.sent);
                self.sent = progress.next + 1;
                self.block.pop_front().expect("there is a next value")
            };
            progress.cloning = false;
            // SAFETY: the caller is in a visit in which the seat was live.
            if let Err(refusal) = unsafe { entry.offer(value, lane) } {
                let (value, waits) = delivery::settle(core, entry, refusal);
                if !others {
                    self.block.push_front(value);
                    self.sent = progress.next;
                }
                if waits {
                    return self.late.push((Arc::clone(entry), progress.next));
                }
                if entry.is_cut() {
                    return;
                }
            } else {
                self.delivered += 1;
            }
            progress.next += 1;
        }
    }

    fn call_chunk(&mut self, core: &Core<T>, chunk: &Chunk<T>, section: &Section<'_>) {
        let mut left = u64::MAX;
        loop {
            section.begin(chunk.place());
            left &= chunk.live().load();
            // If the originals are gone, these closures came after the batch had begun.
            if left == 0 || self.sent != 0 {
                return;
            }
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            section.narrow(Place::seat(chunk.key(), index));
            // SAFETY: the visit to this seat began before `live` was read, and it was live.
            let entry = unsafe { chunk.seat(index) }.entry();
            for value in &self.block {
                // SAFETY: as above.
                match catch_unwind(AssertUnwindSafe(|| unsafe {
                    entry.call(value, section.lane())
                })) {
                    Ok(()) => self.delivered += 1,
                    Err(payload) => {
                        delivery::blame(core, entry, false, payload);
                        break;
                    }
                }
            }
        }
    }

    /// Waits for those who had no room, one value after the other.
    fn wait_for_late(&mut self, core: &Core<T>) {
        if self.late.is_empty() {
            return;
        }
        let late = std::mem::take(&mut self.late);
        for (index, value) in (self.sent..).zip(self.block.drain(..)) {
            let due = late
                .iter()
                .filter(|(entry, next)| *next <= index && !entry.is_cut());
            let due: Vec<_> = due
                .map(|(entry, _)| Pending::new(Arc::clone(entry)))
                .collect();
            if due.is_empty() {
                continue;
            }
            let mut delivery = Delivery::to(value, due);
            delivery.retry(core);
            if !delivery.pending.is_empty() {
                blocked::wait(&mut delivery, core, None);
            }
            if let Some(payload) = delivery.take_panic() {
                self.panic.get_or_insert(payload);
            }
            self.delivered += delivery.delivered;
        }
    }
}
