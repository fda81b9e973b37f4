//! One subscription of a feed: where its values go, and its counts.

use std::any::Any;
use std::sync::{Arc, Weak};

use super::core::Core;
use super::lane;
use super::queue::Queue;
use super::record::Section;
use super::refusal::{End, Refusal};
use super::slots::Share;
use super::subscribers::SubscriberStats;
#[cfg(feature = "tokio")]
use super::tokio_carrier::TokioCarrier;
use crate::carrier::{Carrier, Sealed};
use crate::error::{SubscriptionError, TrySendError};
use crate::overflow::CarrierOverflow;
use crate::subscription::{Stats, SubscriptionId, SubscriptionSource, SubscriptionState, Wakers};
use crate::sync::{
    AtomicBool, AtomicU64, AtomicUsize, OnceLock, Ordering, UnsafeCell, mutant, order,
    seq_cst_order,
};
use crate::wait::{Blockage, Blocked, Caught, InDelivery, WakerSet, catch};

/// A closure that is called with each value.
pub(crate) type Closure<T> = Box<dyn Fn(&T) + Send + Sync>;

/// Where the values of a subscription go.
pub(crate) enum Port<T> {
    /// The feed's own channel.
    Own(Share<T>),
    /// A crossbeam channel, called directly.
    Crossbeam(crossbeam_channel::Sender<T>),
    /// A bounded tokio channel.
    #[cfg(feature = "tokio")]
    Tokio(Box<TokioCarrier<T>>),
    /// Any other channel.
    Carrier(Box<dyn Carrier<T>>),
    /// A closure.
    Closure(Closure<T>),
}

impl<T> Port<T> {
    /// Whether dropping it may run user code. The last sender of a crossbeam or std channel runs
    /// none: it unparks threads. If the receiver goes first, the receiver drops the values that are
    /// left.
    fn runs_code_when_dropped(&self) -> bool {
        match self {
            Self::Crossbeam(_) => false,
            Self::Carrier(carrier) => carrier.runs_code_when_dropped(Sealed),
            // Values, a closure's captures, the waker of a task.
            Self::Own(_) | Self::Closure(_) => true,
            #[cfg(feature = "tokio")]
            Self::Tokio(_) => true,
        }
    }
}

impl<T: Send + 'static> Port<T> {
    /// Makes the port of a crossbeam sender. Gives any other carrier back.
    pub(crate) fn crossbeam<C: Carrier<T> + 'static>(carrier: C) -> Result<Self, C> {
        let mut carrier = Some(carrier);
        let any: &mut dyn Any = &mut carrier;
        if let Some(sender) = any
            .downcast_mut::<Option<crossbeam_channel::Sender<T>>>()
            .and_then(Option::take)
        {
            return Ok(Self::Crossbeam(sender));
        }
        Err(carrier.expect("a carrier that is no crossbeam sender was left in place"))
    }
}

/// The place of an entry: the key of its chunk, and the seat in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seating {
    pub(crate) chunk: u32,
    pub(crate) seat: usize,
}

/// One subscription of a feed.
///
/// **The invariant of `port`.** The port exists until it is taken out, and it may be used by
///
/// 1. a thread in a visit to the entry's place (see [`super::record`]) that saw the entry live, or
///    saw `cut` unset, after the visit began;
/// 2. a thread that holds the gate (see [`Entry::enter_gate`]).
///
/// Only [`Entry::take_port`] takes the port out: after the entry was cut, a
/// [`Grace`](super::record::Grace) observed after that is over, and the gate is empty. The thread
/// that empties the entry's seat does that.
///
/// The fields that a delivery to a foreign carrier touches come first. They are in one cache line
/// if the sending thread's lane is one of the first.
#[repr(C, align(64))]
pub(crate) struct Entry<T> {
    port: UnsafeCell<Option<Port<T>>>,
    /// Set when the entry is taken out of the live ones.
    cut: AtomicBool,
    /// Set when a thread empties the seat; that thread then drops the port. Accessed under the
    /// registry's lock.
    vacated: AtomicBool,
    /// Set when a thread waits to empty the seat and to drop the port. Other threads then leave
    /// that to it. Accessed under the registry's lock.
    awaited: AtomicBool,
    /// What happens to a value for which a foreign carrier has no room.
    overflow: CarrierOverflow,
    /// How many values a foreign carrier was given.
    delivered: Delivered,
    seating: Seating,
    /// The own channel's queue, for its counts and for waking. Its slots may be gone: only the port
    /// keeps them alive.
    queue: Option<Arc<Queue<T>>>,
    core: Weak<Core<T>>,
    /// Threads that use the port outside of a visit.
    gate: AtomicUsize,
    state: SubscriptionState,
    /// Sends that wait for this subscriber and must be woken when it ends. An own channel has its
    /// own line.
    blocked_sends: WakerSet,
    /// Missed values. An own channel counts them itself, except the value that ended the
    /// subscription.
    dropped: AtomicU64,
    /// Made by the first send that is blocked: most subscribers never block one.
    blockage: OnceLock<Box<Blockage>>,
}

/// Counts, one for each lane.
struct Delivered {
    first: [AtomicU64; Delivered::FIRST],
    /// The counts of the other lanes. An own channel counts by itself, and has none.
    others: Option<Box<[AtomicU64; Delivered::OTHERS]>>,
}

impl Delivered {
    /// As many lanes as fit beside the port.
    const FIRST: usize = 3;
    const OTHERS: usize = lane::COUNT - Self::FIRST;

    fn new(counts: bool) -> Self {
        let others = || Box::new(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            first: std::array::from_fn(|_| AtomicU64::new(0)),
            others: counts.then(others),
        }
    }

    #[inline]
    fn of(&self, lane: usize) -> Option<&AtomicU64> {
        match self.first.get(lane) {
            None => self.others.as_ref()?.get(lane - Self::FIRST),
            first => first,
        }
    }

    fn sum(&self) -> u64 {
        let others = self.others.iter().flat_map(|others| others.iter());
        let counts = self.first.iter().chain(others);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

// SAFETY: all fields except `port` are `Sync` by themselves. Many threads use the port through
// `&self`, and all its variants are `Sync` when `T: Send`. One thread takes it out, under the
// invariant stated above.
unsafe impl<T: Send> Sync for Entry<T> {}
// SAFETY: all fields can be sent when `T` can.
unsafe impl<T: Send> Send for Entry<T> {}

impl<T> Entry<T> {
    pub(crate) fn new(
        port: Port<T>,
        overflow: CarrierOverflow,
        name: Option<Arc<str>>,
        core: Weak<Core<T>>,
        seating: Seating,
    ) -> Self {
        let queue = match &port {
            Port::Own(share) => Some(Arc::clone(share.queue())),
            _ => None,
        };
        Self {
            delivered: Delivered::new(queue.is_none()),
            port: UnsafeCell::new(Some(port)),
            queue,
            overflow,
            seating,
            core,
            cut: AtomicBool::new(false),
            vacated: AtomicBool::new(false),
            awaited: AtomicBool::new(false),
            gate: AtomicUsize::new(0),
            // A carrier that should wake is also tried again at intervals, so the set needs no
            // fence.
            blocked_sends: WakerSet::unfenced(),
            dropped: AtomicU64::new(0),
            blockage: OnceLock::new(),
            state: SubscriptionState::new(name),
        }
    }

    pub(crate) fn seating(&self) -> Seating {
        self.seating
    }

    pub(crate) fn queue(&self) -> Option<&Arc<Queue<T>>> {
        self.queue.as_ref()
    }

    /// The crossbeam sender, if the port has one. A seat keeps a clone of it.
    ///
    /// # Safety
    ///
    /// As for [`port`](Self::port).
    pub(crate) unsafe fn crossbeam(&self) -> Option<&crossbeam_channel::Sender<T>> {
        // SAFETY: the caller guarantees this.
        match unsafe { self.port() } {
            Port::Crossbeam(sender) => Some(sender),
            _ => None,
        }
    }

    pub(crate) fn id(&self) -> SubscriptionId {
        self.state.id()
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.state.shared_name()
    }

    /// The line of sends that are blocked on this subscriber.
    pub(crate) fn blocked_sends(&self) -> &WakerSet {
        self.queue
            .as_ref()
            .map_or(&self.blocked_sends, |queue| queue.room())
    }

    // ---- Delivering ----

    /// The port.
    ///
    /// # Safety
    ///
    /// The caller is entitled to it by the invariant stated on the type, for as long as it uses the
    /// reference.
    #[inline]
    pub(crate) unsafe fn port(&self) -> &Port<T> {
        // SAFETY: no thread takes the port out while the caller is entitled to it, so it is there
        // and is not being written.
        self.port
            .with(|port| unsafe { (*port).as_ref().unwrap_unchecked() })
    }

    /// Calls the closure with a value.
    ///
    /// # Safety
    ///
    /// As for [`port`](Self::port).
    pub(crate) unsafe fn call(&self, value: &T, lane: usize) {
        // SAFETY: the caller guarantees this.
        if let Port::Closure(closure) = unsafe { self.port() } {
            closure(value);
            self.count_delivered(lane);
        }
    }

    /// Keeps the port in place for a use outside of a visit. `None` if the entry has been cut.
    pub(crate) fn enter_gate(&self) -> Option<Gate<'_, T>> {
        let core = self.core.upgrade()?;
        // ORDERING: SeqCst with the load in `is_cut`, the swap in `cut` and the load in
        // `is_gate_empty`: either the reaper sees this count, or this thread sees the cut. The four
        // accesses: this, the load in `is_cut` below; the swap in `cut`, the load in
        // `is_gate_empty`. The only weaker access that follows is the read of the port, to which
        // the gate itself entitles.
        self.gate.fetch_add(1, Ordering::SeqCst);
        seq_cst_order!("gate_is_entered_without_order");
        let gate = Gate {
            entry: self,
            core,
            _inside: InDelivery::enter(),
        };
        (!self.is_cut()).then_some(gate)
    }

    pub(crate) fn is_cut(&self) -> bool {
        // ORDERING: SeqCst as `record` says, and for the gate.
        self.cut.load(Ordering::SeqCst)
    }

    // ---- Counting ----

    #[inline]
    pub(crate) fn count_delivered(&self, lane: usize) {
        let Some(count) = self.delivered.of(lane) else {
            return;
        };
        if lane == lane::SHARED {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            // Only this lane's thread writes here, so the count needs no read-modify-write.
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// The position of the next value in the stream of an own channel. Other channels have no such
    /// positions.
    pub(crate) fn place(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.place())
    }

    /// Counts values that the subscriber was due and does not get. The receiver of an own channel
    /// is told of them, at `place`.
    pub(crate) fn miss(&self, place: u64, count: u64) {
        match &self.queue {
            Some(queue) => queue.miss(place, count),
            None => self.count_dropped(count),
        }
    }

    pub(crate) fn count_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// The figures of the sends that this subscriber blocks, for a send that is blocked.
    pub(crate) fn blockage(&self) -> &Blockage {
        self.blockage.get_or_init(|| Box::new(Blockage::new()))
    }

    // ---- Ending ----

    /// Marks the entry as taken out of the live ones. The registry does this, under its lock, once,
    /// after the seat's live bit is cleared.
    ///
    /// The order matters. A send that waits for this entry gives up when it sees this mark. Its
    /// thread's next send must then not find the entry live, or the subscriber would miss a value
    /// and get a later one.
    pub(crate) fn cut(&self) {
        // ORDERING: SeqCst as `record` says, and for the gate.
        self.cut.swap(true, Ordering::SeqCst);
        if let Some(queue) = &self.queue {
            queue.begin_to_close();
        }
    }

    /// Records that the subscription has ended, and why. From now on its receiver and its handles
    /// see that. The registry calls this once, under its lock, after it has cut the entry, so all
    /// threads agree on the reason. Runs no user code.
    pub(crate) fn end(&self, end: End, error: Option<SubscriptionError>) -> Ended {
        if end == End::Overflowed {
            // Counts the value that the subscriber had no room for. If another send found it full
            // at the same time, or an unsubscribe came first, the later value was not due to it.
            self.count_dropped(1);
        }
        if let Some(queue) = &self.queue {
            queue.close(end);
        }
        Ended {
            #[cfg(feature = "tracing")]
            error: error.clone(),
            wakers: self.state.mark_ended(error).unwrap_or_default(),
        }
    }

    /// Announces that the subscription has ended: to its receiver, to the waiters for its end, and
    /// to the sends that are blocked on it. Does not wait.
    pub(crate) fn announce(&self, ended: Ended) {
        // A waker may unsubscribe the same subscription. That must not wait for the rest of this
        // announcement.
        let _inside = InDelivery::enter();
        #[cfg(feature = "tracing")]
        if let Some(error) = &ended.error {
            crate::events::event!(
                warn,
                subscription = %self.id(),
                name = self.name().map(|name| &**name),
                %error,
                "a subscription failed"
            );
        }
        if let Some(queue) = &self.queue {
            queue.wake_all();
        }
        if !mutant!("end_wakes_no_sender_of_a_carrier") {
            self.blocked_sends.wake_all();
        }
        ended.wakers.wake_all();
    }

    /// Ends the subscription because its carrier panicked outside a visit.
    pub(crate) fn fail(&self, panic: &Caught) {
        if let Some(core) = self.core.upgrade() {
            let error = SubscriptionError::panicked(panic.message());
            core.end(self, End::Closed, Some(error));
            core.tidy();
        }
    }

    pub(crate) fn is_gate_empty(&self) -> bool {
        // ORDERING: SeqCst as in `enter_gate`; Acquire pairs with the Release in `Gate::drop`.
        self.gate.load(Ordering::SeqCst) == 0 || mutant!("gate_is_not_waited_for")
    }

    /// Whether the seat has been emptied. The caller holds the registry's lock.
    pub(crate) fn is_vacated(&self) -> bool {
        self.vacated.load(Ordering::Relaxed)
    }

    /// Marks that the seat is being emptied. The caller holds the registry's lock.
    pub(crate) fn set_vacated(&self) {
        self.vacated.store(true, Ordering::Relaxed);
    }

    /// Whether a thread waits to empty the seat. The caller holds the registry's lock.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Marks that the calling thread waits to empty the seat. The caller holds the registry's lock.
    pub(crate) fn set_awaited(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Takes the port out for the caller to drop. `None` if it was taken out.
    ///
    /// # Safety
    ///
    /// No thread is entitled to the port any more (see the invariant on the type), and one thread
    /// calls this.
    pub(crate) unsafe fn take_port(&self) -> Option<Port<T>> {
        // SAFETY: the caller guarantees this.
        self.port.with_mut(|port| unsafe { (*port).take() })
    }

    /// Drops the port if that runs no user code. Otherwise disconnects the far end, if that runs
    /// none.
    ///
    /// # Safety
    ///
    /// As for [`take_port`](Self::take_port).
    pub(crate) unsafe fn drop_plain_port(&self) {
        let is_plain = |port: &mut Port<T>| {
            if let Port::Carrier(carrier) = port {
                carrier.disconnect(Sealed);
            }
            !port.runs_code_when_dropped()
        };
        // SAFETY: the caller guarantees this.
        let port = self
            .port
            .with_mut(|port| unsafe { (*port).take_if(is_plain) });
        drop(port);
    }
}

/// A subscription that has ended, but whose end has not been announced yet.
#[must_use = "the waiters for the end must be told"]
pub(crate) struct Ended {
    #[cfg(feature = "tracing")]
    error: Option<SubscriptionError>,
    wakers: Wakers,
}

impl<T: Send + 'static> Entry<T> {
    /// Offers a value to a crossbeam sender, which is the entry's or a clone of it.
    #[inline(always)]
    pub(crate) fn offer_crossbeam(
        &self,
        sender: &crossbeam_channel::Sender<T>,
        value: T,
        lane: usize,
    ) -> Result<(), Refusal<T>> {
        if self.is_cut() {
            // The value's clone has cut the entry, or a carrier that was served before it has.
            return Err(Refusal::Closed(value));
        }
        match sender.try_send(value) {
            Ok(()) => {
                self.count_delivered(lane);
                Ok(())
            }
            Err(crossbeam_channel::TrySendError::Full(value)) => {
                Err(self.refuse(TrySendError::Full(value)))
            }
            Err(crossbeam_channel::TrySendError::Disconnected(value)) => {
                Err(Refusal::Closed(value))
            }
        }
    }

    /// Offers a value to the port. Returns `Ok(true)` if it went to an own channel whose receiver
    /// waits; the caller must wake it.
    ///
    /// # Safety
    ///
    /// As for [`port`](Self::port).
    #[inline(never)]
    pub(crate) unsafe fn offer(&self, value: T, by: &Section<'_>) -> Result<bool, Refusal<T>> {
        // SAFETY: the caller guarantees this.
        match unsafe { self.port() } {
            Port::Own(queue) => queue.offer(value, by),
            Port::Crossbeam(sender) => self
                .offer_crossbeam(sender, value, by.lane())
                .map(|()| false),
            // As in `offer_crossbeam`. An own channel reports by itself that it is closed.
            Port::Carrier(_) if self.is_cut() => Err(Refusal::Closed(value)),
            #[cfg(feature = "tokio")]
            Port::Tokio(_) if self.is_cut() => Err(Refusal::Closed(value)),
            #[cfg(feature = "tokio")]
            Port::Tokio(carrier) => {
                self.offer_foreign(by.lane(), carrier.try_send(value, &self.blocked_sends))
            }
            Port::Carrier(carrier) => self.offer_foreign(by.lane(), carrier.try_send(value)),
            // `call` serves closures. To take a value here would lose it silently.
            Port::Closure(_) => Err(Refusal::Closed(value)),
        }
    }

    #[inline(always)]
    fn offer_foreign(
        &self,
        lane: usize,
        outcome: Result<(), TrySendError<T>>,
    ) -> Result<bool, Refusal<T>> {
        match outcome {
            Ok(()) => {
                self.count_delivered(lane);
                Ok(false)
            }
            Err(error) => Err(self.refuse(error)),
        }
    }

    #[cold]
    fn refuse(&self, error: TrySendError<T>) -> Refusal<T> {
        match (error, self.overflow) {
            (TrySendError::Closed(value), _) => Refusal::Closed(value),
            (TrySendError::Full(value), CarrierOverflow::Block) => Refusal::Full(value),
            (TrySendError::Full(value), CarrierOverflow::Disconnect) => Refusal::Overflowed(value),
            (TrySendError::Full(value), CarrierOverflow::DropNewest) => {
                self.count_dropped(1);
                Refusal::Missed(value)
            }
        }
    }
}

impl<T: Send + 'static> SubscriptionSource for Entry<T> {
    fn state(&self) -> &SubscriptionState {
        &self.state
    }

    fn cancel(&self) {
        // If the core is gone, the feed has ended, and its end was announced to all its entries.
        if let Some(core) = self.core.upgrade() {
            core.cancel(self);
        }
    }

    fn cancel_soon(&self) {
        if let Some(core) = self.core.upgrade() {
            core.end(self, End::Closed, None);
            core.postpone();
        }
    }

    fn stats(&self) -> Stats {
        self.look().stats
    }
}

impl<T: Send + 'static> Entry<T> {
    /// The subscriber's options and figures.
    pub(crate) fn look(&self) -> SubscriberStats {
        let blockage = self.blockage.get();
        let blocked = blockage.map_or_else(Blocked::default, |blockage| blockage.figures());
        let mut stats = Stats {
            dropped: self.dropped.load(Ordering::Relaxed),
            blocked: blocked.count,
            blocked_for: blocked.total,
            blocked_now: blocked.now,
            ..Stats::default()
        };
        let mut overflow = Some(self.overflow.into());
        let mut capacity = None;
        if let Some(queue) = &self.queue {
            stats.delivered = queue.delivered();
            stats.dropped += queue.dropped();
            stats.depth = Some(queue.len());
            overflow = Some(queue.overflow());
            capacity = Some(queue.capacity());
        } else {
            stats.delivered = self.delivered.sum();
            let looked = self.enter_gate().map(|gate| {
                catch(|| match gate.port() {
                    Port::Crossbeam(sender) => (Some(sender.len()), sender.capacity()),
                    #[cfg(feature = "tokio")]
                    Port::Tokio(carrier) => (carrier.depth(), carrier.capacity()),
                    Port::Carrier(carrier) => (carrier.depth(), carrier.capacity()),
                    Port::Own(_) => (None, None),
                    Port::Closure(_) => {
                        overflow = None;
                        (None, None)
                    }
                })
            });
            match looked {
                Some(Ok(looked)) => (stats.depth, capacity) = looked,
                Some(Err(panic)) => self.fail(&panic),
                None => {}
            }
        }
        SubscriberStats {
            id: self.id(),
            name: self.name().cloned(),
            overflow,
            capacity,
            stats,
        }
    }
}

/// Keeps an entry's port in place, outside of a visit.
///
/// Its holder counts as delivering, because a carrier that unsubscribes itself must not wait for
/// this gate.
pub(crate) struct Gate<'a, T> {
    entry: &'a Entry<T>,
    /// The end of the core is the end of the port. That end waits for no gate if the last handle of
    /// the feed is dropped inside a delivery.
    core: Arc<Core<T>>,
    _inside: InDelivery,
}

impl<T> Gate<'_, T> {
    pub(crate) fn port(&self) -> &Port<T> {
        // SAFETY: the gate entitles to the port while it is held.
        unsafe { self.entry.port() }
    }
}

impl<T> Drop for Gate<'_, T> {
    fn drop(&mut self) {
        // ORDERING: Release pairs with the Acquire in `is_gate_empty`. SeqCst with the load in
        // `is_cut`, the swap in `cut` and that load: either the thread that frees the entry sees
        // that the gate is empty, or this thread sees the cut. The four accesses: this, the load in
        // `is_cut` below; the swap in `cut`, the load in `is_gate_empty`. The `reap` that follows
        // works under the lock.
        let order = order!(SeqCst, "gate_is_left_relaxed");
        self.entry.gate.fetch_sub(1, order);
        seq_cst_order!("gate_is_left_without_order");
        if self.entry.is_cut() && !mutant!("gate_is_left_without_reaping") {
            // This gate may have been the only reason that the entry could not be freed.
            self.core.reap();
        }
    }
}
