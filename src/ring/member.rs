//! One reader's subscription.

use std::sync::Arc;
use std::time::Duration;

use crate::error::SubscriptionError;
use crate::subscription::{Stats, SubscriptionSource, SubscriptionState};
use crate::sync::{AtomicU32, Mutex, Ordering, heavy_fence, light_fence, mutant};
use crate::wait::may_wait;

use super::core::Core;
use super::cuts;
use super::monitor::RingReaderStats;
use super::seat::{Counts, Seat};
use super::seats::Bucket;

/// The reader must not read any more, whatever there is.
const CUT: u32 = 1;
/// The ring drops values once they were read.
const DROPS: u32 = 2;
/// The member was cut off, and that was fenced: if its reader reads nevertheless, its seat says so.
const ENDED: u32 = 4;
/// Its seat may be another reader's.
const GONE: u32 = 8;
/// Senders do not wait for the reader, which looks at nothing for that when it stops reading.
const LOSSY: u32 = 16;
/// One reader that follows it. The bits from here on count them: a ring has fewer than 2^24 of
/// them.
const FOLLOWER: u32 = 1 << 8;
/// Other readers follow it.
const FOLLOWED: u32 = !(FOLLOWER - 1);

/// What a reader and its subscription's handles share.
///
/// Each read looks at the first three fields. They are 16 bytes in one cache line, because among
/// many readers each line is a cache miss.
#[repr(C)]
pub(crate) struct Member<T> {
    /// Where its seat is.
    bucket: Arc<Bucket>,
    index: u32,
    /// What the reader has to look at when it stops reading, and its followers when they look how
    /// far it is: [`CUT`] and so on. [`GONE`] is set under the lock of `last`. Until then, a thread
    /// that holds this lock may use the seat.
    flags: AtomicU32,
    core: Arc<Core<T>>,
    /// The figures, once the member is gone, if any handle remained.
    last: Mutex<Option<Box<Stats>>>,
    state: SubscriptionState,
}

impl<T> Member<T> {
    /// A member that sits there.
    pub(crate) fn new(
        core: Arc<Core<T>>,
        name: Option<Arc<str>>,
        number: usize,
        is_lossy: bool,
    ) -> Self {
        let place = core.track.seats.find(number);
        Self::at(core, name, place, is_lossy)
    }

    fn at(
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

    /// A member that has never sat anywhere.
    pub(crate) fn ended(core: Arc<Core<T>>, name: Option<Arc<str>>) -> Arc<Self> {
        let member = Self::at(core, name, (Bucket::apart(), 0), false);
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

    /// Whether its seat may be another reader's. Exact under the lock of `last`.
    fn is_gone(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & GONE != 0
    }

    pub(crate) fn error(&self) -> Option<SubscriptionError> {
        self.state.error()
    }

    /// Whether the subscription was cancelled, or failed. For a reader that has pinned its place;
    /// or to know it early.
    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & CUT != 0
    }

    /// Between pinning and the look whether the member was cut off.
    #[inline(always)]
    pub(crate) fn fence_after_pin(&self) {
        // ORDERING: pairs with the heavy fence in `cut_off`.
        light_fence!("reader_pins_without_light_fence");
    }

    /// The reader has stopped reading, which it began at `begin`. If it was cut off meanwhile it
    /// leaves.
    #[inline(always)]
    pub(crate) fn stopped(&self, begin: u64) {
        // The light fence in `BlockedSenders::moved` is also between the unpinning and the look
        // here.
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

    // ---- Readers that follow it ----

    pub(crate) fn is_lossy(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & LOSSY != 0
    }

    pub(crate) fn gain_follower(&self) {
        self.flags.fetch_add(FOLLOWER, Ordering::Relaxed);
    }

    pub(crate) fn lose_follower(&self) {
        self.flags.fetch_sub(FOLLOWER, Ordering::Relaxed);
    }

    /// Up to where the reader has passed the ring's values; `None` once it has ended and reads no
    /// more.
    #[inline]
    pub(crate) fn passed(&self) -> Option<u64> {
        let holds = mutant!("ended_leader_holds_its_followers").then_some(0);
        let mut has_ended = false;
        loop {
            let looks_too_early = mutant!("leader_is_looked_for_before_its_seat");
            let early = looks_too_early.then(|| self.flags.load(Ordering::Acquire));
            let progress = self.seat().passed();
            // ORDERING: after the seat. If the word is that of another reader, which has sat down
            // since, this sees that the member is gone, which it was before.
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

    /// The seat says more than before, or the reader has ended: wakes its followers, if there are
    /// any.
    #[inline]
    pub(crate) fn wake_followers(&self) {
        // The light fence in `BlockedSenders::moved` is between the store to the seat and this
        // load.
        if self.flags.load(Ordering::Relaxed) & FOLLOWED != 0 && !mutant!("followers_are_not_woken")
        {
            self.core.wakeups.passed();
        }
    }

    /// The subscription ends; what is in the ring can still be read.
    pub(crate) fn end(&self) {
        if self.state.end(None) {
            self.core.count_end();
        }
    }

    /// The subscription ends with that error, and the reader reads no more.
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

    /// The reader reads no more, and holds nobody up: from now on, or once what it is reading is
    /// read. False if it is gone. In a ring with `drop_when_read` the caller drops what only this
    /// reader has not passed.
    fn cut_off(&self) -> bool {
        {
            let _seated = self.last.lock();
            if self.is_gone() {
                return false;
            }
            self.flags.fetch_or(CUT, Ordering::SeqCst);
            cuts::count();
            // ORDERING: pairs with the light fences after a pin, and after an unpin: either the
            // reader sees that it was cut off, or it is seen here that it reads, and then it will
            // see it when it stops.
            heavy_fence!("reader_is_cut_off_without_heavy_fence");
            // ORDERING: Release pairs with the Acquire in `passed`.
            self.flags.fetch_or(ENDED, Ordering::Release);
            if !self.seat().progress().is_pinned() {
                self.core.track.seats.ungate(self.number());
            }
            // Last, so that whatever was read is before it. (Senders may have moved the seat on
            // until just now.)
            self.seat().end_at(self.core.track.next());
        }
        // Outside the lock, because wakers are user code.
        self.core.wakeups.senders.moved(self.seat());
        self.wake_followers();
        true
    }

    /// The reader is gone. `has_handles` says whether the figures may be asked for after this.
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
        // Outside the lock: wakers are code of others.
        self.core.wakeups.senders.moved(self.seat());
        self.wake_followers();
        self.core.give_back(self.number(), was_lossy);
    }

    /// Where the reader is, unless its subscription has ended.
    pub(crate) fn look(&self) -> Option<RingReaderStats> {
        // The seat is the member's while this is held.
        let _seated = self.last.lock();
        (!self.state.is_ended() && !self.is_gone()).then(|| {
            let counts = self.seat().counts();
            RingReaderStats {
                id: self.state.id(),
                name: self.state.shared_name().cloned(),
                position: counts.position,
                stats: self.figures_of(counts),
            }
        })
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.state.shared_name()
    }

    /// The position that the reader is to read next; `None` once it is gone or cut off, unless it
    /// still reads.
    pub(crate) fn position(&self) -> Option<u64> {
        // The seat is the member's while the lock is held.
        let _seated = self.last.lock();
        let progress = (!self.is_gone()).then(|| self.seat().progress())?;
        (progress.is_pinned() || !self.is_cut()).then(|| progress.position())
    }

    fn figures(&self) -> Stats {
        self.figures_of(self.seat().counts())
    }

    fn figures_of(&self, counts: Counts) -> Stats {
        let sent = self.core.track.next().min(counts.end);
        // What a reader has not read by the time that it is cut off is gone.
        let unread = if self.is_cut() {
            0
        } else {
            sent.saturating_sub(counts.position)
        };
        Stats {
            delivered: sent.saturating_sub(counts.start + counts.missed),
            dropped: counts.missed,
            depth: usize::try_from(unread).ok(),
            blocked: counts.blocked,
            blocked_for: Duration::from_nanos(counts.blocked_for),
        }
    }
}

impl<T: Send + Sync + 'static> SubscriptionSource for Member<T> {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        self.end();
        // Again if it is being cut off already: what this promises is to hold when it returns.
        if self.cut_off() {
            self.core.wakeups.wake_readers();
            if may_wait() {
                self.core.drop_passed();
            } else {
                self.core.postpone();
            }
        }
    }

    fn cancel_soon(&self) {
        self.end();
        if self.cut_off() {
            self.core.wakeups.wake_readers();
            // Outside of a delivery the caller cancels later, as scopes do.
            self.core.postpone();
        }
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
