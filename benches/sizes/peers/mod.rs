//! Crowds of subscribers: fanfeed's, and those of its peers.

pub(crate) mod bare;
pub(crate) mod broadcast;
pub(crate) mod feed;
pub(crate) mod ring;

/// How many values the channel of one subscriber holds.
pub(crate) const CAPACITY: usize = 2;
/// How many values a ring holds.
pub(crate) const RING: usize = 8;

/// Receivers by number, with a gap for each one that left.
#[derive(Debug)]
pub(crate) struct Seats<R>(Vec<Option<R>>);

impl<R> Default for Seats<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R> Seats<R> {
    pub(crate) fn add(&mut self, receiver: R) {
        self.0.push(Some(receiver));
    }

    /// Takes one out. The last one's number is free again.
    pub(crate) fn remove(&mut self, number: usize) -> R {
        let receiver = self.0[number].take().expect("it has not left");
        if number + 1 == self.0.len() {
            self.0.pop();
        }
        receiver
    }

    pub(crate) fn compact(&mut self) {
        self.0.retain(Option::is_some);
    }

    /// How many there are, once compacted.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut R> {
        self.0.iter_mut().flatten()
    }
}
