//! The queues of a membership, bounded in messages and in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Room for the bytes of queued messages. A message takes its part until it is dropped or taken
/// out; one that is larger than all of the room takes all of it.
#[derive(Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    bytes: u32,
}

/// The part of a room that a message has.
pub(super) type Part = OwnedSemaphorePermit;

impl Room {
    pub(super) fn new(bytes: u32) -> Self {
        let free = Arc::new(Semaphore::new(bytes as usize));
        Self { free, bytes }
    }

    fn part(&self, size: usize) -> u32 {
        u32::try_from(size).unwrap_or(u32::MAX).min(self.bytes)
    }

    /// Takes a part if it is free.
    pub(super) fn try_take(&self, size: usize) -> Option<Part> {
        let taken = Arc::clone(&self.free).try_acquire_many_owned(self.part(size));
        match taken {
            Ok(part) => Some(part),
            Err(TryAcquireError::NoPermits) => None,
            Err(TryAcquireError::Closed) => unreachable!("it is never closed"),
        }
    }

    /// Waits for a part, behind those that wait already.
    pub(super) async fn take(&self, size: usize) -> Part {
        let taken = Arc::clone(&self.free).acquire_many_owned(self.part(size));
        taken.await.expect("it is never closed")
    }
}
