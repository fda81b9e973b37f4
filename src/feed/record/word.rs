//! One record, and its word: the place of a delivery.

use crossbeam_utils::CachePadded;

use crate::feed::chunk::SEATS;
use crate::feed::sole::Window;
use crate::sync::{AtomicBool, AtomicU64, Ordering, light_fence, mutant, order, seq_cst_order};

/// A place where a delivery can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    pub(super) const IDLE: Self = Self(0);
    const PER_CHUNK: u32 = SEATS as u32 + 1;

    /// A chunk, by its key.
    pub(crate) fn chunk(key: u32) -> Self {
        // Keys of channels are small. Keys of closures are as small except for the highest bit,
        // which the product keeps, because the factor is odd.
        Self(key.wrapping_mul(Self::PER_CHUNK).wrapping_add(1))
    }

    /// One seat of a chunk.
    pub(crate) fn seat(key: u32, seat: usize) -> Self {
        Self(Self::chunk(key).0.wrapping_add(1 + seat as u32))
    }
}

/// The word of a record: the number of the visit and the place. It owns the orderings of both
/// protocols.
#[derive(Debug)]
pub(super) struct At(AtomicU64);

impl At {
    pub(super) fn idle() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(super) fn pack(visit: u32, place: Place) -> u64 {
        u64::from(visit) << 32 | u64::from(place.0)
    }

    pub(super) fn place(word: u64) -> Place {
        Place(word as u32)
    }

    pub(super) fn visit(word: u64) -> u32 {
        (word >> 32) as u32
    }

    /// The word, for the record's own thread. Only this thread stores it, so it may load without
    /// ordering.
    #[inline(always)]
    pub(super) fn own(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins a visit.
    #[inline]
    pub(super) fn begin(&self, visit: u32, place: Place) {
        // ORDERING: SeqCst with the load in `observe`, with the changes of what is live
        // (`Live::clear`, `Entry::cut`, the swap of a pointer in the directory), and with the loads
        // of what is live that follow this (`Live::load`, `Entry::is_cut`, `Directory::bucket`,
        // `Bucket::chunk`). Release, because this may end a visit to another place. Those are all
        // four accesses of each protocol. A visit loads with `Relaxed` only the bits of the
        // directory and of crossbeam senders. The former need no order (see `directory`); the
        // latter follow a `SeqCst` load of the live word.
        self.0.store(Self::pack(visit, place), Ordering::SeqCst);
        seq_cst_order!("delivery_begins_without_order");
    }

    /// Begins a visit of a sole sender. The sender then checks whether it still is the sole sender.
    #[inline]
    pub(super) fn begin_alone(&self, visit: u32, place: Place) {
        // ORDERING: Release as in `begin`. In place of its `SeqCst`, the light fence below pairs
        // with the heavy fence in `Records::observe`, and after `Right::open_before_look` also with
        // the one in `Right::decide`.
        self.0.store(Self::pack(visit, place), Ordering::Release);
        // A light fence without its heavy half is no fence, so these mutants leave out both.
        if mutant!("deliveries_are_observed_without_heavy_fence") {
            return;
        }
        if mutant!("sole_sender_is_revoked_without_heavy_fence") {
            return;
        }
        light_fence!("sole_delivery_begins_without_light_fence");
    }

    /// Begins a visit of one of several senders, after [`Light::turn_on`]. A [light
    /// fence](Light::fence) must follow.
    #[inline]
    pub(super) fn begin_light(&self, visit: u32, place: Place) {
        // ORDERING: Release as in `begin`. In place of its `SeqCst`, the light fence that follows
        // pairs with the heavy fence in `Records::observe`.
        self.0.store(Self::pack(visit, place), Ordering::Release);
    }

    /// Narrows the place within a visit, or ends it.
    #[inline]
    pub(super) fn narrow(&self, visit: u32, place: Place) {
        // ORDERING: Release, because the delivery leaves everything of the wider place that is not
        // in the narrower one.
        let order = order!(Release, "delivery_ends_relaxed");
        self.0.store(Self::pack(visit, place), order);
    }

    pub(super) fn observe(&self) -> u64 {
        // ORDERING: SeqCst with the store in `begin`; Acquire pairs with the Release stores above.
        self.0.load(Ordering::SeqCst)
    }
}

/// Whether visits of a record may begin with a light fence although other threads send too. Only
/// the record's thread changes it. It owns its orderings.
#[derive(Debug)]
pub(super) struct Light {
    is_on: AtomicBool,
    /// A light and a heavy fence in a loom model: two read-modify-writes, of which the later one
    /// sees what happened before the earlier one. If only one side makes its fence, nothing is
    /// ordered. Two full fences would be too strong: they would order a visit even if the observer
    /// does not see the mark and makes no heavy fence.
    #[cfg(fanfeed_loom)]
    fences: AtomicU64,
}

impl Light {
    fn off() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            #[cfg(fanfeed_loom)]
            fences: AtomicU64::new(0),
        }
    }

    /// The fence after a visit has begun.
    #[inline(always)]
    pub(super) fn fence(&self) {
        #[cfg(not(fanfeed_loom))]
        light_fence!("light_visit_begins_without_light_fence");
        #[cfg(fanfeed_loom)]
        if !mutant!("light_visit_begins_without_light_fence") {
            self.fences.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// In a model, does for this record what a heavy fence does.
    #[cfg(fanfeed_loom)]
    pub(super) fn fence_heavily(&self) {
        self.fences.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the record is light; called by the record's thread.
    #[inline(always)]
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(super) fn turn_on(&self) {
        // ORDERING: SeqCst with the load in `is_seen`, with the changes of what is live, and with
        // the loads of it that follow this. Either the observing thread sees this, and makes a
        // heavy fence; or it has taken the subscriber out of the live ones before this, and all
        // visits after this see that. The four accesses: this, `Live::load`; `Live::clear`, the
        // load in `is_seen`. A visit's weaker loads come after its load of the live word, as
        // `begin` says.
        self.is_on.swap(true, Ordering::SeqCst);
        seq_cst_order!("record_is_marked_without_order");
    }

    /// Removes the mark. Called in a visit that began by `At::begin`.
    pub(super) fn turn_off(&self) {
        // ORDERING: Release pairs with the Acquire in `is_seen`: the last light visit has ended.
        self.is_on.store(false, Ordering::Release);
    }

    /// Whether an observing thread sees the mark.
    pub(super) fn is_seen(&self) -> bool {
        // ORDERING: see `turn_on` and `turn_off`.
        self.is_on.load(Ordering::SeqCst)
    }
}

/// The deliveries that an unsubscribe must wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Concern {
    /// All of the feed's.
    All,
    /// Visits to one seat of a chunk.
    Seat { chunk: Place, seat: Place },
    /// Visits to anything in `count` chunks of successive keys.
    Chunks { first: Place, count: u32 },
}

impl Concern {
    pub(super) fn is_about(self, place: Place) -> bool {
        match self {
            _ if place == Place::IDLE => false,
            Self::All => true,
            Self::Seat { chunk, seat } => place == chunk || place == seat,
            Self::Chunks { first, count } => {
                place.0.wrapping_sub(first.0) < count * Place::PER_CHUNK
            }
        }
    }
}

/// The record of one thread on one feed, or of one nested delivery.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) at: At,
    /// Open while the thread claims places in own channels by plain stores.
    pub(super) window: Window,
    pub(super) light: Light,
    /// Whether a delivery uses the record, or a lane keeps it.
    pub(super) busy: AtomicBool,
    /// The value of `at` when something was left to be freed after that visit, or 0. See
    /// [`Records::has_moved_on`](super::Records::has_moved_on).
    pub(super) awaited: AtomicU64,
    pub(super) next: *const CachePadded<Record>,
}

impl Record {
    pub(super) fn new(next: *const CachePadded<Self>) -> Self {
        Self {
            at: At::idle(),
            window: Window::new(),
            light: Light::off(),
            busy: AtomicBool::new(true),
            awaited: AtomicU64::new(0),
            next,
        }
    }
}
