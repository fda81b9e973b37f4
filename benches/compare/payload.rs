//! The sent values. Each holds its number, so that its reader can check that it is the next.

use std::sync::Arc;

/// A value with a number.
pub(crate) trait Payload: Clone + Send + Sync + 'static {
    /// The value with this number.
    fn numbered(number: u64) -> Self;
    /// Its number; something else if the value is torn.
    fn number(&self) -> u64;
}

impl Payload for u64 {
    #[inline]
    fn numbered(number: u64) -> Self {
        number
    }

    #[inline]
    fn number(&self) -> u64 {
        *self
    }
}

impl<const WORDS: usize> Payload for [u64; WORDS] {
    #[inline]
    fn numbered(number: u64) -> Self {
        [number; WORDS]
    }

    #[inline]
    fn number(&self) -> u64 {
        let (first, last) = (self[0], self[WORDS - 1]);
        if first == last { first } else { u64::MAX }
    }
}

/// What is dear to copy and shared instead. Each is an allocation of its own, as it would be in
/// earnest.
impl Payload for Arc<[u8; 256]> {
    fn numbered(number: u64) -> Self {
        let mut bytes = [0; 256];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Arc::new(bytes)
    }

    #[inline]
    fn number(&self) -> u64 {
        let (number, _) = self.split_first_chunk().expect("there are 256 bytes");
        u64::from_le_bytes(*number)
    }
}
