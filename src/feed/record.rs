//! The records of deliveries under way. An unsubscribe waits for these deliveries, and only for
//! those that concern it.
//!
//! A sending thread has one record per feed. While it delivers, its record says at which *place*: a
//! chunk of subscribers, or one closure. The protocol:
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
//! The four `SeqCst` accesses have a single order. There are two cases. If the deliverer's store
//! comes before the unsubscriber's observation, the unsubscriber sees the visit and waits for its
//! end. The Release store at that end makes everything the deliverer did happen before what the
//! unsubscriber does next. Otherwise, the unsubscriber has taken the subscriber out before the
//! deliverer's read, which then does not see the subscriber. A later visit begins after the
//! observation, so it does not see the subscriber either. Therefore a change of the visit's number
//! ends the wait, and a thread that sends without a pause delays no unsubscribe.
//!
//! While [only one thread](super::sole) sends, its store is an ordinary one with a light fence
//! after it, and a thread that observes makes a heavy fence before it does. A `SeqCst` store would
//! make each send wait until the values of the previous send have reached the other cores. After
//! the store the sender checks whether it is still the sole sender. If it is, a thread that
//! observes later sees one of two things: the word that names the sender, and then it makes the
//! fence; or a later word, and before that word was stored, another thread has made one.
//!
//! Where several threads send to one subscriber, that store is an ordinary one as well. The sender
//! marks its record as *light* before its first such visit, with a read-modify-write. There are
//! again two cases for a thread that observes. Either it sees the mark, and makes a heavy fence. Or
//! it has taken the subscriber out before the record was marked, and the sender's visits after that
//! do not see the subscriber. A sender that finds more than one subscriber removes the mark, in a
//! visit that began with `SeqCst`. So where many subscribers come and go, no thread makes heavy
//! fences for them.
//!
//! Inside one visit the place may change only to a narrower one within it: from a chunk of closures
//! to one of the closures.
//!
//! Chunks are hidden from deliveries and freed in the same way; see
//! [`directory`](super::directory).

mod grace;
mod lone;
mod word;

use std::cell::Cell;
use std::ptr;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

pub(crate) use self::grace::Grace;
use self::grace::Visit;
pub(crate) use self::lone::Lone;
use self::lone::{EndOfVisit, LoneVisit};
use self::word::{At, Record};
pub(crate) use self::word::{Concern, Place};
use super::lane::{self, InDelivery};
use super::sole::{OpenWindow, Right, Sole, Standing, Window};
use crate::sync::{AtomicPtr, Ordering, heavy_fence, light_fences_are_free, mutant};

/// All records of a feed. They are made when needed and freed with the feed.
#[derive(Debug)]
pub(crate) struct Records {
    /// Shared with the own channels, whose receivers read it.
    sole: Arc<CachePadded<Sole>>,
    /// A list that only grows.
    all: AtomicPtr<CachePadded<Record>>,
    /// The record that each lane keeps, null until a thread that has the lane sends here. Threads
    /// without a lane, and nested deliveries, take one from the list each time.
    lanes: [AtomicPtr<CachePadded<Record>>; lane::EXCLUSIVE],
}

// SAFETY: the only field that is not `Sync` by itself is `Record::next`, a pointer that is set
// before its record is published and never changed, to a record that lives as long as `Records`.
unsafe impl Sync for Records {}
// SAFETY: as above. Records own nothing that is bound to a thread.
unsafe impl Send for Records {}

impl Records {
    pub(crate) fn new() -> Self {
        Self {
            sole: Arc::default(),
            lanes: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            all: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Which thread, if any, is the sole sender of the feed.
    pub(crate) fn sole(&self) -> &Arc<CachePadded<Sole>> {
        &self.sole
    }

    /// Sets the visit numbers of all existing records to `visit`.
    #[cfg(test)]
    pub(crate) fn set_visits(&self, visit: u32) {
        for record in self.each() {
            let place = At::place(record.at.own());
            record.at.narrow(visit, place);
        }
    }

    /// Takes the calling thread's record. It stays idle until [`Section::begin`].
    #[inline]
    pub(crate) fn enter(&self) -> Section<'_> {
        let inside = InDelivery::enter();
        let lane = lane::current();
        if let Some(record) = self.lanes.get(lane) {
            // ORDERING: only this lane's thread stores here, and lanes change hands with Release
            // and Acquire.
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

    /// Begins a visit to a place in which no user code runs, with one load of the word. For a
    /// thread that has a lane and is idle on this feed.
    #[inline(always)]
    pub(crate) fn enter_lone(&self, place: Place) -> Option<Lone<'_>> {
        let (record, visit) = self.idle_record(lane::held())?;
        let right = Right::new(&self.sole, &record.window);
        match right.look() {
            Standing::Sole => {
                let window = right.open_before_look();
                record.at.begin_alone(visit, place);
                let end = EndOfVisit { record, visit };
                let visit = LoneVisit { window, end };
                let is_alone = right.is_unchanged()
                    || mutant!("only_subscriber_is_served_beside_a_second_sender");
                is_alone.then_some(Lone::Alone(visit))
            }
            Standing::OneOfMany => Self::begin_among(record, visit, place).map(Lone::Among),
            Standing::Unknown => None,
        }
    }

    /// Like [`enter_lone`](Self::enter_lone), for a thread that claims no place in an own channel.
    /// Also returns the thread's lane.
    #[inline(always)]
    pub(crate) fn enter_lone_without_window(
        &self,
        place: Place,
    ) -> Option<(EndOfVisit<'_>, usize)> {
        let lane = lane::held();
        let (record, visit) = self.idle_record(lane)?;
        let right = Right::new(&self.sole, &record.window);
        let visit = match right.look() {
            Standing::Sole => {
                record.at.begin_alone(visit, place);
                let visit = EndOfVisit { record, visit };
                // As in `Section::begin`: another thread may have become the sole sender before
                // this visit began. Models cannot tell, because their light fences are full ones.
                right.is_unchanged().then_some(visit)?
            }
            Standing::OneOfMany => Self::begin_among(record, visit, place)?,
            Standing::Unknown => return None,
        };
        Some((visit, lane))
    }

    /// The record of the thread that has this lane, if the thread is idle on this feed, and the
    /// number of its next visit.
    #[inline(always)]
    fn idle_record(&self, lane: usize) -> Option<(&Record, u32)> {
        let record = self.lanes.get(lane)?;
        // ORDERING: only this lane's thread stores here, and lanes change hands with Release and
        // Acquire.
        // SAFETY: null, or a record that lives as long as `self`.
        let record: &Record = unsafe { record.load(Ordering::Relaxed).as_ref() }?;
        let last = record.at.own();
        let is_idle = At::place(last) == Place::IDLE;
        is_idle.then(|| (record, At::visit(last).wrapping_add(1)))
    }

    /// Begins a lone visit of one of several senders, if light fences cost nothing.
    #[inline(always)]
    fn begin_among(record: &Record, visit: u32, place: Place) -> Option<EndOfVisit<'_>> {
        if !record.light.is_on() && !Self::turn_light(record) {
            return None;
        }
        record.at.begin_light(visit, place);
        record.light.fence();
        Some(EndOfVisit { record, visit })
    }

    /// Lets visits of the calling thread begin with a light fence, if light fences cost nothing.
    #[cold]
    #[inline(never)]
    fn turn_light(record: &Record) -> bool {
        let is_free = light_fences_are_free();
        if is_free && !mutant!("light_visits_are_not_marked") {
            record.light.turn_on();
        }
        is_free
    }

    /// For a thread that has no record here yet, that has no lane, or whose record is in use by an
    /// outer delivery.
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
            // ORDERING: Release pairs with the Acquire in `each`. SeqCst with the load there: if an
            // unsubscriber does not see the record yet, its load comes before this in the single
            // order, and so before the loads of the record's first visit.
            match self
                .all
                .compare_exchange_weak(head, pointer, Ordering::SeqCst, Ordering::Relaxed)
            {
                // SAFETY: it was just made, and lives as long as `self`.
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

    /// Whether a lane keeps this record.
    fn is_kept(&self, record: &CachePadded<Record>) -> bool {
        let mut kept = self.lanes.iter();
        kept.any(|kept| ptr::eq(kept.load(Ordering::Relaxed), record))
    }

    /// Notes every delivery under way that `concern` covers. Before this, the caller has hidden
    /// something from deliveries by a `SeqCst` access. Once [`Grace::is_over`], none of the noted
    /// deliveries uses it any more. There is a `seq_cst_order!` between that access and this call.
    pub(crate) fn observe(&self, concern: Concern) -> Grace {
        if mutant!("unsubscribe_skips_grace") {
            return Grace {
                concern,
                visits: Vec::new(),
            };
        }
        // ORDERING: pairs with the light fences in `begin_alone` and `Light::fence`.
        let are_light = self.each().any(|record| record.light.is_seen());
        let are_light = are_light && !mutant!("light_visits_are_overlooked");
        if are_light || self.sole.is_another() {
            heavy_fence!("deliveries_are_observed_without_heavy_fence");
        }
        let seen = self
            .each()
            .filter(|record| !mutant!("extra_records_are_overlooked") || self.is_kept(record));
        let visits = seen.filter_map(|record| {
            #[cfg(fanfeed_loom)]
            if are_light {
                record.light.fence_heavily();
            }
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

    /// Makes what deliverers did in visits that have ended happen before what the caller does next.
    pub(crate) fn join_all(&self) {
        for record in self.each() {
            record.at.observe();
        }
    }

    // ---- Things that are freed later because a visit is still under way ----

    /// Whether a visit for which something was [left](Grace::leave) has ended since, or has
    /// narrowed its place.
    pub(crate) fn has_moved_on(&self) -> bool {
        self.each().any(|record| {
            let awaited = record.awaited.load(Ordering::Relaxed);
            awaited != 0 && awaited != record.at.observe()
        })
    }

    /// Forgets the visits for which [`has_moved_on`](Self::has_moved_on) is true. The caller then
    /// checks everything that was left. The caller holds the registry's lock; only threads with
    /// that lock change `awaited`.
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
            // SAFETY: made by `Box::into_raw`, the list has each record once, and no section is
            // left: they borrow `self`.
            let boxed = unsafe { Box::from_raw(record) };
            record = boxed.next.cast_mut();
        }
    }
}

/// A thread's use of its record: it is among the deliverers of a feed until this is dropped.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    records: &'a Records,
    record: &'a CachePadded<Record>,
    /// The number of the last visit. Kept here, because loading it right after it was stored would
    /// stall.
    visit: Cell<u32>,
    lane: usize,
    right: Right<'a>,
    /// Whether the record becomes free again when this is dropped.
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

    /// Whether this thread was the sole sender when the visit began.
    #[inline]
    pub(crate) fn is_sole(&self) -> bool {
        self.right.is_sole()
    }

    /// Opens a window in which the thread claims places by plain stores, if it is the sole sender.
    /// Called in a visit.
    #[inline(always)]
    pub(crate) fn open(&self) -> Option<OpenWindow<'a>> {
        self.right.open(|| self.records.windows())
    }

    /// Begins a visit to a place. A subscriber that is live there before another thread's
    /// [`observe`](Records::observe), and that this visit sees, stays until the visit ends.
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

    /// Begins a visit as the first sender of a feed, or as the next one after another sender.
    #[cold]
    #[inline(never)]
    fn begin_slow(&self, visit: u32, place: Place) {
        self.right.ask(|| self.records.windows());
        self.record.at.begin(visit, place);
    }

    /// In a visit: makes later visits of the thread begin with a full fence, so that observing
    /// threads need no heavy fence for them.
    #[inline]
    pub(crate) fn turn_heavy(&self) {
        if self.record.light.is_on() {
            self.record.light.turn_off();
        }
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
        // The second time, the records exist already.
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
