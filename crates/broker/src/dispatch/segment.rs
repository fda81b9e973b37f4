//! The memory of a log: segments that are filled once, and cursors that read them.
//!
//! # Invariants
//!
//! 1. Slots are filled in order, by the holder of the log's lock. `next` is set after the last slot
//!    of the segment that is ever filled. The first slot of a segment is filled before another
//!    segment's `next` refers to it.
//! 2. A segment lives while the log writes to it or a follower has its cursor in it, and it keeps
//!    the later segments alive. Its slots also live while a job reads a run of them. So a message
//!    lives until the last follower has passed its segment, and a job whose handler blocks keeps
//!    the messages of one segment, even if its lane is apart and the log grows.
//! 3. Dropping the last reference drops messages, which runs user code, so no lock is held then.
//!    Panics of destructors are caught there.

use std::sync::{Arc, OnceLock};

use crate::dispatch::quietly;
use crate::message::Message;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The size of a log's first segment, which an idle log keeps. Later segments are twice as long as
/// the one before.
const FIRST: usize = 4;
const LONGEST: usize = 64;
/// A segment takes no more messages when its messages have this many bytes. Handled messages stay
/// until their segment is passed, so this bounds the handled messages that a slow handler keeps
/// alive.
const BYTES: usize = 64 * 1024;

pub(super) struct Segment {
    slots: Arc<Slots>,
    next: OnceLock<Arc<Segment>>,
}

type Slot = OnceLock<Message>;

/// The messages of a segment.
pub(super) struct Row<T: ?Sized + AsMut<[Slot]>> {
    /// Whether the log continues in another segment.
    ended: Ended,
    messages: T,
}

/// As large as a slot and aligned to its size, so that no later slot spans two cache lines.
#[repr(align(16))]
struct Ended(AtomicBool);

pub(super) type Slots = Row<[Slot]>;

impl<const N: usize> Row<[Slot; N]> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ended: Ended(AtomicBool::new(false)),
            messages: [const { OnceLock::new() }; N],
        })
    }
}

impl<T: ?Sized + AsMut<[Slot]>> Drop for Row<T> {
    fn drop(&mut self) {
        let messages = self.messages.as_mut().iter_mut();
        drop_each(messages.filter_map(OnceLock::take));
    }
}

/// Drops messages. Their destructors are user code: if one panics, the other messages are still
/// dropped.
fn drop_each(mut messages: impl Iterator<Item = Message>) {
    while quietly(|| messages.by_ref().for_each(drop)).is_none() {}
}

impl Slots {
    fn of_length(length: usize) -> Arc<Self> {
        match length {
            FIRST => Row::<[_; FIRST]>::new(),
            8 => Row::<[_; 8]>::new(),
            16 => Row::<[_; 16]>::new(),
            32 => Row::<[_; 32]>::new(),
            _ => Row::<[_; LONGEST]>::new(),
        }
    }

    fn len(&self) -> usize {
        self.messages.len()
    }

    #[inline]
    fn get(&self, at: usize) -> Option<&Message> {
        self.messages.get(at)?.get()
    }
}

impl Segment {
    fn new(length: usize) -> Self {
        Self {
            slots: Slots::of_length(length),
            next: OnceLock::new(),
        }
    }

    #[inline]
    fn get(&self, at: usize) -> Option<&Message> {
        self.slots.get(at)
    }

    /// Records that the log continues in this segment.
    fn set_next(&self, next: &Arc<Self>) {
        let set = self.next.set(Arc::clone(next));
        debug_assert!(set.is_ok(), "a segment has one behind it");
        // ORDERING: a hint for jobs. They look at `next` under the lock of their lane.
        self.slots.ended.0.store(true, Ordering::Relaxed);
    }
}

/// Drops the chain in a loop. Recursion along a long chain would overflow the stack.
impl Drop for Segment {
    fn drop(&mut self) {
        let mut next = self.next.take();
        while let Some(mut segment) = next.and_then(Arc::into_inner) {
            next = segment.next.take();
        }
    }
}

/// The end of a log where messages are added.
#[derive(Default)]
pub(super) struct Writer {
    segment: Option<Arc<Segment>>,
    used: usize,
    bytes: usize,
}

/// Memory to drop after the locks are released. Dropping it does not panic.
#[derive(Default)]
#[allow(dead_code, reason = "it is only dropped")]
pub(super) enum Garbage {
    #[default]
    None,
    Segment(Arc<Segment>),
    Slots(Arc<Slots>),
    Messages([Option<Message>; FIRST]),
}

impl Drop for Garbage {
    fn drop(&mut self) {
        if let Self::Messages(messages) = self {
            drop_each(messages.iter_mut().filter_map(Option::take));
        }
    }
}

impl Garbage {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl Writer {
    /// Adds a message. Returns its segment and its place there. If the segment is new, the previous
    /// segment is put in `passed`, which the caller drops when it holds no lock.
    #[inline]
    pub(super) fn append(
        &mut self,
        message: Message,
        passed: &mut Option<Arc<Segment>>,
    ) -> (&Arc<Segment>, usize) {
        let room = match &self.segment {
            Some(segment) => self.used < segment.slots.len() && self.bytes < BYTES,
            None => false,
        };
        if !room {
            return self.append_to_new(message, passed);
        }
        self.bytes += message.size();
        let at = self.used;
        self.used += 1;
        let segment = self.segment.as_ref().expect("it has room");
        let set = segment.slots.messages[at].set(message);
        debug_assert!(set.is_ok(), "a slot is filled once");
        (segment, at)
    }

    fn append_to_new(
        &mut self,
        message: Message,
        passed: &mut Option<Arc<Segment>>,
    ) -> (&Arc<Segment>, usize) {
        let old = self.segment.take();
        let length = old
            .as_ref()
            .map_or(FIRST, |old| (old.slots.len() * 2).min(LONGEST));
        self.bytes = message.size();
        self.used = 1;
        let new = Arc::new(Segment::new(length));
        let _ = new.slots.messages[0].set(message);
        if let Some(old) = &old {
            old.set_next(&new);
        }
        *passed = old;
        (self.segment.insert(new), 0)
    }

    /// Removes the messages when no follower has a cursor.
    pub(super) fn clear(&mut self) -> Garbage {
        if self.used == 0 {
            return Garbage::None;
        }
        self.used = 0;
        self.bytes = 0;
        if let Some(segment) = self.segment.as_mut().and_then(Arc::get_mut)
            && let Some(slots) = Arc::get_mut(&mut segment.slots)
            && slots.len() == FIRST
        {
            return Garbage::Messages(std::array::from_fn(|at| slots.messages[at].take()));
        }
        self.segment.take().map_or(Garbage::None, Garbage::Segment)
    }
}

/// The place at which a follower reads next.
pub(super) struct Cursor {
    segment: Arc<Segment>,
    at: usize,
    /// The number of this message in the log.
    position: u64,
}

/// Messages that a job reads in place.
#[derive(Default)]
pub(crate) struct Run {
    slots: Option<Arc<Slots>>,
    at: usize,
    end: usize,
}

impl Cursor {
    pub(super) fn new(segment: &Arc<Segment>, at: usize, position: u64) -> Self {
        Self {
            segment: Arc::clone(segment),
            at,
            position,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Takes a run of at most `most` messages. Returns whether there were any, and the memory to
    /// drop.
    #[inline]
    pub(super) fn take(&mut self, most: usize, run: &mut Run) -> (bool, [Garbage; 2]) {
        let mut garbage = [Garbage::None, Garbage::None];
        if self.segment.get(self.at).is_none() {
            // After `next` is set, no slot of this segment is filled: invariant 1.
            let Some(next) = self.segment.next.get().map(Arc::clone) else {
                return (false, garbage);
            };
            if self.segment.get(self.at).is_none() {
                garbage[0] = Garbage::Segment(std::mem::replace(&mut self.segment, next));
                self.at = 0;
            }
        }
        let mut end = self.at;
        while end < self.at + most && self.segment.get(end).is_some() {
            end += 1;
        }
        // Other threads write the reference count, so it is not touched while the run stays in its
        // segment.
        let slots = &self.segment.slots;
        let known = run.slots.as_ref();
        if known.is_none_or(|known| !Arc::ptr_eq(known, slots))
            && let Some(old) = run.slots.replace(Arc::clone(slots))
        {
            garbage[1] = Garbage::Slots(old);
        }
        run.at = self.at;
        run.end = end;
        self.position += (end - self.at) as u64;
        self.at = end;
        (true, garbage)
    }

    /// Clones the messages up to this end of the log.
    pub(super) fn clones(&self, end: u64) -> impl Iterator<Item = Message> {
        let mut segment = &self.segment;
        let mut at = self.at;
        (self.position..end).map(move |_| {
            if segment.get(at).is_none() {
                segment = segment.next.get().expect("the log goes on to its end");
                at = 0;
            }
            let message = segment.get(at).expect("slots are filled in order");
            at += 1;
            message.clone()
        })
    }

    pub(super) fn into_garbage(self) -> Garbage {
        Garbage::Segment(self.segment)
    }
}

impl Run {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.at
    }

    /// The first message.
    #[inline]
    pub(super) fn first(&self) -> Option<&Message> {
        match self.at < self.end {
            true => self.slots.as_ref()?.get(self.at),
            false => None,
        }
    }

    #[inline]
    pub(super) fn pass(&mut self) {
        self.at += 1;
    }

    /// Removes the last message.
    pub(super) fn pop_back(&mut self) -> Option<Message> {
        if self.at == self.end {
            return None;
        }
        self.end -= 1;
        self.slots.as_ref()?.get(self.end).cloned()
    }

    /// Whether the log continues after this run.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        // ORDERING: see `set_next`.
        self.slots.as_ref().is_some_and(|slots| {
            slots.get(self.end).is_some() || slots.ended.0.load(Ordering::Relaxed)
        })
    }

    /// Removes the references to messages when the whole run has been handled. Returns the memory
    /// to drop.
    #[inline]
    pub(super) fn release(&mut self) -> Garbage {
        debug_assert_eq!(self.len(), 0, "the batch of the job is empty");
        self.slots.take().map_or(Garbage::None, Garbage::Slots)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Run, Writer};
    use crate::Message;

    #[test]
    fn a_long_chain_is_dropped_without_recursion() {
        let mut writer = Writer::default();
        let mut passed = None;
        let (first, _) = writer.append(Message::new("k", ""), &mut passed);
        let cursor = Cursor::new(first, 0, 0);
        let message = Message::new("k", "x");
        for _ in 0..10_000_000 / 64 * 16 {
            writer.append(message.clone(), &mut passed);
        }
        drop(passed);
        drop(writer);
        drop(cursor);
    }

    #[test]
    fn a_run_ends_with_its_segment_and_a_large_message_ends_that() {
        let mut writer = Writer::default();
        let mut passed = None;
        let large = Message::new("k", vec![0; super::BYTES]);
        let (first, at) = writer.append(large, &mut passed);
        let mut cursor = Cursor::new(first, at, 0);
        for _ in 0..3 {
            writer.append(Message::new("k", "x"), &mut passed);
        }
        assert!(passed.is_some(), "the caller drops the first segment");
        let mut run = Run::default();
        assert!(cursor.take(64, &mut run).0);
        assert_eq!(run.len(), 1);
        assert!(run.has_more());
        assert!(cursor.take(64, &mut run).0);
        assert_eq!((run.len(), cursor.position()), (3, 4));
        assert!(!run.has_more());
        assert!(!cursor.take(64, &mut run).0);
    }
}
