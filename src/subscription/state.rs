//! What every subscription has: an identity, and one end.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::error::SubscriptionError;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, global};
use crate::wait::{quietly, wake};

/// The number of a subscription, unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SubscriptionId(u64);

global! {
    /// The number of the next subscription.
    static NEXT: AtomicU64 = AtomicU64::new(1);
}

impl SubscriptionId {
    fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Identity and end of one subscription.
#[derive(Debug)]
pub(crate) struct State {
    id: SubscriptionId,
    /// Boxed, because most have none, and some have thousands beside them.
    name: Option<Box<Arc<str>>>,
    /// Set once, under the lock of `end`; read without it.
    ended: AtomicBool,
    /// Made at the first need: most subscriptions end without anybody asking.
    end: Mutex<Option<Box<End>>>,
}

/// Who waits for the end, and what it brought.
#[derive(Debug, Default)]
struct End {
    error: Option<SubscriptionError>,
    channel: Option<(
        Option<Sender<SubscriptionError>>,
        Receiver<SubscriptionError>,
    )>,
    wakers: Vec<(u64, Waker)>,
    next_waker: u64,
}

impl State {
    pub(crate) fn new(name: Option<Arc<str>>) -> Self {
        Self {
            id: SubscriptionId::next(),
            name: name.map(Box::new),
            ended: AtomicBool::new(false),
            end: Mutex::new(None),
        }
    }

    pub(crate) fn id(&self) -> SubscriptionId {
        self.id
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_deref()
    }

    pub(crate) fn is_ended(&self) -> bool {
        // ORDERING: pairs with the Release in `end`: who sees the end sees what led to it.
        self.ended.load(Ordering::Acquire)
    }

    /// Ends the subscription, with an error or without. Only the first call does anything, and it returns true.
    pub(crate) fn end(&self, error: Option<SubscriptionError>) -> bool {
        let wakers = {
            let mut lock = self.end.lock();
            if self.ended.load(Ordering::Relaxed) {
                return false;
            }
            // ORDERING: pairs with the Acquire in `is_ended`.
            self.ended.store(true, Ordering::Release);
            if lock.is_none() && error.is_none() {
                return true;
            }
            let end = lock.get_or_insert_default();
            let sender = end.channel.as_mut().and_then(|(sender, _)| sender.take());
            if let (Some(sender), Some(error)) = (&sender, &error) {
                // The channel has room for the one error it is for.
                let _ = sender.try_send(error.clone());
            }
            end.error = error;
            // Under the lock, so that whoever has waited for the end finds the channel disconnected.
            drop(sender);
            std::mem::take(&mut end.wakers)
        };
        // Woken outside the lock: that runs code of others.
        for (_, waker) in wakers {
            wake(waker);
        }
        true
    }

    /// The channel of the one error, made at the first call.
    pub(crate) fn err(&self) -> Receiver<SubscriptionError> {
        let mut lock = self.end.lock();
        let end = lock.get_or_insert_default();
        if let Some((_, receiver)) = &end.channel {
            return receiver.clone();
        }
        let (sender, receiver) = bounded(1);
        let kept = if self.ended.load(Ordering::Relaxed) {
            if let Some(error) = end.error.clone() {
                let _ = sender.try_send(error);
            }
            None
        } else {
            Some(sender)
        };
        end.channel = Some((kept, receiver.clone()));
        receiver
    }

    /// The error it ended with, if it has ended with one.
    pub(crate) fn error(&self) -> Option<SubscriptionError> {
        self.end.lock().as_ref()?.error.clone()
    }

    /// Has the waker woken at the end. False if it has ended already. `key` identifies the waker in later calls.
    pub(crate) fn wake_at_end(&self, key: &mut Option<u64>, waker: &Waker) -> bool {
        if self.is_ended() {
            // Whoever ended it may be about to disconnect the channel, under this lock.
            drop(self.end.lock());
            return false;
        }
        // Cloned and dropped outside the lock: that runs code of others.
        let waker = waker.clone();
        let outcome = {
            let mut lock = self.end.lock();
            if self.ended.load(Ordering::Relaxed) {
                Err(waker)
            } else {
                let end = lock.get_or_insert_default();
                let held =
                    key.and_then(|key| end.wakers.iter_mut().find(|(other, _)| *other == key));
                if let Some((_, held)) = held {
                    Ok(Some(std::mem::replace(held, waker)))
                } else {
                    let number = end.next_waker;
                    end.next_waker += 1;
                    end.wakers.push((number, waker));
                    *key = Some(number);
                    Ok(None)
                }
            }
        };
        outcome.is_ok()
    }

    /// Takes back what `wake_at_end` left.
    pub(crate) fn forget_waker(&self, key: &mut Option<u64>) {
        let Some(key) = key.take() else { return };
        let forgotten = self.end.lock().as_mut().and_then(|end| {
            let index = end.wakers.iter().position(|(other, _)| *other == key)?;
            Some(end.wakers.remove(index))
        });
        // Outside the lock, as above; and who forgets it may be unwinding.
        quietly(|| drop(forgotten));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::thread;
    use std::time::Duration;

    use crossbeam_channel::bounded;

    use super::{Ordering, State};

    #[test]
    fn who_waits_for_the_end_waits_until_it_is_whole() {
        let state = State::new(None);
        let (seen, has_seen) = bounded(1);
        thread::scope(|scope| {
            // As in the midst of `end`: it shows, and the channel of the error is not disconnected.
            let under_way = state.end.lock();
            state.ended.store(true, Ordering::Release);
            scope.spawn(|| seen.send(state.wake_at_end(&mut None, Waker::noop())));
            let early = has_seen.recv_timeout(Duration::from_millis(50));
            drop(under_way);
            assert!(early.is_err(), "{early:?}");
            assert_eq!(has_seen.recv_timeout(Duration::from_secs(20)), Ok(false));
        });
    }
}
