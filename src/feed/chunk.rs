//! Up to 64 subscribers, and one word that says which of them are live.

use std::hint::unreachable_unchecked;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::entry::Entry;
use super::queue::Queue;
use super::record::{Place, Section};
use super::refusal::Refusal;
use crate::overflow::Overflow;
use crate::sync::{
    Alive, AtomicPtr, AtomicU64, MODELLED, Ordering, UnsafeCell, mutant, order, prefetch,
};

/// Seats per chunk: one for each bit of the live word. Models have few seats, so that they reach a
/// second chunk.
pub(crate) const SEATS: usize = if MODELLED { 2 } else { 64 };
/// Seats in the chunk itself. The others are allocated when they are first needed, so that a feed
/// with few subscribers is small.
const NEAR: usize = if MODELLED { 1 } else { 4 };
const FAR: usize = SEATS - NEAR;
/// The bits of all seats.
const ALL: u64 = u64::MAX >> (64 - SEATS);

/// A subscriber as deliveries see it.
pub(crate) struct Seat<T> {
    way: Way<T>,
    entry: Arc<Entry<T>>,
}

/// How a delivery reaches a subscriber. The common ports are duplicated here, so that a delivery
/// follows one pointer less.
enum Way<T> {
    /// The entry's own channel. The entry keeps the queue alive.
    Own(*const Queue<T>),
    /// A clone of the entry's crossbeam sender.
    Crossbeam(Sender<T>),
    /// Through the entry's port.
    Port,
}

impl<T> Seat<T> {
    /// # Safety
    ///
    /// The entry is new: no other thread knows of it.
    unsafe fn new(entry: Arc<Entry<T>>) -> Self {
        // SAFETY: no thread takes out the port of an entry that no other thread knows of.
        let way = match (entry.queue(), unsafe { entry.crossbeam() }) {
            (Some(queue), _) => Way::Own(Arc::as_ptr(queue)),
            (None, Some(sender)) => Way::Crossbeam(sender.clone()),
            (None, None) => Way::Port,
        };
        Self { way, entry }
    }

    #[inline]
    pub(crate) fn entry(&self) -> &Arc<Entry<T>> {
        &self.entry
    }

    /// Drops the sender of a seat that was emptied, if that runs no user code.
    ///
    /// # Safety
    ///
    /// As for [`Entry::take_port`].
    pub(crate) unsafe fn drop_plain_port(&mut self) {
        if matches!(self.way, Way::Crossbeam(_)) {
            self.way = Way::Port;
        }
        // SAFETY: the caller guarantees this.
        unsafe { self.entry.drop_plain_port() };
    }

    /// The own channel, by its direct pointer, if the seat has one.
    #[inline(always)]
    pub(crate) fn own(&self) -> Option<&Queue<T>> {
        match self.way {
            // SAFETY: the entry keeps its queue as long as it lives.
            Way::Own(queue) => Some(unsafe { &*queue }),
            Way::Crossbeam(_) | Way::Port => None,
        }
    }

    /// The own channel of a seat that has one.
    ///
    /// # Safety
    ///
    /// The chunk says that the seat has an own channel.
    #[inline(always)]
    pub(crate) unsafe fn own_unchecked(&self) -> &Queue<T> {
        match self.way {
            // SAFETY: the entry keeps its queue as long as it lives.
            Way::Own(queue) => unsafe { &*queue },
            // SAFETY: the caller guarantees this.
            Way::Crossbeam(_) | Way::Port => unsafe { unreachable_unchecked() },
        }
    }

    /// The crossbeam sender of a seat that has one, and the entry.
    ///
    /// # Safety
    ///
    /// The chunk says that the seat has a crossbeam sender.
    #[inline(always)]
    pub(crate) unsafe fn crossbeam_unchecked(&self) -> (&Sender<T>, &Arc<Entry<T>>) {
        match &self.way {
            Way::Crossbeam(sender) => (sender, &self.entry),
            // SAFETY: the caller guarantees this.
            Way::Own(_) | Way::Port => unsafe { unreachable_unchecked() },
        }
    }

    /// Offers a value to the subscriber. Returns `Ok(true)` if the receiver waits and the caller
    /// must wake it.
    ///
    /// # Safety
    ///
    /// The caller is in a visit to the chunk in which the seat was live. That entitles it to the
    /// entry's port.
    #[inline(always)]
    pub(crate) unsafe fn offer(&self, value: T, by: &Section<'_>) -> Result<bool, Refusal<T>>
    where
        T: Send + 'static,
    {
        match &self.way {
            // SAFETY: the entry keeps its queue as long as it lives. The port, which the caller is
            // entitled to, keeps the slots.
            Way::Own(queue) => unsafe { &**queue }.offer(value, by),
            Way::Crossbeam(sender) => {
                let offered = self.entry.offer_crossbeam(sender, value, by.lane());
                offered.map(|()| false)
            }
            // SAFETY: the caller guarantees this.
            Way::Port => unsafe { self.entry.offer(value, by) },
        }
    }

    /// Prefetches what a delivery to this seat writes first, while the processor works on another
    /// seat.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        match self.way {
            Way::Own(queue) => prefetch(queue),
            Way::Crossbeam(_) | Way::Port => prefetch(Arc::as_ptr(&self.entry)),
        }
    }

    /// The own channel, if the seat has one.
    #[inline]
    pub(crate) fn queue(&self) -> Option<&Queue<T>> {
        self.entry.queue().map(|queue| &**queue)
    }
}

type Cell<T> = UnsafeCell<MaybeUninit<Seat<T>>>;

/// A chunk of subscribers.
///
/// **The invariant of the seats.** A seat whose bit in `live` is set is initialized, and stays so
/// until a reaper empties it. Only the registry changes seats, under its lock. It fills an empty
/// seat before it sets the bit. It empties a seat after it has cleared the bit and a
/// [`Grace`](super::record::Grace) observed after that is over. A deliverer reads a seat only in a
/// visit to this chunk, after it saw the bit in that visit.
pub(crate) struct Chunk<T> {
    live: Live,
    /// Which seats have crossbeam senders. A bit changes only while its seat is not live.
    crossbeam: AtomicU64,
    /// Which seats have own channels whose senders do not evict. A bit changes only while its seat
    /// is not live.
    plain: AtomicU64,
    key: u32,
    place: Place,
    near: [Cell<T>; NEAR],
    far: Far<T>,
    /// Seats that are taken, live or not. Accessed only under the registry's lock.
    taken: AtomicU64,
    alive: Alive,
}

/// The seats that are not in the chunk itself, or null.
struct Far<T>(AtomicPtr<[Cell<T>; FAR]>);

impl<T> Drop for Far<T> {
    fn drop(&mut self) {
        let far = self.0.load(Ordering::Relaxed);
        if !far.is_null() {
            // SAFETY: made by `Box::into_raw`, and owned by this alone. The registry has emptied
            // all seats that were taken.
            drop(unsafe { Box::from_raw(far) });
        }
    }
}

/// The seats of a chunk, for a loop over several of them.
pub(crate) struct Seats<'a, T> {
    near: &'a [Cell<T>; NEAR],
    far: *const [Cell<T>; FAR],
}

impl<'a, T> Seats<'a, T> {
    /// # Safety
    ///
    /// The memory of the seat was allocated before `self` was loaded.
    #[inline(always)]
    unsafe fn cell(&self, seat: usize) -> &'a Cell<T> {
        if seat < NEAR {
            return &self.near[seat];
        }
        // SAFETY: `fill` allocates the far seats before it sets the bit of the first of them, and
        // they live as long as the chunk.
        unsafe { &(&*self.far)[seat - NEAR] }
    }

    /// A live seat.
    ///
    /// # Safety
    ///
    /// As for [`Chunk::seat`], and the seat was live before `self` was loaded.
    #[inline(always)]
    pub(crate) unsafe fn seat(&self, seat: usize) -> &'a Seat<T> {
        // SAFETY: the caller guarantees this.
        unsafe { self.cell(seat) }.with(|cell| unsafe { (*cell).assume_init_ref() })
    }
}

// SAFETY: seats are shared and changed as the invariant on the type says. Their contents are `Sync`
// and `Send` when `T: Send`.
unsafe impl<T: Send> Sync for Chunk<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Chunk<T> {}

/// One bit for each seat with a live subscriber. It owns its orderings.
#[derive(Debug)]
pub(crate) struct Live(AtomicU64);

impl Live {
    /// The live seats, for a deliverer in a visit.
    #[inline]
    pub(crate) fn load(&self) -> u64 {
        // ORDERING: Acquire pairs with the Release in `set`: the seat is filled. SeqCst as `record`
        // says.
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, seat: usize) {
        let order = order!(Release, "seat_is_live_relaxed");
        self.0.fetch_or(1 << seat, order);
    }

    fn clear(&self, seat: usize) {
        // ORDERING: SeqCst as `record` says. A read-modify-write does not break the release
        // sequences of the other bits.
        self.0.fetch_and(!(1 << seat), Ordering::SeqCst);
    }
}

impl<T> Chunk<T> {
    pub(crate) fn new(key: u32) -> Self {
        Self {
            live: Live(AtomicU64::new(0)),
            crossbeam: AtomicU64::new(0),
            plain: AtomicU64::new(0),
            key,
            place: Place::chunk(key),
            near: std::array::from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
            far: Far(AtomicPtr::new(ptr::null_mut())),
            taken: AtomicU64::new(0),
            alive: Alive::new(),
        }
    }

    pub(crate) fn key(&self) -> u32 {
        self.key
    }

    #[inline]
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    #[inline]
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// Which of the live seats have crossbeam senders. The bits of other seats mean nothing.
    #[inline]
    pub(crate) fn crossbeam(&self) -> u64 {
        // ORDERING: ordered by the load of `live`, which comes first. A bit changes only while its
        // seat is not live.
        self.crossbeam.load(Ordering::Relaxed)
    }

    /// Which of the live seats have own channels whose senders do not evict. The bits of other
    /// seats mean nothing.
    #[inline]
    pub(crate) fn plain(&self) -> u64 {
        // ORDERING: as in `crossbeam`.
        self.plain.load(Ordering::Relaxed)
    }

    /// The seats, for a caller that has loaded `live`: those that were live then can be read.
    #[inline(always)]
    pub(crate) fn seats(&self) -> Seats<'_, T> {
        Seats {
            near: &self.near,
            // ORDERING: ordered by the load of `live`, which comes first.
            far: self.far.0.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn cell(&self, seat: usize) -> &Cell<T> {
        // SAFETY: the caller saw the bit of the seat with Acquire, or holds the registry's lock,
        // and `fill` has allocated the seat.
        unsafe { self.seats().cell(seat) }
    }

    /// A live seat.
    ///
    /// # Safety
    ///
    /// The invariant on the type lets the caller read the seat for as long as it uses the
    /// reference.
    #[inline]
    pub(crate) unsafe fn seat(&self, seat: usize) -> &Seat<T> {
        // SAFETY: the caller guarantees this.
        self.cell(seat)
            .with(|cell| unsafe { (*cell).assume_init_ref() })
    }

    /// Puts an entry into an empty seat and makes it live.
    ///
    /// # Safety
    ///
    /// The caller holds the registry's lock, the seat is empty, and no other thread knows of the
    /// entry.
    pub(crate) unsafe fn fill(&self, seat: usize, entry: Arc<Entry<T>>) {
        if seat >= NEAR && self.far.0.load(Ordering::Relaxed).is_null() {
            let far: Box<[Cell<T>; FAR]> = Box::new(std::array::from_fn(|_| {
                UnsafeCell::new(MaybeUninit::uninit())
            }));
            self.far.0.store(Box::into_raw(far), Ordering::Relaxed);
        }
        // SAFETY: the caller guarantees this.
        let filled = unsafe { Seat::new(entry) };
        let bit = 1 << seat;
        let is_crossbeam = matches!(filled.way, Way::Crossbeam(_));
        let is_plain = filled
            .own()
            .is_some_and(|queue| queue.overflow() != Overflow::DropOldest);
        for (kind, is_of_kind) in [(&self.crossbeam, is_crossbeam), (&self.plain, is_plain)] {
            if is_of_kind {
                kind.fetch_or(bit, Ordering::Relaxed);
            } else {
                kind.fetch_and(!bit, Ordering::Relaxed);
            }
        }
        if mutant!("seat_is_live_before_it_is_filled") {
            self.live.set(seat);
        }
        // SAFETY: the seat is empty, so no deliverer reads it, and the lock keeps other threads
        // from filling it.
        self.cell(seat)
            .with_mut(|cell| unsafe { (*cell).write(filled) });
        self.live.set(seat);
    }

    /// Lets a model observe the chunk's uses.
    #[inline]
    pub(crate) fn alive(&self) -> &Alive {
        &self.alive
    }

    /// Frees the chunk.
    pub(crate) fn end(self) {
        self.alive.end();
    }

    // ---- Which seats are taken. The caller holds the registry's lock. ----

    /// Takes a free seat, if there is one.
    pub(crate) fn take(&self) -> Option<usize> {
        let taken = self.taken.load(Ordering::Relaxed);
        let seat = (taken != ALL).then(|| taken.trailing_ones() as usize)?;
        self.taken.store(taken | 1 << seat, Ordering::Relaxed);
        Some(seat)
    }

    /// Gives back an emptied seat.
    pub(crate) fn give_back(&self, seat: usize) {
        let taken = self.taken.load(Ordering::Relaxed);
        self.taken.store(taken & !(1 << seat), Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == ALL
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == 0
    }

    /// The seats that are taken.
    pub(crate) fn taken(&self) -> impl Iterator<Item = usize> + use<T> {
        let taken = self.taken.load(Ordering::Relaxed);
        (0..SEATS).filter(move |seat| taken & 1 << seat != 0)
    }

    // ---- Seats ----

    /// Takes a seat out of the live ones.
    pub(crate) fn cut(&self, seat: usize) {
        self.live.clear(seat);
    }

    /// Empties a seat that is not live.
    ///
    /// # Safety
    ///
    /// The caller holds the registry's lock, the seat was filled and then cut, and a grace observed
    /// after that is over.
    pub(crate) unsafe fn empty(&self, seat: usize) -> Seat<T> {
        // SAFETY: no other thread reads or writes the seat by now, and it is initialized until
        // this.
        self.cell(seat)
            .with_mut(|cell| unsafe { (*cell).assume_init_read() })
    }
}
