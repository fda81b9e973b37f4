//! The position of a reader of a ring, for other readers and for monitoring.

use std::sync::Arc;

use crate::traits::{clone_handle, debug_struct, unwind_safe};

use super::member::Member;

/// The position of a reader of a ring. Other readers can follow it
/// ([`SubscriberBuilder::after`](crate::ring::SubscriberBuilder::after)), and other threads can
/// watch it. Made by [`Receiver::cursor`](crate::ring::Receiver::cursor). Clones belong to the
/// same reader.
///
/// It keeps neither the reader nor the ring alive.
///
/// ```
/// let mut ring = fanfeed::ExclusiveRingFeed::new(8)?;
/// let mut reader = ring.subscriber().name("audit").subscribe();
/// let cursor = reader.cursor();
/// ring.send_batch(["a", "b", "c"]);
/// reader.drain_up_to(2, |_| {})?;
/// assert_eq!((cursor.name(), cursor.position(), cursor.lag()), (Some("audit"), Some(2), Some(1)));
/// drop(reader);
/// assert_eq!(cursor.position(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Cursor<T> {
    member: Arc<Member<T>>,
}

// As for `RingFeed`.
unwind_safe!([T] Cursor<T>);

impl<T> Cursor<T> {
    pub(crate) fn new(member: Arc<Member<T>>) -> Self {
        Self { member }
    }

    pub(crate) fn member(&self) -> &Arc<Member<T>> {
        &self.member
    }

    /// The reader's name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.member.name().map(|name| &**name)
    }

    /// The position that the reader reads next, as other threads see it; `None` once the reader was
    /// dropped, or was unsubscribed and reads no more.
    ///
    /// While a [`drain`](crate::ring::Receiver::drain) is under way, this is where the drain began,
    /// or half a ring behind what it reads.
    pub fn position(&self) -> Option<u64> {
        self.member.position()
    }

    /// How many values were sent that the reader has not passed; `None` if
    /// [`position`](Self::position) is `None`. A snapshot.
    pub fn lag(&self) -> Option<u64> {
        let next = self.member.core().track.next();
        Some(next.saturating_sub(self.position()?))
    }
}

clone_handle!(Cursor<T> { member });

debug_struct!([T] Cursor<T>, |this| Cursor { name: this.name(), position: this.position() });
