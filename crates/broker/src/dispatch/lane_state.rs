//! The state of a lane, which its lock protects.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use crate::dispatch::batch::Batch;
use crate::dispatch::segment::{Cursor, Garbage};
use crate::dispatch::{Arrival, Member};

pub(super) struct Inner {
    pub(super) queue: VecDeque<Arrival>,
    /// Whether the lane follows a log, and where it reads next, unless it is idle. The deliveries
    /// in the queue come before that position. Both change only under the lock of the log too.
    is_follower: bool,
    cursor: Option<Cursor>,
    pub(super) seats: Vec<Seat>,
    /// How many more jobs all members together may have.
    pub(super) free: usize,
    /// Where the search for a member with a free job begins, so that members take turns.
    turn: usize,
    pub(super) capacity: usize,
    /// There is room for at least this many more deliveries. Deliveries in the batches of jobs
    /// count against the capacity, and jobs update those counts with each message. The counts are
    /// read only when this number is used up.
    pub(super) room: usize,
    pub(super) dropped: u64,
    /// How many publishers wait at `room`.
    pub(super) waiting: usize,
    /// The tasks of publishers that wait for room.
    pub(super) wakers: Vec<Waker>,
    /// Whether the owner saw that the lane is full and has to be notified when it has room.
    pub(super) was_full: bool,
    /// How many deliveries wait for a timer before they are queued again.
    pub(super) delayed: usize,
    /// How many deliveries are held by jobs that will try them again.
    pub(super) parked: usize,
    /// Set when the last member has left.
    pub(super) closed: bool,
}

/// A member, and the number of its jobs.
pub(super) struct Seat {
    pub(super) member: Arc<Member>,
    pub(super) jobs: usize,
}

/// The work to do after the lock is released, when room was made.
#[derive(Default)]
pub(super) struct Told {
    pub(super) waiting: bool,
    pub(super) was_full: bool,
    pub(super) wakers: Vec<Waker>,
}

impl Inner {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            is_follower: false,
            cursor: None,
            seats: Vec::new(),
            free: 0,
            turn: 0,
            capacity,
            room: 0,
            dropped: 0,
            waiting: 0,
            wakers: Vec::new(),
            was_full: false,
            delayed: 0,
            parked: 0,
            closed: false,
        }
    }

    pub(super) fn is_follower(&self) -> bool {
        self.is_follower
    }

    /// Makes the lane an idle follower. Returns the memory to drop.
    pub(super) fn follow(&mut self) -> Garbage {
        self.is_follower = true;
        self.cursor
            .take()
            .map_or(Garbage::None, Cursor::into_garbage)
    }

    /// The place where an idle follower has to read.
    pub(super) fn read_from(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// Copies the messages of the log that were not taken, up to this end, into the queue, and
    /// stops following. Returns the memory to drop.
    pub(super) fn go_apart(&mut self, end: u64) -> Garbage {
        self.is_follower = false;
        self.room = 0;
        let Some(cursor) = self.cursor.take() else {
            return Garbage::None;
        };
        self.queue.extend(cursor.clones(end).map(Arrival::first));
        cursor.into_garbage()
    }

    /// How many messages of the log, up to this end, were not taken.
    fn behind(&self, end: u64) -> usize {
        let cursor = self.cursor.as_ref();
        cursor.map_or(0, |cursor| end.saturating_sub(cursor.position()) as usize)
    }

    /// How many messages of the log are left at the end of the lane. A publisher that still waits
    /// gets its message back.
    pub(super) fn left_in_log(&self, end: u64) -> usize {
        match self.is_follower {
            true => self.behind(end).saturating_sub(self.waiting),
            false => 0,
        }
    }

    /// Whether there is a delivery to take.
    pub(super) fn has_waiting(&self, end: u64) -> bool {
        !self.queue.is_empty() || self.behind(end) > 0
    }

    /// How many more messages fit behind this end of the log.
    pub(super) fn room_before(&self, end: u64) -> u64 {
        self.capacity.saturating_sub(self.pending(end)) as u64
    }

    /// Takes deliveries into an empty batch. Returns whether there were any, and the memory to
    /// drop.
    #[inline]
    pub(super) fn take(&mut self, most: usize, batch: &mut Batch) -> (bool, [Garbage; 2]) {
        let count = self.queue.len();
        if count > most {
            batch.queue.extend(self.queue.drain(..most));
        } else if count > 0 {
            std::mem::swap(&mut self.queue, &mut batch.queue);
        } else if let Some(cursor) = &mut self.cursor {
            return cursor.take(most, &mut batch.run);
        }
        // The next deliveries may come from the queue for a long time, while the log grows.
        (count > 0, [batch.run.release(), Garbage::None])
    }

    /// Publishers and the driver are notified of room when half of the buffer is free, so that they
    /// find room for several messages. A lane with deliveries has a job (invariant 1), so this
    /// always happens. Deliveries that wait for a timer have no job, so they do not count, as long
    /// as there is any room.
    #[inline]
    pub(super) fn tell(&mut self, end: impl FnOnce() -> u64) -> Told {
        if self.waiting == 0 && !self.was_full && self.wakers.is_empty() {
            return Told::default();
        }
        let pending = self.pending(end());
        if pending >= self.capacity || pending - self.delayed > self.capacity / 2 {
            return Told::default();
        }
        Told {
            waiting: self.waiting > 0,
            was_full: std::mem::take(&mut self.was_full),
            wakers: std::mem::take(&mut self.wakers),
        }
    }

    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        let members = self.seats.iter().map(|seat| Arc::clone(&seat.member));
        members.collect()
    }

    /// How many deliveries wait for a handler: in the queue, in the log up to this end, not yet
    /// begun in the batch of a job, or for their timer.
    pub(super) fn pending(&self, end: u64) -> usize {
        self.queue.len()
            + self.behind(end)
            + self.delayed
            + self
                .seats
                .iter()
                .map(|seat| seat.member.not_begun())
                .sum::<usize>()
    }

    #[inline]
    pub(super) fn is_full(&mut self, end: u64) -> bool {
        if self.room == 0 || self.is_follower {
            self.room = self.capacity.saturating_sub(self.pending(end));
        }
        self.room == 0
    }

    /// Finds a member that has fewer jobs than its concurrency, and counts one more for it. The new
    /// job may find that its member has been cancelled in the meantime. Then the last job of that
    /// member, which hands back nothing, creates the missing job for another member.
    #[inline]
    pub(super) fn next_free(&mut self) -> Option<Arc<Member>> {
        match self.free {
            0 => None,
            _ => self.find_free(),
        }
    }

    fn find_free(&mut self) -> Option<Arc<Member>> {
        let count = self.seats.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let seat = &mut self.seats[at];
            // A job of a member that was cancelled and has not left yet would only give up its
            // place again.
            if seat.jobs < seat.member.concurrency() && !seat.member.is_cancelled() {
                seat.jobs += 1;
                self.free -= 1;
                self.turn = (at + 1) % count;
                return Some(Arc::clone(&seat.member));
            }
        }
        None
    }

    pub(super) fn give_up_place(&mut self, member: &Arc<Member>) {
        // A member that has left has no seat.
        let seat = self
            .seats
            .iter_mut()
            .find(|seat| Arc::ptr_eq(&seat.member, member));
        if let Some(seat) = seat {
            seat.jobs -= 1;
            self.free += 1;
        }
    }
}
