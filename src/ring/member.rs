//! One reader's subscription.

use std::sync::Arc;
use std::time::Duration;

use crate::error::SubscriptionError;
use crate::subscription::{Source, State, Stats};
use crate::sync::{AtomicBool, Mutex, Ordering, heavy_fence, light_fence};

use super::core::Core;
use super::seat::Seat;
use super::seats::Bucket;

/// What a reader and its subscription's handles share.
pub(crate) struct Member<T> {
    core: Arc<Core<T>>,
    state: State,
    /// Where its seat is.
    bucket: Arc<Bucket>,
    index: u32,
    /// The reader is to read no more, whatever there is.
    cut: AtomicBool,
    /// The figures, once the seat is somebody else's. Under the lock the seat is the member's if this is empty.
    last: Mutex<Option<Box<Stats>>>,
}

impl<T> Member<T> {
    /// A member that sits there.
    pub(crate) fn new(core: Arc<Core<T>>, name: Option<Arc<str>>, number: usize) -> Self {
        let place = core.track.seats.find(number);
        Self::at(core, name, place)
    }

    fn at(core: Arc<Core<T>>, name: Option<Arc<str>>, (bucket, index): (Arc<Bucket>, u32)) -> Self {
        Self {
            bucket,
            index,
            core,
            state: State::new(name),
            cut: AtomicBool::new(false),
            last: Mutex::new(None),
        }
    }

    /// A member that has never sat anywhere.
    pub(crate) fn ended(core: Arc<Core<T>>, name: Option<Arc<str>>) -> Arc<Self> {
        let member = Self::at(core, name, (Bucket::apart(), 0));
        member.cut.store(true, Ordering::Relaxed);
        *member.last.lock() = Some(Box::default());
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

    pub(crate) fn error(&self) -> Option<SubscriptionError> {
        self.state.error()
    }

    /// Whether the subscription was cancelled, or failed. For a reader that has pinned its place; or to know it early.
    #[inline]
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// Between pinning and the look whether the member was cut off.
    #[inline(always)]
    pub(crate) fn fence_after_pin(&self) {
        // ORDERING: pairs with the heavy fence in `cut_off`.
        light_fence!("reader_pins_without_light_fence");
    }

    /// The reader has stopped reading, and wakes who waited for that. If it was cut off meanwhile it leaves.
    #[inline(always)]
    pub(crate) fn leave_if_cut(&self) {
        // The light fence in `Wakeups::moved` also stands between the unpinning and the look here.
        if self.is_cut() {
            self.ungate();
        }
    }

    #[cold]
    fn ungate(&self) {
        self.core.track.seats.ungate(self.number());
        self.core.wakeups.moved(self.seat());
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
                name = self.state.name().map(|name| &**name),
                "ring subscription ended: its reader fell behind"
            );
        }
        self.cut_off();
    }

    /// The reader reads no more, and holds nobody up: from now on, or once what it is reading is read. False if it is gone.
    fn cut_off(&self) -> bool {
        {
            let last = self.last.lock();
            if last.is_some() {
                return false;
            }
            self.cut.store(true, Ordering::SeqCst);
            // ORDERING: pairs with the light fences after a pin, and after an unpin: either the reader sees that it was cut
            // off, or it is seen here that it reads, and then it will see it when it stops.
            heavy_fence!("reader_is_cut_off_without_heavy_fence");
            if !self.seat().progress().is_pinned() {
                self.core.track.seats.ungate(self.number());
            }
            // Last, so that whatever was read is before it. (Senders may have moved the seat on until just now.)
            self.seat().end_at(self.core.track.next());
        }
        // Outside the lock: wakers are code of others.
        self.core.wakeups.moved(self.seat());
        true
    }

    /// The reader is gone.
    pub(crate) fn leave(&self) {
        self.end();
        let was_lossy = {
            let mut last = self.last.lock();
            if last.is_some() {
                return;
            }
            *last = Some(Box::new(self.figures()));
            self.cut.store(true, Ordering::Relaxed);
            self.core.track.seats.stand_up(self.number())
        };
        // Outside the lock: wakers are code of others.
        self.core.wakeups.moved(self.seat());
        self.core.give_back(self.number(), was_lossy);
    }

    fn figures(&self) -> Stats {
        let counts = self.seat().counts();
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

impl<T: Send + Sync> Source for Member<T> {
    fn state(&self) -> &State {
        &self.state
    }

    fn cancel(&self) {
        self.end();
        // Again if it is being cut off already: what this promises is to hold when it returns.
        if self.cut_off() {
            self.core.wakeups.wake_readers();
        }
    }

    fn cancel_soon(&self) {
        // It waits for nobody.
        self.cancel();
    }

    fn stats(&self) -> Stats {
        let last = self.last.lock();
        match &*last {
            Some(stats) => **stats,
            None => self.figures(),
        }
    }
}
