//! Who is delivering where: the records by which an unsubscribe waits for deliveries under way, and for those alone.
//!
//! A sending thread has one record per feed. While it delivers, its record says at which *place*: a chunk of
//! subscribers, or one closure. The protocol:
//!
//! ```text
//! deliver:      record.at = (visit + 1, place)              SeqCst
//!               read the place's live subscribers           SeqCst
//!               deliver to them
//!               record.at = idle                            Release
//!
//! unsubscribe:  take the subscriber out of the live ones    SeqCst
//!               for each record: observe `at`               SeqCst
//!               wait until each that was at the place has left it, or has begun another visit
//! ```
//!
//! In the single order of these four, either the deliverer's store comes before the unsubscriber's observation, which
//! then sees the visit and waits for its end, whose Release makes everything the deliverer did happen before what the
//! unsubscriber does next; or the taking out comes before the deliverer's read, which then does not see the subscriber.
//! A later visit begins after the observation, so it does not see it either: a change of the visit's number ends the
//! wait, and a thread that sends without pause holds nobody up.
//!
//! While [one thread alone](super::sole) sends, its store is an ordinary one, with a light fence after it, and a thread that
//! observes makes a heavy fence before that: a `SeqCst` store would make each send wait until the values of the one before
//! have reached the other cores. After the store the sender looks whether it still sends alone. If it does, a thread that
//! observes later sees either the word that names the sender, and makes the fence, or a later word, before which another
//! thread has made one.
//!
//! Inside one visit the place may change only to a narrower one within it: from a chunk of closures to one of them.
//!
//! Chunks are taken out of sight of deliveries and freed in the same way; see
//! [`directory`](super::directory).

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::chunk::SEATS;
use super::lane::{self, InDelivery};
use super::sole::{OpenWindow, Right, Sole, Standing, Window};
use crate::sync::{
    AtomicBool, AtomicPtr, AtomicU64, Ordering, heavy_fence, light_fence, mutant, order,
    seq_cst_order,
};

/// Where a delivery can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    const IDLE: Self = Self(0);
    const PER_CHUNK: u32 = SEATS as u32 + 1;

    /// A chunk, by its key.
    pub(crate) fn chunk(key: u32) -> Self {
        // Keys of channels are small. Those of closures are as small except for the highest bit,
        // which the product keeps, because the factor is odd.
        Self(key.wrapping_mul(Self::PER_CHUNK).wrapping_add(1))
    }

    /// One seat of a chunk.
    pub(crate) fn seat(key: u32, seat: usize) -> Self {
        Self(Self::chunk(key).0.wrapping_add(1 + seat as u32))
    }
}

/// The word of a record: the number of the visit and the place. It owns the orderings of both protocols.
#[derive(Debug)]
struct At(AtomicU64);

impl At {
    fn idle() -> Self {
        Self(AtomicU64::new(0))
    }

    fn pack(visit: u32, place: Place) -> u64 {
        u64::from(visit) << 32 | u64::from(place.0)
    }

    fn place(word: u64) -> Place {
        Place(word as u32)
    }

    fn visit(word: u64) -> u32 {
        (word >> 32) as u32
    }

    /// Only the record's thread stores, so it may load without ordering.
    #[inline(always)]
    fn own(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins a visit.
    #[inline]
    fn begin(&self, visit: u32, place: Place) {
        // ORDERING: SeqCst with the load in `observe`, the changes of what is live (`Live::clear`, `Entry::cut`, the swap
        // of a pointer in the directory) and the loads of it that follow this (`Live::load`, `Entry::is_cut`,
        // `Directory::bucket`, `Bucket::chunk`).
        // Release, because it may end a visit to another place.
        // Those are all four of each protocol. What a visit loads with `Relaxed` are the bits of the directory and of crossbeam
        // senders: the former need no order (see `directory`), the latter follow a `SeqCst` load of the live word.
        self.0.store(Self::pack(visit, place), Ordering::SeqCst);
        seq_cst_order!("delivery_begins_without_order");
    }

    /// Begins a visit of a thread that alone sends. It then looks whether it still does.
    #[inline]
    fn begin_alone(&self, visit: u32, place: Place) {
        // ORDERING: Release as in `begin`. Where that has `SeqCst`, the fence pairs with the heavy one in `Records::observe`.
        self.0.store(Self::pack(visit, place), Ordering::Release);
        if !mutant!("deliveries_are_observed_without_heavy_fence") {
            light_fence!("sole_delivery_begins_without_light_fence");
        }
    }

    /// Narrows the place within a visit, or ends it.
    #[inline]
    fn narrow(&self, visit: u32, place: Place) {
        // ORDERING: Release, because it leaves whatever of the wider place is not in the narrower one.
        let order = order!(Release, "delivery_ends_relaxed");
        self.0.store(Self::pack(visit, place), order);
    }

    fn observe(&self) -> u64 {
        // ORDERING: SeqCst with the store in `begin`; Acquire pairs with the Release stores above.
        self.0.load(Ordering::SeqCst)
    }
}

/// Which deliveries an unsubscribe has to wait for.
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
    fn is_about(self, place: Place) -> bool {
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

/// One thread's record with one feed, or one nested delivery's.
#[derive(Debug)]
pub(crate) struct Record {
    at: At,
    /// Whether its thread claims places in own channels by plain stores.
    window: Window,
    /// Whether a delivery uses the record, or a lane keeps it.
    busy: AtomicBool,
    /// What `at` was when something was left to be freed after that visit, else 0. See
    /// [`Records::has_moved_on`].
    awaited: AtomicU64,
    next: *const CachePadded<Record>,
}

impl Record {
    fn new(next: *const CachePadded<Self>) -> Self {
        Self {
            at: At::idle(),
            window: Window::new(),
            busy: AtomicBool::new(true),
            awaited: AtomicU64::new(0),
            next,
        }
    }
}

/// All records of a feed. They are made at need and freed with the feed.
#[derive(Debug)]
pub(crate) struct Records {
    /// Shared with the own channels, whose receivers look at it.
    sole: Arc<CachePadded<Sole>>,
    /// A list that only grows.
    all: AtomicPtr<CachePadded<Record>>,
    /// The record that each lane keeps, null until a thread that has the lane sends here. Threads
    /// without a lane, and nested deliveries, take one from the list each time.
    lanes: [AtomicPtr<CachePadded<Record>>; lane::EXCLUSIVE],
}

// SAFETY: the only field that is not `Sync` by itself is `Record::next`, a pointer that is set before its record is
// published and never changed, to a record that lives as long as `Records`.
unsafe impl Sync for Records {}
// SAFETY: as above; and records own nothing that is bound to a thread.
unsafe impl Send for Records {}

impl Records {
    pub(crate) fn new() -> Self {
        Self {
            sole: Arc::default(),
            lanes: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            all: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Whether one thread alone sends on the feed.
    pub(crate) fn sole(&self) -> &Arc<CachePadded<Sole>> {
        &self.sole
    }

    /// Has the visits of all records that are there go on from that number.
    #[cfg(test)]
    pub(crate) fn set_visits(&self, visit: u32) {
        for record in self.each() {
            let place = At::place(record.at.own());
            record.at.narrow(visit, place);
        }
    }

    /// Takes the calling thread's record. It is idle until it is told where it is.
    #[inline]
    pub(crate) fn enter(&self) -> Section<'_> {
        let inside = InDelivery::enter();
        let lane = lane::current();
        if let Some(record) = self.lanes.get(lane) {
            // ORDERING: only this lane's thread stores here, and lanes change hands with Release and Acquire.
            // SAFETY: null, or a record that lives as long as `self`.
            if let Some(record) = unsafe { record.load(Ordering::Relaxed).as_ref() } {
                let last = record.at.own();
                if At::place(last) == Place::IDLE {
                    return Section::new(self, record, last, lane, inside);
                }
            }
        }
        self.enter_slow(lane, inside)
    }

    /// Begins a visit to a place, and opens a window in it, with one look at the word; for a thread that alone sends, and is idle
    /// here.
    #[inline(always)]
    pub(crate) fn enter_alone(&self, place: Place) -> Option<LoneVisit<'_>> {
        let record = self.lanes.get(lane::current())?;
        // ORDERING: only this lane's thread stores here, and lanes change hands with Release and Acquire.
        // SAFETY: null, or a record that lives as long as `self`.
        let record: &Record = unsafe { record.load(Ordering::Relaxed).as_ref() }?;
        let last = record.at.own();
        if At::place(last) != Place::IDLE {
            return None;
        }
        let right = Right::new(&self.sole, &record.window);
        if right.look() != Standing::Sole {
            return None;
        }
        let visit = At::visit(last).wrapping_add(1);
        let window = right.open_before_look();
        record.at.begin_alone(visit, place);
        let visit = LoneVisit {
            window,
            end: EndOfVisit { record, visit },
        };
        let is_alone =
            right.is_unchanged() || mutant!("only_subscriber_is_served_beside_a_second_sender");
        is_alone.then_some(visit)
    }

    /// For a thread that has no record here yet, or whose record is in use by a delivery that this one is inside of, or
    /// that has no lane.
    #[cold]
    #[inline(never)]
    fn enter_slow(&self, lane: usize, inside: InDelivery) -> Section<'_> {
        let record = self.free_record();
        let mut section = Section::new(self, record, record.at.own(), lane, inside);
        match self.lanes.get(lane) {
            Some(kept) if kept.load(Ordering::Relaxed).is_null() => {
                kept.store(ptr::from_ref(record).cast_mut(), Ordering::Relaxed);
            }
            _ => section.gives_back = true,
        }
        section
    }

    /// A free record of the list, or a new one. The caller owns it.
    fn free_record(&self) -> &CachePadded<Record> {
        for record in self.each() {
            // ORDERING: Acquire pairs with the Release in `Section::drop`: the last user has left.
            if record
                .busy
                .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                return record;
            }
        }
        let mut head = self.all.load(Ordering::Relaxed);
        let mut record = Box::new(CachePadded::new(Record::new(head)));
        loop {
            record.next = head;
            let pointer = Box::into_raw(record);
            // ORDERING: Release pairs with the Acquire in `each`. SeqCst with the load there: an unsubscriber that does not
            // see the record yet comes, in the single order, before this, and so before the loads of the record's first
            // visit.
            match self
                .all
                .compare_exchange_weak(head, pointer, Ordering::SeqCst, Ordering::Relaxed)
            {
                // SAFETY: it was made just now, and lives as long as `self`.
                Ok(_) => return unsafe { &*pointer },
                Err(now) => {
                    head = now;
                    // SAFETY: made by `Box::into_raw` above, and not published.
                    record = unsafe { Box::from_raw(pointer) };
                }
            }
        }
    }

    fn windows(&self) -> impl Iterator<Item = &Window> {
        self.each().map(|record| &record.window)
    }

    fn each(&self) -> impl Iterator<Item = &CachePadded<Record>> {
        // ORDERING: SeqCst and Acquire as in `free_record`.
        // SAFETY: records live as long as `self`, and `next` is set before a record is published.
        let first = unsafe { self.all.load(Ordering::SeqCst).as_ref() };
        // SAFETY: as above.
        std::iter::successors(first, |record| unsafe { record.next.as_ref() })
    }

    /// Whether a lane keeps that record.
    fn is_kept(&self, record: &CachePadded<Record>) -> bool {
        let mut kept = self.lanes.iter();
        kept.any(|kept| ptr::eq(kept.load(Ordering::Relaxed), record))
    }

    /// Notes every delivery under way that `concern` covers. Before this, the caller has taken
    /// something out of sight of deliveries by a `SeqCst` access. Once [`Grace::is_over`], none of
    /// these deliveries has it any more. There is a `seq_cst_order!` between that access and this
    /// call.
    pub(crate) fn observe(&self, concern: Concern) -> Grace {
        if mutant!("unsubscribe_skips_grace") {
            return Grace {
                concern,
                visits: Vec::new(),
            };
        }
        // ORDERING: pairs with the light fence in `begin_alone`.
        if self.sole.is_another() {
            heavy_fence!("deliveries_are_observed_without_heavy_fence");
        }
        let seen = self
            .each()
            .filter(|record| !mutant!("extra_records_are_overlooked") || self.is_kept(record));
        let visits = seen.filter_map(|record| {
            let word = record.at.observe();
            concern.is_about(At::place(word)).then(|| Visit {
                record: ptr::from_ref(&**record),
                word,
            })
        });
        Grace {
            concern,
            visits: visits.collect(),
        }
    }

    /// Makes what the deliverers of visits that have ended did happen before what the caller does next.
    pub(crate) fn join_all(&self) {
        for record in self.each() {
            record.at.observe();
        }
    }

    // ---- What a thread leaves because a visit is still under way ----

    /// Whether a visit for which something was [left](Grace::leave) has ended since, or now has a
    /// narrower place.
    pub(crate) fn has_moved_on(&self) -> bool {
        self.each().any(|record| {
            let awaited = record.awaited.load(Ordering::Relaxed);
            awaited != 0 && awaited != record.at.observe()
        })
    }

    /// Forgets the visits that have moved on in this way. The caller then looks at everything that
    /// was left. The caller holds the registry's lock, as every thread does that changes `awaited`.
    pub(crate) fn forget_ended(&self) {
        for record in self.each() {
            let awaited = record.awaited.load(Ordering::Relaxed);
            if awaited != 0 && awaited != record.at.observe() {
                record.awaited.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let mut record = self.all.load(Ordering::Acquire);
        while !record.is_null() {
            // SAFETY: made by `Box::into_raw`, the list has each record once, and no section is left: they borrow `self`.
            let boxed = unsafe { Box::from_raw(record) };
            record = boxed.next.cast_mut();
        }
    }
}

/// A thread's presence among the deliverers of a feed, until it is dropped.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    records: &'a Records,
    record: &'a CachePadded<Record>,
    /// The number of the last visit. Kept here because to load it back right after it was stored would stall.
    visit: Cell<u32>,
    lane: usize,
    right: Right<'a>,
    /// Whether the record becomes free again after this.
    gives_back: bool,
    _inside: InDelivery,
}

impl<'a> Section<'a> {
    #[inline(always)]
    fn new(
        records: &'a Records,
        record: &'a CachePadded<Record>,
        last: u64,
        lane: usize,
        inside: InDelivery,
    ) -> Self {
        Self {
            records,
            record,
            visit: Cell::new(At::visit(last)),
            lane,
            right: Right::new(&records.sole, &record.window),
            gives_back: false,
            _inside: inside,
        }
    }

    /// The lane of the thread.
    #[inline]
    pub(crate) fn lane(&self) -> usize {
        self.lane
    }

    /// Whether, when the visit began, this thread alone sent.
    #[inline]
    pub(crate) fn is_sole(&self) -> bool {
        self.right.is_sole()
    }

    /// Opens a window in which the thread claims places by plain stores, if it alone sends; in a visit.
    #[inline(always)]
    pub(crate) fn open(&self) -> Option<OpenWindow<'a>> {
        self.right.open(|| self.records.windows())
    }

    /// Begins a visit to a place. What was live there before another thread's [`observe`](Records::observe), and is seen
    /// now, stays until the visit ends.
    #[inline]
    pub(crate) fn begin(&self, place: Place) {
        let visit = self.visit.get().wrapping_add(1);
        self.visit.set(visit);
        match self.right.look() {
            Standing::Sole => {
                self.record.at.begin_alone(visit, place);
                if !self.right.is_unchanged() {
                    self.begin_slow(visit, place);
                }
            }
            Standing::OneOfMany => self.record.at.begin(visit, place),
            Standing::Unknown => self.begin_slow(visit, place),
        }
    }

    /// Begins a visit as the first sender of a feed, or as one after another.
    #[cold]
    #[inline(never)]
    fn begin_slow(&self, visit: u32, place: Place) {
        self.right.ask(|| self.records.windows());
        self.record.at.begin(visit, place);
    }

    /// Narrows the visit to a place within its place.
    #[inline]
    pub(crate) fn narrow(&self, place: Place) {
        self.record.at.narrow(self.visit.get(), place);
    }
}

impl Drop for Section<'_> {
    #[inline]
    fn drop(&mut self) {
        self.narrow(Place::IDLE);
        if self.gives_back {
            // ORDERING: pairs with the Acquire in `free_record`.
            self.record.busy.store(false, Ordering::Release);
        }
    }
}

/// A visit of a thread that alone sends, and a window in it.
#[derive(Debug)]
pub(crate) struct LoneVisit<'a> {
    // It is closed before the visit ends.
    window: OpenWindow<'a>,
    end: EndOfVisit<'a>,
}

impl<'a> LoneVisit<'a> {
    #[inline(always)]
    pub(crate) fn window(&self) -> &OpenWindow<'a> {
        &self.window
    }

    /// Closes the window and runs code of others in the visit.
    #[cold]
    pub(crate) fn end_with(self, then: impl FnOnce()) {
        let Self { window, end } = self;
        drop(window);
        let _inside = InDelivery::enter();
        then();
        drop(end);
    }
}

#[derive(Debug)]
struct EndOfVisit<'a> {
    record: &'a Record,
    visit: u32,
}

impl Drop for EndOfVisit<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.record.at.narrow(self.visit, Place::IDLE);
    }
}

/// The deliveries that were under way when something was taken out of their sight.
#[derive(Debug, Clone)]
pub(crate) struct Grace {
    concern: Concern,
    visits: Vec<Visit>,
}

#[derive(Debug, Clone, Copy)]
struct Visit {
    record: *const Record,
    /// The word at the last observation.
    word: u64,
}

// SAFETY: the pointers are to records of a feed, which are `Sync` and outlive the `Grace`: see `Grace::is_over`.
unsafe impl Send for Grace {}

impl Grace {
    /// Whether all of them have ended.
    ///
    /// # Safety
    ///
    /// The [`Records`] that made this must be alive.
    pub(crate) unsafe fn is_over(&mut self) -> bool {
        self.visits.retain_mut(|visit| {
            let last = visit.word;
            // SAFETY: the caller keeps the records alive.
            visit.word = unsafe { &*visit.record }.at.observe();
            At::visit(visit.word) == At::visit(last) && self.concern.is_about(At::place(visit.word))
        });
        self.visits.is_empty()
    }

    /// Makes [`Records::has_moved_on`] report the end of a visit that was under way when
    /// [`is_over`](Self::is_over) looked. The caller holds the registry's lock.
    ///
    /// # Safety
    ///
    /// The [`Records`] that made this must be alive.
    pub(crate) unsafe fn leave(&self) {
        for visit in &self.visits {
            // SAFETY: the caller keeps the records alive.
            let awaited = unsafe { &(*visit.record).awaited };
            // What is there is of the same visit, and of no narrower a place: `forget_ended` came before.
            if awaited.load(Ordering::Relaxed) == 0 {
                awaited.store(visit.word, Ordering::Relaxed);
            }
        }
    }

    /// Whether all noted visits within `concern` have ended. This grace's own concern includes
    /// `concern`. Once true, it stays true: a visit only ever narrows its place.
    ///
    /// # Safety
    ///
    /// The [`Records`] that made this must be alive.
    pub(crate) unsafe fn is_over_at(&self, concern: Concern) -> bool {
        self.visits.iter().all(|visit| {
            // SAFETY: the caller keeps the records alive.
            let word = unsafe { &*visit.record }.at.observe();
            At::visit(word) != At::visit(visit.word) || !concern.is_about(At::place(word))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Concern, Place, Records};

    #[test]
    fn a_visit_is_waited_for_until_it_ends_or_another_begins() {
        let records = Records::new();
        let [place, elsewhere] = [Place::chunk(0), Place::chunk(1)];
        let of = |key| Concern::Seat {
            chunk: Place::chunk(key),
            seat: Place::seat(key, 1),
        };
        let concern = of(0);
        let section = records.enter();
        // SAFETY: the records live to the end of this test.
        let is_over = |grace: &mut super::Grace| unsafe { grace.is_over() };

        assert!(is_over(&mut records.observe(concern)), "it is idle");
        section.begin(place);
        let mut grace = records.observe(concern);
        assert!(!is_over(&mut grace));
        assert!(is_over(&mut records.observe(of(1))));
        // To the same place: a sender that never pauses must not delay others.
        section.begin(place);
        assert!(is_over(&mut grace));

        let mut graces = [concern, Concern::All].map(|concern| records.observe(concern));
        section.narrow(elsewhere);
        assert_eq!([true, false], graces.each_mut().map(is_over));
        drop(section);
        assert!(graces.iter_mut().all(is_over));
        assert!(is_over(&mut records.observe(Concern::All)));

        // The first visit of the next section is another one too.
        let section = records.enter();
        section.begin(place);
        let mut grace = records.observe(concern);
        drop(section);
        let section = records.enter();
        section.begin(place);
        assert!(is_over(&mut grace));
    }

    #[test]
    fn a_delivery_inside_a_delivery_ends_by_itself() {
        let records = Records::new();
        let [outside, inside] = [0, 1].map(Place::chunk);
        // SAFETY: the records live to the end of this test.
        let is_at = |first| unsafe {
            let concern = Concern::Chunks { first, count: 1 };
            !records.observe(concern).is_over()
        };
        // What is made at need is there the second time.
        for _ in 0..2 {
            let outer = records.enter();
            outer.begin(outside);
            let inner = records.enter();
            inner.begin(inside);
            assert_eq!([true, true], [outside, inside].map(is_at));
            drop(inner);
            assert_eq!([true, false], [outside, inside].map(is_at));
            drop(outer);
            assert_eq!([false, false], [outside, inside].map(is_at));
        }
    }
}
