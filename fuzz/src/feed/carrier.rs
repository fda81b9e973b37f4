//! A carrier that the program implements.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use fanfeed::{Carrier, Room, TrySendError};

use super::program::Manner;
use super::world::with;
use crate::value::{Value, panic_on_purpose};

/// What both ends of a custom channel share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) values: Mutex<VecDeque<Value>>,
    pub(crate) wakers: Mutex<Vec<Waker>>,
    pub(crate) far_end_is_gone: AtomicBool,
    pub(crate) panics: AtomicBool,
}

/// The sending end.
pub(crate) struct Custom {
    pub(crate) shared: Arc<Shared>,
    pub(crate) capacity: usize,
    pub(crate) manner: Manner,
    /// The subscriber that it is of, if it is to unsubscribe itself.
    pub(crate) leaves: Mutex<Option<usize>>,
}

impl Carrier<Value> for Custom {
    fn try_send(&self, value: Value) -> Result<(), TrySendError<Value>> {
        if self.shared.panics.swap(false, Relaxed) {
            panic_on_purpose();
        }
        let leaving = self.leaves.lock().unwrap().take();
        if let Some(index) = leaving {
            with(|world| world.unsubscribe(index));
        }
        if self.shared.far_end_is_gone.load(Relaxed) {
            return Err(TrySendError::Closed(value));
        }
        let mut values = self.shared.values.lock().unwrap();
        if values.len() == self.capacity {
            return Err(TrySendError::Full(value));
        }
        values.push_back(value);
        Ok(())
    }

    fn poll_room(&self, waker: &Waker) -> Room {
        match self.manner {
            Manner::Silent | Manner::Wrapping => Room::Unknown,
            Manner::Ready => Room::Ready,
            Manner::Waking => {
                let mut wakers = self.shared.wakers.lock().unwrap();
                wakers.retain(|held| !held.will_wake(waker));
                wakers.push(waker.clone());
                Room::Waking
            }
        }
    }

    fn forget_waker(&self, waker: &Waker) {
        let mut wakers = self.shared.wakers.lock().unwrap();
        wakers.retain(|held| !held.will_wake(waker));
    }

    fn depth(&self) -> Option<usize> {
        Some(self.shared.values.lock().unwrap().len())
    }
}

/// A carrier that does nothing but send on a crossbeam channel.
pub(crate) struct Wrapping(pub(crate) crossbeam_channel::Sender<Value>);

impl Carrier<Value> for Wrapping {
    fn try_send(&self, value: Value) -> Result<(), TrySendError<Value>> {
        Carrier::try_send(&self.0, value)
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn as_crossbeam(&self) -> Option<&crossbeam_channel::Sender<Value>> {
        Some(&self.0)
    }
}
