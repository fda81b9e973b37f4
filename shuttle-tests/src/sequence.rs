//! The values that one subscriber of a feed gets from several senders.

use std::collections::HashMap;

use fanfeed::{Receiver, RecvError, TryRecvError};

use crate::{Ledger, Token};

/// A value of that sender, which numbers its values from 0.
pub fn value(ledger: &Ledger, sender: u32, index: u32) -> Token {
    ledger.token(sender * 100 + index)
}

/// What one subscriber got, by the senders it came from. Asserts that the values of each sender
/// come in the order sent.
#[derive(Debug, Default)]
pub struct Sequence {
    /// The numbers of the values in the order in which they came.
    pub values: Vec<u32>,
    /// How many were missed.
    pub missed: u64,
    /// How many misses had been told when each value came.
    told: Vec<u64>,
}

impl Sequence {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value came.
    #[track_caller]
    pub fn take(&mut self, value: &Token) {
        let number = value.number();
        let mut earlier = self.values.iter().rev();
        if let Some(before) = earlier.find(|&before| before / 100 == number / 100) {
            assert!(*before < number, "{number} came after {before}");
        }
        self.values.push(number);
        self.told.push(self.missed);
    }

    /// Takes a value, or is told of misses, if there is something now.
    #[track_caller]
    pub fn try_recv(&mut self, receiver: &mut Receiver<Token>) -> Result<(), TryRecvError> {
        match receiver.try_recv() {
            Ok(value) => self.take(&value),
            Err(TryRecvError::Lagged(count)) => self.miss(count),
            Err(end) => return Err(end),
        }
        Ok(())
    }

    /// Takes a value, or is told of misses, and waits for that.
    #[track_caller]
    pub fn recv(&mut self, receiver: &mut Receiver<Token>) -> Result<(), RecvError> {
        match receiver.recv() {
            Ok(value) => self.take(&value),
            Err(RecvError::Lagged(count)) => self.miss(count),
            Err(end) => return Err(end),
        }
        Ok(())
    }

    /// Takes everything until the end, and waits for it.
    #[track_caller]
    pub fn recv_all(&mut self, receiver: &mut Receiver<Token>) -> RecvError {
        loop {
            if let Err(end) = self.recv(receiver) {
                return end;
            }
        }
    }

    #[track_caller]
    fn miss(&mut self, count: u64) {
        assert_ne!(count, 0, "a miss of nothing");
        self.missed += count;
    }

    /// How many values came.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Values and misses together.
    pub fn all(&self) -> usize {
        self.count() + self.missed as usize
    }

    /// Asserts that misses come in their place: what is missing before a value of its sender was
    /// told before that value. The receiver was there from the beginning.
    #[track_caller]
    pub fn assert_misses_in_place(&self) {
        let mut next = HashMap::new();
        let mut missing = 0;
        for (value, told) in self.values.iter().zip(&self.told) {
            let (sender, index) = (value / 100, value % 100);
            let expected = next.insert(sender, index + 1).unwrap_or(0);
            missing += u64::from(index - expected);
            assert!(missing <= *told, "a miss is told late: {self:?}");
        }
    }

    /// Asserts that of each sender's values those came that were sent in one stretch: none is
    /// missing in between.
    #[track_caller]
    pub fn assert_without_gaps(&self) {
        for (index, value) in self.values.iter().enumerate() {
            let mut earlier = self.values[..index].iter().rev();
            if let Some(before) = earlier.find(|&before| before / 100 == value / 100) {
                assert_eq!(before + 1, *value, "a gap in {:?}", self.values);
            }
        }
    }
}
