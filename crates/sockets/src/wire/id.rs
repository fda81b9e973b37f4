//! Identities of messages and members.

use std::cell::RefCell;

use uuid::{Builder, Uuid};

const SIZE: usize = 16;

/// A new UUID, version 4, as text: what identifies a message or a member.
///
/// The random bytes come from the operating system, for several identities at once.
pub fn unique_id() -> String {
    thread_local! {
        static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; Pool::SIZE], left: 0 }) };
    }
    let uuid = POOL
        .try_with(|pool| pool.borrow_mut().take())
        // The thread is ending and its locals are gone.
        .unwrap_or_else(|_| Uuid::new_v4());
    let mut buffer = Uuid::encode_buffer();
    uuid.hyphenated().encode_lower(&mut buffer).to_owned()
}

/// Random bytes, of which each is used once.
struct Pool {
    bytes: [u8; Pool::SIZE],
    left: usize,
}

impl Pool {
    const SIZE: usize = 32 * SIZE;

    fn take(&mut self) -> Uuid {
        if self.left == 0 {
            if getrandom::fill(&mut self.bytes).is_err() {
                return Uuid::new_v4();
            }
            self.left = Self::SIZE;
        }
        self.left -= SIZE;
        let mut random = [0; SIZE];
        let taken = &mut self.bytes[self.left..self.left + SIZE];
        random.copy_from_slice(taken);
        taken.fill(0);
        Builder::from_random_bytes(random).into_uuid()
    }
}
