//! The counts of a ring's reader.

use fanfeed::{RecvError, TryRecvError, ring};
use loom::thread;

use crate::Token;

/// What a reader of a ring got of values that were numbered in the order of their positions, from
/// 0.
///
/// Asserts that values and misses come in order: counted together from where the reader began they
/// give each value its number.
#[derive(Debug, Default)]
pub struct Tally {
    /// The number that comes next, once it is known.
    next: Option<u64>,
    /// The numbers of the values.
    pub values: Vec<u32>,
    /// How many were missed.
    pub missed: u64,
}

impl Tally {
    /// Of a reader that began wherever it was.
    pub fn from_anywhere() -> Self {
        Self::default()
    }

    /// Of a reader whose first value has that number.
    pub fn from(first: u64) -> Self {
        Self {
            next: Some(first),
            ..Self::default()
        }
    }

    /// A value came.
    #[track_caller]
    pub fn take(&mut self, value: &Token) {
        let number = u64::from(value.number());
        if let Some(next) = self.next {
            assert_eq!(number, next, "out of order");
        }
        self.next = Some(number + 1);
        self.values.push(value.number());
    }

    /// So many were missed.
    pub fn miss(&mut self, count: u64) {
        assert_ne!(count, 0, "a miss of nothing");
        self.next = self.next.map(|next| next + count);
        self.missed += count;
    }

    /// Takes one value, or is told of misses, and waits for that.
    pub fn recv(&mut self, reader: &mut ring::Receiver<Token>) -> Result<(), RecvError> {
        match reader.recv() {
            Ok(value) => self.take(&value),
            Err(RecvError::Lagged(count)) => self.miss(count),
            Err(end) => return Err(end),
        }
        Ok(())
    }

    /// Takes one value, or is told of misses, if there is something now.
    pub fn try_recv(&mut self, reader: &mut ring::Receiver<Token>) -> Result<(), TryRecvError> {
        match reader.try_recv() {
            Ok(value) => self.take(&value),
            Err(TryRecvError::Lagged(count)) => self.miss(count),
            Err(end) => return Err(end),
        }
        Ok(())
    }

    /// Hands out what there is now, or is told of misses.
    pub fn drain(&mut self, reader: &mut ring::Receiver<Token>) -> Result<(), TryRecvError> {
        match reader.drain(|value| self.take(value)) {
            Ok(count) => assert_ne!(count, 0, "a drain of nothing"),
            Err(TryRecvError::Lagged(count)) => self.miss(count),
            Err(end) => return Err(end),
        }
        Ok(())
    }

    /// Takes everything until the end, and waits for it.
    pub fn recv_all(&mut self, reader: &mut ring::Receiver<Token>) -> RecvError {
        loop {
            if let Err(end) = self.recv(reader) {
                return end;
            }
        }
    }

    /// Takes everything until the end, without ever parking.
    pub fn poll_all(&mut self, reader: &mut ring::Receiver<Token>) -> TryRecvError {
        loop {
            match self.try_recv(reader) {
                Ok(()) => {}
                Err(TryRecvError::Empty) => thread::yield_now(),
                Err(end) => return end,
            }
        }
    }

    /// Hands out everything until the end, and waits for it.
    pub fn drain_all(&mut self, reader: &mut ring::Receiver<Token>) -> RecvError {
        loop {
            match self.drain(reader) {
                Ok(()) => {}
                Err(TryRecvError::Empty) => {
                    if let Err(end) = reader.wait() {
                        return end;
                    }
                }
                Err(TryRecvError::Overflowed) => return RecvError::Overflowed,
                Err(_) => return RecvError::Closed,
            }
        }
    }

    /// Values and misses together.
    pub fn all(&self) -> u64 {
        self.values.len() as u64 + self.missed
    }
}
