//! The one order of a ring, and the values that its readers get of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fanfeed::{RecvError, TryRecvError, ring};

use crate::Token;

/// The order of a ring as its senders were told it: at which position each value is. No two values
/// have the same number.
///
/// It is no part of the program: its lock is `std`'s, which no thread of a program waits for.
#[derive(Debug, Clone, Default)]
pub struct Order(Arc<Mutex<HashMap<u32, u64>>>);

/// What one reader of a ring got.
#[derive(Debug, Default)]
pub struct Stream(Vec<Item>);

#[derive(Debug, Clone, Copy)]
enum Item {
    Value(u32),
    Missed(u64),
}

impl Order {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sender of these values was told the position of the first of them; the others follow it.
    pub fn told(&self, position: u64, values: impl IntoIterator<Item = u32>) {
        let mut order = self.0.lock().unwrap();
        for (position, value) in (position..).zip(values) {
            let taken = order.values().any(|&other| other == position);
            assert!(!taken, "two values at position {position}");
            order.insert(value, position);
        }
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Asserts that the stream is a stretch of this order, with so many missing where they were
    /// told to be missed. Returns where it begins, if anything came, and where it ends.
    #[track_caller]
    pub fn assert_has(&self, stream: &Stream) -> (Option<u64>, u64) {
        let order = self.0.lock().unwrap();
        let (mut begin, mut next, mut missed) = (None, 0, 0);
        for item in &stream.0 {
            match item {
                Item::Missed(count) => missed += count,
                Item::Value(value) => {
                    let position = *order.get(value).expect("not the order: it was never sent");
                    if begin.is_some() {
                        assert_eq!(position, next + missed, "not the order: {stream:?}");
                    } else {
                        assert!(position >= missed, "more was missed than sent");
                        begin = Some(position - missed);
                    }
                    (next, missed) = (position + 1, 0);
                }
            }
        }
        (begin, next + missed)
    }

    /// Asserts that the stream is this order from its beginning to its end.
    #[track_caller]
    pub fn assert_is(&self, stream: &Stream) {
        let (begin, end) = self.assert_has(stream);
        assert_eq!(begin.unwrap_or(0), 0, "it began late: {stream:?}");
        assert_eq!(end, self.count() as u64, "it ended early: {stream:?}");
    }
}

impl Stream {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value came.
    pub fn take(&mut self, value: u32) {
        self.0.push(Item::Value(value));
    }

    #[track_caller]
    fn miss(&mut self, count: u64) {
        assert_ne!(count, 0, "a miss of nothing");
        self.0.push(Item::Missed(count));
    }

    /// The numbers of the values that came.
    pub fn values(&self) -> Vec<u32> {
        let values = self.0.iter().filter_map(|item| match item {
            Item::Value(value) => Some(*value),
            Item::Missed(_) => None,
        });
        values.collect()
    }

    /// How many were missed.
    pub fn missed(&self) -> u64 {
        let misses = self.0.iter().map(|item| match item {
            Item::Value(_) => 0,
            Item::Missed(count) => *count,
        });
        misses.sum()
    }

    /// Takes one value, or is told of misses, and waits for that.
    pub fn recv(&mut self, reader: &mut ring::Receiver<Token>) -> Result<(), RecvError> {
        match reader.recv() {
            Ok(value) => self.take(value.number()),
            Err(RecvError::Lagged(count)) => self.miss(count),
            Err(end) => return Err(end),
        }
        Ok(())
    }

    /// Hands out what there is now, or is told of misses. Others may run while a value is looked
    /// at, which stays what it is.
    pub fn drain(&mut self, reader: &mut ring::Receiver<Token>) -> Result<(), TryRecvError> {
        let outcome = reader.drain(|value| {
            let number = value.number();
            shuttle::thread::sleep(std::time::Duration::ZERO);
            assert_eq!(value.number(), number, "a value changed while it was read");
            self.take(number);
        });
        match outcome {
            Ok(count) => assert_ne!(count, 0, "a drain of nothing"),
            Err(TryRecvError::Lagged(count)) => self.miss(count),
            Err(end) => return Err(end),
        }
        Ok(())
    }

    /// Takes everything until the end, one by one.
    pub fn recv_all(&mut self, reader: &mut ring::Receiver<Token>) -> RecvError {
        loop {
            if let Err(end) = self.recv(reader) {
                return end;
            }
        }
    }

    /// Hands out everything until the end.
    pub fn drain_all(&mut self, reader: &mut ring::Receiver<Token>) -> RecvError {
        loop {
            if let Err(end) = reader.wait() {
                return end;
            }
            match self.drain(reader) {
                Ok(()) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Overflowed) => return RecvError::Overflowed,
                Err(_) => return RecvError::Closed,
            }
        }
    }
}
