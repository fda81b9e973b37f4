//! Where the subscribers of a feed are stored, and how deliveries find them.
//!
//! Subscribers are stored in chunks. The first chunk of channels lies in the directory itself. Each
//! further chunk of channels, and each chunk of closures, has an *index* among its kind, and a slot
//! of that index in a *bucket*: an array of slots, four times as long as the bucket before it.
//! Neither chunks nor buckets ever move. So adding or removing a chunk takes one store into its
//! slot, whatever the number of subscribers. A new subscriber takes the free seat of the lowest
//! index. So while subscribers come and go, chunks of high indexes become empty, and are freed.
//!
//! **The protocol.** Slots and buckets are read as live words are (see [`record`](super::record)):
//!
//! ```text
//! deliver:  record.at = (visit + 1, chunk)              SeqCst
//!           read the pointer of the chunk's bucket      SeqCst
//!           read the pointer in the chunk's slot        SeqCst
//!
//! free:     set the pointer to null                     SeqCst
//!           for each record: observe `at`               SeqCst
//!           free it once no visit that was observed at a chunk of that slot, or of that bucket, goes on
//! ```
//!
//! A visit that reads both pointers itself protects its chunk, and the bucket that has the chunk's
//! slot. Only the freeing of memory waits for visits; no call waits.
//!
//! Bits say which chunks have live subscribers: one bit for each slot, in its bucket, and one for
//! each bucket, in the directory. They are set before a subscription is complete and cleared when a
//! chunk's last live subscriber is cut. By these bits a delivery skips empty chunks without a
//! visit, and knows whether it is at the last chunk. They need no ordering: a delivery that happens
//! after a subscription, and before its end, sees its bits set, because nothing clears them in
//! between. The loads of the pointers order the memory behind them.

use std::collections::BTreeSet;
use std::ptr;
use std::sync::Arc;

use super::chunk::{Chunk, Seat};
use super::entry::{Entry, Seating};
use super::record::{Concern, Grace, Place, Records, Section};
use crate::sync::{
    Alive, AtomicPtr, AtomicU32, AtomicU64, MODELLED, Ordering, mutant, order, prefetch,
    seq_cst_order,
};

/// The key of the first chunk of channels.
pub(crate) const FIRST: u32 = 0;
/// Slots in the first bucket.
const SHORTEST: u32 = if MODELLED { 2 } else { 16 };
/// Enough for 22 million chunks of each kind, of 64 subscribers each.
const BUCKETS: usize = 11;

/// The kind of subscribers in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Channels = 0,
    Closures = 1,
}

/// The index of a bucket's first slot.
fn start(bucket: usize) -> u32 {
    SHORTEST * ((1 << (2 * bucket)) - 1) / 3
}

fn len(bucket: usize) -> u32 {
    SHORTEST << (2 * bucket)
}

/// The bucket that has the slot of this index.
fn bucket_of(index: u32) -> usize {
    let bucket = (index * 3 / SHORTEST + 1).ilog2() as usize / 2;
    assert!(
        bucket < BUCKETS,
        "a feed has room for 1.4 billion subscribers"
    );
    bucket
}

/// Keys of channels are in the lower half, those of closures in the upper.
fn key(kind: Kind, index: u32) -> u32 {
    (kind as u32) << 31 | (index + 1)
}

/// The kind and the index of a chunk that is not the first.
fn locate(key: u32) -> (Kind, u32) {
    let kind = if key >> 31 == 0 {
        Kind::Channels
    } else {
        Kind::Closures
    };
    (kind, (key & u32::MAX >> 1) - 1)
}

/// All chunks of a feed.
///
/// Only a thread that holds the registry's lock changes anything here. [`Vacancies`] is protected
/// by that lock, so a reference to it proves that the lock is held.
pub(crate) struct Directory<T> {
    beyond: Beyond,
    first: Chunk<T>,
    buckets: [[AtomicPtr<Bucket<T>>; BUCKETS]; 2],
}

/// Which buckets have a chunk with live subscribers: a bit for each bucket. The lower half is for
/// channels, the upper half for closures.
#[derive(Debug)]
struct Beyond(AtomicU64);

impl Beyond {
    fn bit(kind: Kind, bucket: usize) -> u64 {
        1 << (32 * kind as usize + bucket)
    }

    #[inline]
    fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The first such bucket of a kind, at or after `from`.
    fn next(&self, kind: Kind, from: usize) -> Option<usize> {
        let bits = (self.load() >> (32 * kind as usize)) as u32 & u32::MAX << from;
        (bits != 0).then(|| bits.trailing_zeros() as usize)
    }

    /// Whether there are live subscribers after this bucket: of its kind, or closures.
    fn any_after(&self, kind: Kind, bucket: usize) -> bool {
        self.load() >> (32 * kind as usize + bucket + 1) != 0
    }

    fn set(&self, kind: Kind, bucket: usize) {
        self.0.fetch_or(Self::bit(kind, bucket), Ordering::Relaxed);
    }

    fn clear(&self, kind: Kind, bucket: usize) {
        self.0
            .fetch_and(!Self::bit(kind, bucket), Ordering::Relaxed);
    }
}

struct Bucket<T> {
    alive: Alive,
    /// One bit for each slot whose chunk has live subscribers.
    live: Box<[AtomicU64]>,
    slots: Box<[AtomicPtr<Chunk<T>>]>,
    /// How many slots have a chunk. Accessed only under the lock.
    chunks: AtomicU32,
    /// How many bits are set. Accessed only under the lock.
    live_chunks: AtomicU32,
}

/// Adds to a count that is changed only under the lock.
fn count(count: &AtomicU32, change: i32) -> u32 {
    let now = count.load(Ordering::Relaxed).wrapping_add_signed(change);
    count.store(now, Ordering::Relaxed);
    now
}

impl<T> Bucket<T> {
    fn new(len: u32) -> Self {
        Self {
            alive: Alive::new(),
            live: (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            slots: (0..len).map(|_| AtomicPtr::new(ptr::null_mut())).collect(),
            chunks: AtomicU32::new(0),
            live_chunks: AtomicU32::new(0),
        }
    }

    /// The first slot, at or after `from`, whose chunk has live subscribers.
    #[inline]
    fn next_live(&self, from: usize) -> Option<usize> {
        let mut word = from / 64;
        let mut bits = self.live.get(word)?.load(Ordering::Relaxed) & u64::MAX << (from % 64);
        while bits == 0 {
            word += 1;
            bits = self.live.get(word)?.load(Ordering::Relaxed);
        }
        Some(word * 64 + bits.trailing_zeros() as usize)
    }

    /// Prefetches the memory that a visit to this chunk reads first.
    #[inline]
    fn prefetch(&self, slot: usize) {
        prefetch(self.slots[slot].load(Ordering::Relaxed));
    }

    /// The chunk in this slot.
    ///
    /// # Safety
    ///
    /// The caller is in a visit to it that began before this, or holds the lock.
    #[inline]
    unsafe fn chunk(&self, slot: usize) -> Option<&Chunk<T>> {
        // ORDERING: SeqCst with the swap in `Directory::remove_chunk`, as the module says; Acquire
        // pairs with the store in `Directory::chunk_to_fill`.
        let chunk = self.slots[slot].load(Ordering::SeqCst);
        // SAFETY: null, or a chunk that is freed only after it was taken out of the slot and all
        // visits to it have ended.
        let chunk = unsafe { chunk.as_ref() }?;
        chunk.alive().used();
        Some(chunk)
    }
}

/// The free seats, and the memory that waits to be freed. Protected by the registry's lock.
pub(crate) struct Vacancies<T> {
    kinds: [Vacant; 2],
    retired: Vec<Retired<T>>,
}

#[derive(Default)]
struct Vacant {
    /// Indexes below `end` of chunks that have a free seat, or that do not exist.
    open: BTreeSet<u32>,
    end: u32,
    /// A chunk without subscribers. It is kept, so that a single subscriber that comes and goes
    /// allocates none. Models keep none, so that they exercise the freeing of chunks.
    spare: Option<u32>,
}

/// A chunk or a bucket that deliveries can no longer find.
struct Retired<T> {
    memory: Memory<T>,
    grace: Grace,
}

enum Memory<T> {
    Chunk(*mut Chunk<T>),
    Bucket(*mut Bucket<T>),
}

// SAFETY: it owns the memory behind the pointers, which is `Send` when `T` is.
unsafe impl<T: Send> Send for Memory<T> {}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw`, and owned by this alone. It is dropped when no delivery
        // uses the memory any more: after the grace (`Vacancies::collect`), or with the feed.
        unsafe {
            match *self {
                Self::Chunk(chunk) => Box::from_raw(chunk).end(),
                Self::Bucket(bucket) => Box::from_raw(bucket).alive.end(),
            }
        }
    }
}

impl<T> Vacancies<T> {
    pub(crate) fn new() -> Self {
        Self {
            kinds: Default::default(),
            retired: Vec::new(),
        }
    }

    /// Frees `memory`, which deliveries can no longer find, once all visits that began before this
    /// to the `count` chunks from key `first` on have ended.
    fn retire(&mut self, records: &Records, memory: Memory<T>, first: u32, count: u32) {
        let first = Place::chunk(first);
        // The four accesses: the swap of the pointer by the caller, the load in `At::observe`; the
        // store in `At::begin`, and the load in `Bucket::chunk` or `Directory::bucket`. The
        // prefetch reads a pointer with `Relaxed`, and does not follow it.
        seq_cst_order!("memory_is_freed_without_order");
        let grace = records.observe(Concern::Chunks { first, count });
        self.retired.push(Retired { memory, grace });
    }

    /// Frees the retired memory that no delivery uses any more. Each record keeps at most a chunk
    /// and two buckets alive, so this is short.
    ///
    /// # Safety
    ///
    /// The feed's [`Records`] are alive.
    unsafe fn collect(&mut self) {
        self.retired.retain_mut(|retired| {
            // SAFETY: the caller guarantees this.
            let is_over = unsafe { retired.grace.is_over() };
            let is_careless = match retired.memory {
                Memory::Chunk(_) => mutant!("chunk_is_freed_while_it_is_visited"),
                Memory::Bucket(_) => mutant!("bucket_is_freed_while_it_is_visited"),
            };
            !is_over && !is_careless
        });
    }
}

impl Vacant {
    /// The lowest index with a free seat.
    fn lowest(&mut self) -> u32 {
        if let Some(&index) = self.open.first() {
            return index;
        }
        self.open.insert(self.end);
        self.end += 1;
        self.end - 1
    }

    /// Notes that the chunk of this index has no subscribers left, and returns the index of the
    /// chunk to remove now.
    fn emptied(&mut self, index: u32) -> Option<u32> {
        if MODELLED {
            return Some(index);
        }
        let spare = self.spare.replace(index)?;
        self.spare = Some(spare.min(index));
        Some(spare.max(index))
    }
}

impl<T> Directory<T> {
    pub(crate) fn new() -> Self {
        Self {
            beyond: Beyond(AtomicU64::new(0)),
            first: Chunk::new(FIRST),
            buckets: std::array::from_fn(|_| {
                std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()))
            }),
        }
    }

    // ---- For deliveries ----

    #[inline]
    pub(crate) fn first(&self) -> &Chunk<T> {
        &self.first
    }

    /// Whether there are live subscribers outside the first chunk.
    #[inline]
    pub(crate) fn has_live_beyond(&self) -> bool {
        self.beyond.load() != 0
    }

    /// Visits each chunk of a kind that has live subscribers, except the first, and calls `serve`
    /// in that visit. `serve` gets the chunk, and whether there are live subscribers after it. When
    /// there are none, this ends and returns false. A subscriber that is live after that chunk by
    /// now subscribed after the send had begun.
    #[inline]
    pub(crate) fn visit_each(
        &self,
        kind: Kind,
        section: &Section<'_>,
        mut serve: impl FnMut(&Chunk<T>, bool),
    ) -> bool {
        let mut from = 0;
        while let Some(number) = self.beyond.next(kind, from) {
            from = number + 1;
            let mut next = Some(0);
            while let Some(slot) = next {
                if !mutant!("chunk_is_read_outside_of_a_visit") {
                    section.begin(Place::chunk(key(kind, start(number) + slot as u32)));
                }
                // SAFETY: the visit is to a chunk of this bucket.
                let Some(bucket) = (unsafe { self.bucket(kind, number) }) else {
                    break;
                };
                next = bucket.next_live(slot + 1);
                let more = next.is_some() || self.beyond.any_after(kind, number);
                if let Some(next) = next {
                    bucket.prefetch(next);
                }
                // SAFETY: the visit is to this chunk.
                if let Some(chunk) = unsafe { bucket.chunk(slot) } {
                    serve(chunk, more);
                }
                if !more {
                    return false;
                }
            }
        }
        true
    }

    /// The chunk with this key, which is not the key of the first chunk.
    ///
    /// # Safety
    ///
    /// The caller is in a visit to the chunk that began before this, or holds the lock, as long as
    /// it uses the reference.
    #[inline]
    pub(crate) unsafe fn chunk_in_visit(&self, key: u32) -> Option<&Chunk<T>> {
        let (kind, index) = locate(key);
        let number = bucket_of(index);
        // SAFETY: the caller guarantees this.
        unsafe {
            self.bucket(kind, number)?
                .chunk((index - start(number)) as usize)
        }
    }

    /// # Safety
    ///
    /// The caller is in a visit to a chunk of that bucket that began before this, or holds the
    /// lock.
    #[inline]
    unsafe fn bucket(&self, kind: Kind, number: usize) -> Option<&Bucket<T>> {
        // ORDERING: SeqCst with the swap in `remove_bucket`, as the module says; Acquire pairs with
        // the store in `chunk_to_fill`.
        let bucket = self.buckets[kind as usize][number].load(Ordering::SeqCst);
        // SAFETY: null, or a bucket that is freed only after it was taken out of here and all
        // visits to its chunks have ended.
        let bucket = unsafe { bucket.as_ref() }?;
        bucket.alive.used();
        Some(bucket)
    }

    // ---- For a thread that holds the lock ----

    /// A chunk that has subscribers.
    pub(crate) fn chunk<'a>(&'a self, _lock: &'a Vacancies<T>, key: u32) -> &'a Chunk<T> {
        if key == FIRST {
            return &self.first;
        }
        // SAFETY: the caller holds the lock.
        unsafe { self.chunk_in_visit(key) }.expect("a chunk with a taken seat is there")
    }

    /// All seats that are taken, live or not.
    pub(crate) fn taken(&self, _lock: &Vacancies<T>) -> Vec<Seating> {
        let buckets = self.buckets.iter().flatten().filter_map(|bucket| {
            // SAFETY: null, or a bucket that is freed only under the lock, which the caller holds.
            unsafe { bucket.load(Ordering::Relaxed).as_ref() }
        });
        let chunks = buckets.flat_map(|bucket| {
            // SAFETY: the caller holds the lock.
            (0..bucket.slots.len()).filter_map(|slot| unsafe { bucket.chunk(slot) })
        });
        std::iter::once(&self.first)
            .chain(chunks)
            .flat_map(|chunk| {
                let key = chunk.key();
                chunk.taken().map(move |seat| Seating { chunk: key, seat })
            })
            .collect()
    }

    /// How many chunks of channels there are besides the first, how many chunks of closures, and
    /// how much memory waits to be freed.
    #[cfg(test)]
    pub(crate) fn sizes(&self, lock: &Vacancies<T>) -> ([u32; 2], usize) {
        let chunks = self.buckets.each_ref().map(|buckets| {
            let buckets = buckets.iter().filter_map(|bucket| {
                // SAFETY: null, or a bucket that is freed only under the lock, which the caller
                // holds.
                unsafe { bucket.load(Ordering::Relaxed).as_ref() }
            });
            buckets
                .map(|bucket| bucket.chunks.load(Ordering::Relaxed))
                .sum()
        });
        (chunks, lock.retired.len())
    }

    /// Takes a free seat.
    ///
    /// # Safety
    ///
    /// The feed's [`Records`] are alive.
    pub(crate) unsafe fn take_seat(
        &self,
        vacancies: &mut Vacancies<T>,
        is_closure: bool,
    ) -> Seating {
        if !is_closure && let Some(seat) = self.first.take() {
            return Seating { chunk: FIRST, seat };
        }
        // SAFETY: the caller guarantees this.
        unsafe { vacancies.collect() };
        let kind = if is_closure {
            Kind::Closures
        } else {
            Kind::Channels
        };
        let vacant = &mut vacancies.kinds[kind as usize];
        let index = vacant.lowest();
        let chunk = self.chunk_to_fill(kind, index);
        let seat = chunk.take().expect("an open chunk has a free seat");
        if chunk.is_full() {
            vacant.open.remove(&index);
        }
        if vacant.spare == Some(index) {
            vacant.spare = None;
        }
        Seating {
            chunk: chunk.key(),
            seat,
        }
    }

    /// The chunk of this index. Makes the chunk if it does not exist.
    fn chunk_to_fill(&self, kind: Kind, index: u32) -> &Chunk<T> {
        let number = bucket_of(index);
        let pointer = &self.buckets[kind as usize][number];
        if pointer.load(Ordering::Relaxed).is_null() {
            let bucket = Box::into_raw(Box::new(Bucket::new(len(number))));
            // ORDERING: Release pairs with the Acquire in `bucket`.
            pointer.store(bucket, order!(Release, "bucket_is_published_relaxed"));
        }
        // SAFETY: the caller holds the lock.
        let bucket = unsafe { self.bucket(kind, number) }.expect("it was made just now");
        let slot = (index - start(number)) as usize;
        if bucket.slots[slot].load(Ordering::Relaxed).is_null() {
            let chunk = Box::into_raw(Box::new(Chunk::new(key(kind, index))));
            // ORDERING: Release pairs with the Acquire in `Bucket::chunk`.
            bucket.slots[slot].store(chunk, order!(Release, "chunk_is_published_relaxed"));
            count(&bucket.chunks, 1);
        }
        // SAFETY: the caller holds the lock.
        unsafe { bucket.chunk(slot) }.expect("it was made just now")
    }

    /// Puts an entry into the seat that was taken for it, and makes it live.
    ///
    /// # Safety
    ///
    /// The seat is empty, and no other thread knows of the entry.
    pub(crate) unsafe fn fill(&self, lock: &Vacancies<T>, entry: Arc<Entry<T>>) {
        let Seating { chunk: key, seat } = entry.seating();
        let chunk = self.chunk(lock, key);
        let was_live = chunk.live().load() != 0;
        // SAFETY: the caller guarantees this.
        unsafe { chunk.fill(seat, entry) };
        if key == FIRST || was_live {
            return;
        }
        let (kind, number, bucket, slot) = self.slot(lock, key);
        bucket.live[slot / 64].fetch_or(1 << (slot % 64), Ordering::Relaxed);
        if count(&bucket.live_chunks, 1) == 1 {
            self.beyond.set(kind, number);
        }
    }

    /// Takes a subscriber out of the live ones.
    pub(crate) fn cut(&self, lock: &Vacancies<T>, seating: Seating) {
        let Seating { chunk: key, seat } = seating;
        let chunk = self.chunk(lock, key);
        chunk.cut(seat);
        if key == FIRST || chunk.live().load() != 0 {
            return;
        }
        let (kind, number, bucket, slot) = self.slot(lock, key);
        bucket.live[slot / 64].fetch_and(!(1 << (slot % 64)), Ordering::Relaxed);
        if count(&bucket.live_chunks, -1) == 0 {
            self.beyond.clear(kind, number);
        }
    }

    /// Empties a seat. The chunk is removed with its last subscriber, unless it is kept as the
    /// spare one.
    ///
    /// # Safety
    ///
    /// The seat was cut, the grace observed after that is over, and `records` are the feed's.
    pub(crate) unsafe fn vacate(
        &self,
        vacancies: &mut Vacancies<T>,
        records: &Records,
        seating: Seating,
    ) -> Seat<T> {
        let Seating { chunk: key, seat } = seating;
        let chunk = self.chunk(vacancies, key);
        // SAFETY: the caller guarantees this.
        let emptied = unsafe { chunk.empty(seat) };
        chunk.give_back(seat);
        let is_empty = chunk.is_empty();
        if key != FIRST {
            let (kind, index) = locate(key);
            let vacant = &mut vacancies.kinds[kind as usize];
            vacant.open.insert(index);
            if is_empty && let Some(index) = vacant.emptied(index) {
                self.remove_chunk(vacancies, records, kind, index);
                // SAFETY: the caller guarantees this.
                unsafe { vacancies.collect() };
            }
        }
        emptied
    }

    /// Removes a chunk that has no subscribers, and its bucket if that was the bucket's last chunk.
    fn remove_chunk(
        &self,
        vacancies: &mut Vacancies<T>,
        records: &Records,
        kind: Kind,
        index: u32,
    ) {
        let key = key(kind, index);
        let (_, number, bucket, slot) = self.slot(vacancies, key);
        let is_last = count(&bucket.chunks, -1) == 0;
        // ORDERING: SeqCst, as the module says.
        let chunk = bucket.slots[slot].swap(ptr::null_mut(), Ordering::SeqCst);
        vacancies.retire(records, Memory::Chunk(chunk), key, 1);
        if is_last {
            let pointer = &self.buckets[kind as usize][number];
            // ORDERING: SeqCst, as the module says.
            let bucket = pointer.swap(ptr::null_mut(), Ordering::SeqCst);
            let first = self::key(kind, start(number));
            vacancies.retire(records, Memory::Bucket(bucket), first, len(number));
        }
        // The trailing indexes that have no chunk are forgotten.
        let Vacancies { kinds, .. } = vacancies;
        let vacant = &mut kinds[kind as usize];
        while let Some(&last) = vacant.open.last()
            && last + 1 == vacant.end
            // SAFETY: the caller holds the lock.
            && unsafe { self.chunk_in_visit(self::key(kind, last)) }.is_none()
        {
            vacant.open.remove(&last);
            vacant.end = last;
        }
    }

    /// Locates the slot of an existing chunk: its kind, the number of its bucket, the bucket, and
    /// the slot's number in it.
    fn slot<'a>(
        &'a self,
        _lock: &'a Vacancies<T>,
        key: u32,
    ) -> (Kind, usize, &'a Bucket<T>, usize) {
        let (kind, index) = locate(key);
        let number = bucket_of(index);
        // SAFETY: the caller holds the lock.
        let bucket =
            unsafe { self.bucket(kind, number) }.expect("a chunk that is there has a bucket");
        (kind, number, bucket, (index - start(number)) as usize)
    }
}

impl<T> Drop for Directory<T> {
    fn drop(&mut self) {
        for pointer in self.buckets.iter().flatten() {
            let bucket = pointer.load(Ordering::Relaxed);
            if bucket.is_null() {
                continue;
            }
            // SAFETY: it was still here, so it is not freed yet. No other thread has the directory.
            let slots = unsafe { &(*bucket).slots };
            let chunks = slots.iter().map(|slot| slot.load(Ordering::Relaxed));
            chunks
                .filter(|chunk| !chunk.is_null())
                .for_each(|chunk| drop(Memory::Chunk(chunk)));
            drop(Memory::Bucket(bucket));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Kind, bucket_of, key, len, locate, start};

    #[test]
    fn each_index_has_a_slot_of_its_own() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            assert_eq!(start(bucket), next);
            next += len(bucket);
            for index in [start(bucket), next - 1] {
                assert_eq!(bucket_of(index), bucket);
                for kind in [Kind::Channels, Kind::Closures] {
                    assert_eq!(locate(key(kind, index)), (kind, index));
                }
            }
        }
    }
}
