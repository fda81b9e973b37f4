//! Values that count themselves.

use std::sync::{Arc, Mutex};

/// The book of all [`Token`]s made from it: each is dropped once, and at the end all are.
///
/// It is no part of what is modelled: its lock is `std`'s, which no thread of a model waits for.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<Vec<bool>>>);

/// A value with a number. Its clones have the same, and entries of their own in the [`Ledger`].
#[derive(Debug)]
pub struct Token {
    number: u32,
    entry: usize,
    ledger: Ledger,
}

impl Ledger {
    /// A book without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// A value.
    pub fn token(&self, number: u32) -> Token {
        let mut entries = self.0.lock().unwrap();
        entries.push(true);
        Token {
            number,
            entry: entries.len() - 1,
            ledger: self.clone(),
        }
    }

    /// Asserts that no value is left.
    #[track_caller]
    pub fn assert_settled(&self) {
        let left = self
            .0
            .lock()
            .unwrap()
            .iter()
            .filter(|&&lives| lives)
            .count();
        assert_eq!(left, 0, "values that were not dropped");
    }
}

impl Token {
    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl Clone for Token {
    fn clone(&self) -> Self {
        self.ledger.token(self.number)
    }
}

impl Default for Token {
    /// A value in a book of its own, that stands in a slot until it is written over.
    fn default() -> Self {
        Ledger::new().token(u32::MAX)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut entries = self.ledger.0.lock().unwrap();
        assert!(
            std::mem::replace(&mut entries[self.entry], false),
            "a value was dropped twice"
        );
    }
}
