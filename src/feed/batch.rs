//! The delivery of many values to all subscribers.
//!
//! A batch is sent block by block. Each subscriber gets the whole block before the next subscriber
//! does: an own channel takes it with one read-modify-write. If a subscriber has no room for all of
//! a block, the send waits for it, value by value, before the next block begins. So the order of
//! each subscriber's values, and the waiting for slow subscribers, is the same as with single
//! sends.

use std::collections::VecDeque;
use std::sync::Arc;

use super::blocked;
use super::chunk::{Chunk, Seat};
use super::closures::each_closure;
use super::core::Core;
use super::delivery::{self, Delivery, Settled};
use super::directory::Kind;
use super::entry::Entry;
use super::pending::Pending;
use super::queue::Queue;
use super::record::Section;
use super::refusal::End;
use crate::error::SubscriptionError;
use crate::overflow::Overflow;
use crate::wait::{Caught, catch};

/// Values per block: enough to make the cost of a send small beside that of its values.
const BLOCK: usize = 32;

/// Sends all values, and returns the number of deliveries.
pub(crate) fn send<T: Clone + Send + 'static>(
    core: &Core<T>,
    values: impl IntoIterator<Item = T>,
) -> usize {
    let mut values = values.into_iter();
    let mut batch = Batch {
        block: VecDeque::new(),
        sent: 0,
        clones: Vec::new(),
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
    if let Some(panic) = batch.panic {
        panic.resume();
    }
    batch.delivered
}

struct Batch<T> {
    /// The values of the block that have not been given away.
    block: VecDeque<T>,
    /// How many values were given away: the last subscriber gets the originals.
    sent: usize,
    /// Clones for one subscriber; kept for their memory.
    clones: Vec<T>,
    /// Subscribers that had no room, each with the first value of the block that it has not got.
    late: Vec<(Arc<Entry<T>>, usize)>,
    delivered: usize,
    panic: Option<Caught>,
}

/// How far one subscriber has got in the block.
struct Progress {
    /// The next value for the subscriber.
    next: usize,
    /// After a panic: whether a clone panicked.
    cloning: bool,
}

impl<T: Clone + Send + 'static> Batch<T> {
    /// The number of values in the block, including those given away.
    fn len(&self) -> usize {
        self.sent + self.block.len()
    }

    fn serve(&mut self, core: &Core<T>) {
        let section = core.records().enter();
        let directory = core.directory();
        section.begin(directory.first().place());
        let more = directory.has_live_beyond();
        self.serve_chunk(core, directory.first(), &section, more);
        if !more {
            return;
        }
        let more = directory.visit_each(Kind::Channels, &section, |chunk, more| {
            self.serve_chunk(core, chunk, &section, more);
        });
        // Without later values, the originals may be given away.
        if more {
            directory.visit_each(Kind::Closures, &section, |chunk, _| {
                self.call_chunk(core, chunk, &section);
            });
        }
    }

    fn serve_chunk(&mut self, core: &Core<T>, chunk: &Chunk<T>, section: &Section<'_>, more: bool) {
        let mut left = chunk.live().load();
        let mut rung = 0;
        while left != 0 {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            // SAFETY: the visit to this chunk began before `live` was read, and the seat was live.
            let seat = unsafe { chunk.seat(index) };
            // The last subscriber gets the originals of the values that no late subscriber needs.
            let own = if left != 0 || more {
                0
            } else {
                let late = self.late.iter().map(|(_, next)| *next);
                late.min().unwrap_or(usize::MAX)
            };
            if rung != 0 && seat.own().is_none() {
                // As for a single value.
                // SAFETY: as above.
                unsafe { delivery::ring(chunk, std::mem::take(&mut rung)) };
            }
            self.serve_seat(core, seat, own, section);
            let waits = seat.queue().is_some_and(|queue| queue.bell().is_armed());
            rung |= u64::from(waits) << index;
        }
        if rung != 0 {
            // SAFETY: the visit goes on, and the seats were live in it.
            unsafe { delivery::ring(chunk, rung) };
        }
    }

    /// Gives one subscriber as much of the block as it has room for. Other subscribers also need
    /// the values from index `own` on.
    fn serve_seat(&mut self, core: &Core<T>, seat: &Seat<T>, own: usize, by: &Section<'_>) {
        let mut progress = Progress {
            next: self.sent,
            cloning: false,
        };
        loop {
            let outcome = catch(|| match seat.queue() {
                Some(queue) if queue.overflow() != Overflow::DropOldest => {
                    self.fill(core, seat.entry(), queue, own, by, &mut progress);
                }
                _ => self.offer_each(core, seat.entry(), own, by, &mut progress),
            });
            let Err(panic) = outcome else { return };
            self.clones.clear();
            let cloning = progress.cloning;
            if let Some(panic) =
                delivery::blame(core, seat.entry(), seat.entry().place(), cloning, panic)
            {
                self.panic.get_or_insert(panic);
            }
            if !cloning {
                return;
            }
            progress.next += 1;
        }
    }

    /// Gives an own channel all the values that it has room for in one step.
    fn fill(
        &mut self,
        core: &Core<T>,
        entry: &Arc<Entry<T>>,
        queue: &Queue<T>,
        own: usize,
        by: &Section<'_>,
        progress: &mut Progress,
    ) {
        while progress.next < self.len() {
            let mut missed = 0;
            let pushed = if progress.next >= own {
                let wanted = self.len() - progress.next;
                let panicked = self.clone_run(queue.room_for(wanted), progress.next);
                let cloned = self.clones.len();
                let mut clones = self.clones.drain(..);
                let pushed = queue.push_many(by, cloned, || {
                    clones.next().expect("as many as were asked for")
                });
                drop(clones);
                if let Some(panic) = panicked {
                    // The subscriber has missed the value, unless other senders took the room for
                    // the values before it. Then the value is cloned again.
                    if pushed == Ok(cloned) {
                        entry.miss(entry.place(), 1);
                        missed = 1;
                    }
                    self.panic.get_or_insert(panic);
                }
                pushed
            } else {
                // No subscriber comes after this one, so no subscriber needs the values that it has
                // missed before (a clone that panicked).
                let end = self.len().min(own);
                let wanted = end - progress.next;
                self.block.drain(..progress.next - self.sent);
                self.sent = progress.next;
                let block = &mut self.block;
                let pushed = queue.push_many(by, wanted, || {
                    block.pop_front().expect("as many as were asked for")
                });
                self.sent += pushed.unwrap_or(0);
                pushed
            };
            match pushed {
                Err(()) => return core.end(entry, End::Closed, None),
                Ok(pushed) => {
                    self.delivered += pushed;
                    progress.next += pushed + missed;
                    if pushed + missed == 0 && queue.room_for(1) == 0 {
                        return self.overflow(core, entry, queue, progress.next);
                    }
                }
            }
        }
    }

    /// Clones up to `count` values. If a clone panics, the values before it are delivered first.
    fn clone_run(&mut self, count: usize, next: usize) -> Option<Caught> {
        let from = next - self.sent;
        let clones = &mut self.clones;
        clones.reserve(count);
        let values = self.block.range(from..from + count);
        // Cloned one at a time, so that the clones made before a panic are kept.
        catch(|| values.for_each(|value| clones.push(value.clone()))).err()
    }

    fn overflow(&mut self, core: &Core<T>, entry: &Arc<Entry<T>>, queue: &Queue<T>, next: usize) {
        let missed = (self.len() - next) as u64;
        match queue.overflow() {
            Overflow::DropNewest => queue.miss(queue.place(), missed),
            Overflow::Disconnect => {
                // The first value that does not fit has ended the subscription. The rest is not
                // sent to it any more.
                core.end(entry, End::Overflowed, Some(SubscriptionError::Overflowed));
            }
            Overflow::Block | Overflow::DropOldest => self.late.push((Arc::clone(entry), next)),
        }
    }

    /// Gives any other channel one value after the other.
    fn offer_each(
        &mut self,
        core: &Core<T>,
        entry: &Arc<Entry<T>>,
        own: usize,
        by: &Section<'_>,
        progress: &mut Progress,
    ) {
        while progress.next < self.len() {
            if entry.is_cut() {
                // The carrier, or a value's `clone` or `drop`, has ended the subscription or its
                // feed.
                return;
            }
            let others = progress.next >= own;
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
            if let Err(refusal) = unsafe { entry.offer(value, by) } {
                match delivery::settle(core, entry, refusal) {
                    Settled::Back(value, waits) => {
                        if !others {
                            self.block.push_front(value);
                            self.sent = progress.next;
                        }
                        if waits {
                            return self.late.push((Arc::clone(entry), progress.next));
                        }
                    }
                    Settled::Delivered(panic) => {
                        self.delivered += 1;
                        self.panic.get_or_insert(panic);
                    }
                }
            } else {
                self.delivered += 1;
            }
            progress.next += 1;
        }
    }

    /// Calls the closures of a chunk. The caller has begun a visit to the chunk.
    fn call_chunk(&mut self, core: &Core<T>, chunk: &Chunk<T>, section: &Section<'_>) {
        each_closure(core, chunk, section, |entry| {
            if self.sent != 0 {
                // The originals are gone: these closures subscribed after the batch had begun.
                return false;
            }
            for value in &self.block {
                if entry.is_cut() {
                    // The closure has ended its own subscription, or its feed. As with single
                    // sends, it gets no more values.
                    break;
                }
                // SAFETY: this is in a visit to the entry's seat, which was live in it.
                match catch(|| unsafe { entry.call(value, section.lane()) }) {
                    Ok(()) => self.delivered += 1,
                    Err(panic) => {
                        delivery::blame(core, entry, 0, false, panic);
                        break;
                    }
                }
            }
            true
        });
    }

    /// Waits for the subscribers that had no room, one value after the other.
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
            if delivery.has_pending() {
                blocked::wait(&mut delivery, core, None);
            }
            if let Some(panic) = delivery.take_panic() {
                self.panic.get_or_insert(panic);
            }
            self.delivered += delivery.delivered();
        }
    }
}
