//! The subscription of one reader.

use std::sync::Arc;

use crate::error::SubscriptionError;
#[cfg(feature = "tracing")]
use crate::subscription::SubscriptionId;
use crate::subscription::{Stats, SubscriptionSource, SubscriptionState};
use crate::sync::{AtomicU32, Mutex, Ordering, heavy_fence, light_fence, mutant};
use crate::wait::may_wait;

use super::core::Core;
use super::cuts;
use super::monitor::ReaderStats;
use super::overflow::Overflow;
use super::seat::{Counts, Seat};
use super::seats::Bucket;

/// The reader must not read any more, even if there are values.
const CUT: u32 = 1;
/// The ring drops values once they were read.
const DROPS: u32 = 2;
/// The member was cut off, and the heavy fence after that was made: if its reader still reads, its
/// seat says so.
const ENDED: u32 = 4;
/// Its seat may be another reader's.
const GONE: u32 = 8;
/// Senders do not wait for the reader, and the reader checks nothing for that when it stops
/// reading.
const LOSSY: u32 = 16;
/// One reader that follows this one. The bits from here on count the followers: a ring has fewer
/// than 2^24 of them.
const FOLLOWER: u32 = 1 << 8;
/// Other readers follow this one.
const FOLLOWED: u32 = !(FOLLOWER - 1);

/// The state that a reader and its subscription's handles share.
///
/// Each read touches the first three fields. They are 16 bytes in one cache line, because with many
/// readers each cache line is a cache miss.
#[repr(C)]
pub(crate) struct Member<T> {
    /// The bucket of its seat.
    bucket: Arc<Bucket>,
    index: u32,
    /// Flags that the reader checks when it stops reading, and that its followers check when they
    /// look how far it is: [`CUT`] and so on. [`GONE`] is set under the lock of `last`. Until then,
    /// a thread that holds this lock may use the seat.
    flags: AtomicU32,
    core: Arc<Core<T>>,
    /// The figures, once the member is gone, if a handle remained.
    last: Mutex<Option<Box<Stats>>>,
    state: SubscriptionState,
}

impl<T> Member<T> {
    /// A member with the seat of this index in the bucket.
    pub(crate) fn new(
        core: Arc<Core<T>>,
        name: Option<Arc<str>>,
        (bucket, index): (Arc<Bucket>, u32),
        is_lossy: bool,
    ) -> Self {
        let mut flags = 0;
        if core.track.retention.is_some() {
            flags |= DROPS;
        }
        if is_lossy {
            flags |= LOSSY;
        }
        Self {
            bucket,
            index,
            core,
            state: SubscriptionState::new(name),
            flags: AtomicU32::new(flags),
            last: Mutex::new(None),
        }
    }

    /// A member that never had a seat.
    pub(crate) fn ended(core: Arc<Core<T>>, name: Option<Arc<str>>) -> Arc<Self> {
        let member = Self::new(core, name, (Bucket::apart(), 0), false);
        member.flags.fetch_or(CUT | ENDED | GONE, Ordering::Relaxed);
        member.state.end(None);
        Arc::new(member)
    }

    pub(crate) fn core(&self) -> &Arc<Core<T>> {
        &self.core
    }

    /// The member's seat, while it has it.
    #[inline(always)]
    pub(crate) fn seat(&self) -> &Seat {
        self.bucket.seat(self.index)
    }

    #[inline(always)]
    pub(crate) fn number(&self) -> usize {
        self.bucket.number(self.index)
    }

    /// Whether the seat may be another reader's. Exact under the lock of `last`.
    fn is_gone(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & GONE != 0
    }

    pub(crate) fn error(&self) -> Option<SubscriptionError> {
        self.state.error()
    }

    /// Whether the subscription was cancelled, or failed. Reliable for a reader that has pinned its
    /// seat; otherwise an early hint.
    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & CUT != 0
    }

    /// The fence between a pin and the check whether the member was cut off.
    #[inline(always)]
    pub(crate) fn fence_after_pin(&self) {
        // ORDERING: pairs with the heavy fence in `cut_off`.
        light_fence!("reader_pins_without_light_fence");
    }

    /// Called when the reader has stopped a read that began at `begin`. If it was cut off
    /// meanwhile, it leaves.
    #[inline(always)]
    pub(crate) fn stopped(&self, begin: u64) {
        // The light fence in `BlockedSenders::moved` is also between the unpinning and this load.
        if self.flags.load(Ordering::Relaxed) & !LOSSY != 0 {
            self.look_at_flags(begin);
        }
    }

    #[cold]
    fn look_at_flags(&self, begin: u64) {
        if self.is_cut() {
            self.core.track.seats.ungate(self.number());
            self.core.wakeups.senders.moved(self.seat());
        }
        self.wake_followers();
        if let Some(retention) = &self.core.track.retention {
            retention.moved(&self.core.track, begin);
        }
    }

    // ---- Followers ----

    pub(crate) fn is_lossy(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & LOSSY != 0
    }

    pub(crate) fn gain_follower(&self) {
        self.flags.fetch_add(FOLLOWER, Ordering::Relaxed);
    }

    pub(crate) fn lose_follower(&self) {
        self.flags.fetch_sub(FOLLOWER, Ordering::Relaxed);
    }

    /// The position up to which the reader has passed the ring's values; `None` once it has ended
    /// and reads no more.
    #[inline]
    pub(crate) fn passed(&self) -> Option<u64> {
        let holds = mutant!("ended_leader_holds_its_followers").then_some(0);
        let mut has_ended = false;
        loop {
            let looks_too_early = mutant!("leader_is_looked_for_before_its_seat");
            let early = looks_too_early.then(|| self.flags.load(Ordering::Acquire));
            let progress = self.seat().passed();
            // ORDERING: after the load of the seat. If that word belongs to another reader, which
            // has joined since, this load sees that the member is gone, because it was gone before.
            let flags = early.unwrap_or_else(|| self.flags.load(Ordering::Acquire));
            if flags & GONE != 0 {
                return holds;
            }
            if flags & ENDED == 0 {
                return Some(progress.position());
            }
            if has_ended || mutant!("ended_leader_is_looked_at_once") {
                return if progress.is_pinned() {
                    Some(progress.position())
                } else {
                    holds
                };
            }
            // The word may be older than a pin. It is loaded again after the flag, whose fence has
            // made a pin visible.
            has_ended = true;
        }
    }

    /// Called when the seat's position has moved on, or the reader has ended: wakes its followers,
    /// if there are any.
    #[inline]
    pub(crate) fn wake_followers(&self) {
        // The light fence in `BlockedSenders::moved` is between the store to the seat and this
        // load.
        if self.flags.load(Ordering::Relaxed) & FOLLOWED != 0 && !mutant!("followers_are_not_woken")
        {
            self.core.wakeups.passed();
        }
    }

    /// Ends the subscription. The reader can still read what is in the ring.
    pub(crate) fn end(&self) {
        if self.state.end(None) {
            self.core.count_end();
        }
    }

    /// Ends the subscription with `error`. The reader reads no more.
    #[cold]
    pub(crate) fn fail(&self, error: SubscriptionError) {
        if self.state.end(Some(error)) {
            self.core.count_end();
            #[cfg(feature = "tracing")]
            crate::events::event!(
                warn,
                subscription = self.state.id().get(),
                name = self.state.name(),
                "ring subscription ended: its reader fell behind"
            );
        }
        self.cut_off();
        self.core.drop_passed();
    }

    /// Cuts the reader off. It reads no more, and blocks no sender: from now on, or once it has
    /// read what it is reading. Returns false if the reader is gone. In a ring with
    /// `drop_when_read` the caller drops what only this reader has not passed.
    fn cut_off(&self) -> bool {
        {
            let _seated = self.last.lock();
            if self.is_gone() {
                return false;
            }
            self.flags.fetch_or(CUT, Ordering::SeqCst);
            cuts::count();
            // ORDERING: pairs with the light fences after a pin and after an unpin. Either the
            // reader sees that it was cut off, or this thread sees that it reads, and then the
            // reader sees the cut when it stops.
            heavy_fence!("reader_is_cut_off_without_heavy_fence");
            // ORDERING: Release pairs with the Acquire in `passed`.
            self.flags.fetch_or(ENDED, Ordering::Release);
            if !self.seat().progress().is_pinned() {
                self.core.track.seats.ungate(self.number());
            }
            // Last, so that everything that was read is before it. (Senders may have moved the seat
            // on until just now.)
            self.seat().end_at(self.core.track.next());
        }
        // Outside the lock, because wakers are user code.
        self.core.wakeups.senders.moved(self.seat());
        self.wake_followers();
        true
    }

    /// Called when the reader is gone. `has_handles` says whether the figures may still be
    /// requested.
    pub(crate) fn leave(&self, has_handles: bool) {
        self.end();
        let was_lossy = {
            let mut last = self.last.lock();
            if self.is_gone() {
                return;
            }
            *last = has_handles.then(|| Box::new(self.figures()));
            // ORDERING: Release pairs with the Acquire in `passed`.
            self.flags.fetch_or(CUT | ENDED | GONE, Ordering::Release);
            self.core.track.seats.stand_up(self.number())
        };
        // Outside the lock, because wakers are user code.
        self.core.wakeups.senders.moved(self.seat());
        self.wake_followers();
        self.core.give_back(self.number(), was_lossy);
    }

    /// Whether the subscription has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.is_ended()
    }

    /// The position and the figures of the reader, unless it is gone.
    pub(crate) fn look_at_seat(&self) -> Option<ReaderStats> {
        // The seat belongs to the member while this lock is held.
        let _seated = self.last.lock();
        (!self.is_gone()).then(|| {
            let counts = self.seat().counts();
            let progress = self.seat().progress();
            ReaderStats {
                overflow: match (progress.is_lossy(), progress.is_fragile()) {
                    (false, _) => Overflow::Block,
                    (true, false) => Overflow::DropOldest,
                    (true, true) => Overflow::Disconnect,
                },
                id: self.state.id(),
                name: self.state.shared_name().cloned(),
                position: counts.position,
                stats: self.figures_of(counts),
            }
        })
    }

    #[cfg(feature = "tracing")]
    pub(crate) fn id(&self) -> SubscriptionId {
        self.state.id()
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.state.shared_name()
    }

    /// The position that the reader reads next; `None` once it is gone, or was cut off and reads no
    /// more.
    pub(crate) fn position(&self) -> Option<u64> {
        // The seat belongs to the member while the lock is held.
        let _seated = self.last.lock();
        let progress = (!self.is_gone()).then(|| self.seat().progress())?;
        (progress.is_pinned() || !self.is_cut()).then(|| progress.position())
    }

    fn figures(&self) -> Stats {
        self.figures_of(self.seat().counts())
    }

    fn figures_of(&self, counts: Counts) -> Stats {
        let sent = self.core.track.next().min(counts.end);
        // Values that a reader has not read when it is cut off are gone.
        let unread = if self.is_cut() {
            0
        } else {
            sent.saturating_sub(counts.position)
        };
        let blocked = self.core.wakeups.senders.hold().figures(self.number());
        Stats {
            delivered: sent.saturating_sub(counts.start + counts.missed),
            dropped: counts.missed,
            depth: usize::try_from(unread).ok(),
            blocked: blocked.count,
            blocked_for: blocked.total,
            blocked_now: blocked.now,
        }
    }
}

impl<T: Send + Sync + 'static> Member<T> {
    fn stop(&self, waits: bool) {
        self.end();
        // Repeated if another thread is cutting the reader off: the promise of `cancel` must hold
        // when it returns.
        if self.cut_off() {
            self.core.wakeups.wake_readers();
            if waits {
                self.core.drop_passed();
            } else {
                self.core.postpone();
            }
        }
    }
}

impl<T: Send + Sync + 'static> SubscriptionSource for Member<T> {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.stop(may_wait());
    }

    fn cancel_soon(&self) {
        // Outside a delivery the caller cancels later, as scopes do.
        self.stop(false);
    }

    fn stats(&self) -> Stats {
        let last = self.last.lock();
        if self.is_gone() {
            last.as_deref().copied().unwrap_or_default()
        } else {
            self.figures()
        }
    }
}
