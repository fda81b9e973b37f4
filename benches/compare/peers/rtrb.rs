//! rtrb: one ring for each reader. Single values use `push` and `pop`. Batches use chunks, which
//! its documentation (module `chunks`) recommends for several values. It has no way to wait.

use std::ops::Range;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::channels::Channel;
use crate::link::{CAPACITY, Reads, SendsBatches};
use crate::payload::Payload;

/// A ring for one sender and one reader.
pub(crate) struct Rtrb;

impl<T: Payload> Channel<T> for Rtrb {
    type Sender = Producer<T>;
    type Receiver = Consumer<T>;

    fn open(capacity: usize) -> (Producer<T>, Consumer<T>) {
        RingBuffer::new(capacity)
    }

    #[inline]
    fn try_send(sender: &mut Producer<T>, value: T) -> Result<(), T> {
        sender.push(value).map_err(|PushError::Full(value)| value)
    }

    #[inline]
    fn try_recv(receiver: &mut Consumer<T>) -> Option<T> {
        receiver.pop().ok()
    }
}

/// One ring, written and read in chunks.
pub(crate) fn chunks() -> (ChunkProducer, ChunkConsumer) {
    let (producer, consumer) = RingBuffer::new(CAPACITY);
    (ChunkProducer(producer), ChunkConsumer(consumer))
}

/// Writes whole chunks.
pub(crate) struct ChunkProducer(Producer<u64>);

impl SendsBatches for ChunkProducer {
    #[inline]
    fn put_all(&mut self, numbers: Range<u64>) {
        let count = (numbers.end - numbers.start) as usize;
        loop {
            if let Ok(chunk) = self.0.write_chunk_uninit(count) {
                chunk.fill_from_iter(numbers);
                return;
            }
            std::hint::spin_loop();
        }
    }
}

/// Reads all there is as one chunk.
pub(crate) struct ChunkConsumer(Consumer<u64>);

impl Reads<u64> for ChunkConsumer {
    fn readers(&self) -> usize {
        1
    }

    #[inline]
    fn take(&mut self, _: usize, each: impl FnMut(&u64)) -> u64 {
        let there = self.0.slots();
        let chunk = self.0.read_chunk(there).expect("they are there");
        let (older, newer) = chunk.as_slices();
        older.iter().chain(newer).for_each(each);
        chunk.commit_all();
        0
    }
}
