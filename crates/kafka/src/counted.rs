//! Tables by numbers that this process counts.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table whose keys are numbers of this process, such as those of sinks. No other program chooses
/// them, so they need no hash that withstands an attacker.
pub(crate) type Counted<V> = HashMap<u64, V, BuildHasherDefault<Spread>>;

/// Spreads a number over all bits of its hash.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 << 8 | u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2 to the 64th by the golden ratio: neighbours end far apart.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
