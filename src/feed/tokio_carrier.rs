//! The line of sends that wait for room in a bounded tokio channel.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{OwnedPermit, Sender};

use crate::carrier::{Carrier, Room};
use crate::error::TrySendError;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, OnceLock, Ordering};
use crate::wait::WakerSet;

type Reserve<T> = Pin<Box<dyn Future<Output = Result<OwnedPermit<T>, SendError<()>>> + Send>>;

/// A bounded tokio sender. Its room serves any send that waits for it.
///
/// Tokio hands room, as permits, to the waiters in its queue. If a send waited there by itself, it
/// could be given a permit and never be polled again. So the sends wait in the line of the
/// subscription, and the carrier waits in tokio's queue for all of them, with one reservation at a
/// time. Its permit is stored where every try finds it, and the first in line is woken.
///
/// **The invariant.** While a send is in line, one of these is true: a reservation waits in tokio's
/// queue with the waker of the line; or one of the sends was woken, and polls the reservation when
/// it joins again or leaves; or a thread is polling the reservation, and will wake the first in
/// line if another thread asked for it meanwhile. The reservation is polled without a lock, because
/// tokio may call wakers there. Its waker belongs to no single send, so whichever thread comes
/// first can poll it.
pub(crate) struct TokioCarrier<T> {
    sender: Sender<T>,
    state: Mutex<State<T>>,
    /// How many permits are stored. Written under the lock, read without it.
    permits: AtomicUsize,
    /// Made by the first reservation.
    bell: OnceLock<(Arc<Bell>, Waker)>,
    /// Makes a reservation. Kept as a function, because making one takes `T: Send`, which leaving
    /// the line does not.
    reserve: fn(Sender<T>) -> Reserve<T>,
}

/// Wakes the first in line for a reservation.
struct Bell {
    /// Whether it was rung since the reservation was last polled. If not, another poll would find
    /// nothing.
    ///
    /// A send that was woken by this reads it after it has taken the line's lock and the lock of
    /// the carrier's state. If another send reads it too early, the woken send still comes later.
    is_rung: AtomicBool,
    line: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: Release pairs with the Acquire in `take_reservation`.
        self.is_rung.store(true, Ordering::Release);
        self.line.wake_by_ref();
    }
}

struct State<T> {
    reservation: Reservation<T>,
    permits: Vec<OwnedPermit<T>>,
}

enum Reservation<T> {
    None,
    Waits(Reserve<T>),
    /// A thread polls the reservation. The flag says whether another thread has asked for it
    /// meanwhile, so that a send in line must poll it again.
    InHand(bool),
}

impl<T: Send + 'static> TokioCarrier<T> {
    /// Wraps a carrier that is a bounded tokio sender. Gives any other carrier back.
    pub(crate) fn wrap<C: Carrier<T> + 'static>(carrier: C) -> Result<Self, C> {
        let mut carrier = Some(carrier);
        let any: &mut dyn Any = &mut carrier;
        if let Some(sender) = any
            .downcast_mut::<Option<Sender<T>>>()
            .and_then(Option::take)
        {
            return Ok(Self {
                sender,
                state: Mutex::new(State {
                    reservation: Reservation::None,
                    permits: Vec::new(),
                }),
                permits: AtomicUsize::new(0),
                bell: OnceLock::new(),
                reserve: |sender| Box::pin(sender.reserve_owned()),
            });
        }
        Err(carrier.expect("a carrier that is no tokio sender was left in place"))
    }

    /// Sends a value. Other sends may wait in line to do the same.
    pub(crate) fn try_send(&self, value: T, line: &WakerSet) -> Result<(), TrySendError<T>> {
        match self.try_send_once(value) {
            Err(TrySendError::Full(value)) if line.has_been_joined() && self.advance(line) => {
                self.try_send_once(value)
            }
            sent => sent,
        }
    }

    /// Sends a value by a stored permit, or else by tokio's `try_send`.
    fn try_send_once(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.take_permit() {
            Some(permit) => {
                permit.send(value);
                Ok(())
            }
            None => Carrier::try_send(&self.sender, value),
        }
    }

    /// Makes the first in line be woken when there is room. The caller is a send in line.
    pub(crate) fn poll_room(&self, line: &WakerSet) -> Room {
        if self.advance(line) {
            Room::Ready
        } else {
            Room::Waking
        }
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        Some(self.sender.max_capacity())
    }

    pub(crate) fn depth(&self) -> Option<usize> {
        Carrier::depth(&self.sender)
    }
}

impl<T> TokioCarrier<T> {
    /// Cleans up after a send that has left the line.
    pub(crate) fn left(&self, line: &WakerSet) {
        let unused = {
            let mut state = self.state.lock();
            // A send that joins after this look takes the lock after it, and makes a new
            // reservation.
            let is_left = line.is_empty();
            let permits = is_left.then(|| std::mem::take(&mut state.permits));
            let waits = matches!(state.reservation, Reservation::Waits(_));
            let reservation = (is_left && waits)
                .then(|| std::mem::replace(&mut state.reservation, Reservation::None));
            self.permits.store(state.permits.len(), Ordering::Relaxed);
            (permits, reservation)
        };
        // Tokio gives a permit that is dropped to the next in its queue, and wakes that waiter.
        drop(unused);
        // The send may have been woken after it was served, or before it gave up. So it looks on
        // behalf of the next send in line.
        let is_ready = || self.advance(line) || self.permits.load(Ordering::Relaxed) != 0;
        if line.is_waited_on() && is_ready() {
            line.wake(1);
        }
    }

    fn take_permit(&self) -> Option<OwnedPermit<T>> {
        if self.permits.load(Ordering::Relaxed) == 0 || self.sender.is_closed() {
            return None;
        }
        let mut state = self.state.lock();
        let permit = state.permits.pop();
        self.permits.store(state.permits.len(), Ordering::Relaxed);
        permit
    }

    /// Takes what tokio has granted, and joins its queue again for the sends that are still in
    /// line. Returns whether there is room to try for. The first permit is the caller's; for each
    /// further permit the first in line is woken.
    fn advance(&self, line: &WakerSet) -> bool {
        let mut is_ready = false;
        while let Some(mut reserve) = self.take_reservation(line) {
            let (_, waker) = self.bell.get_or_init(|| {
                let bell = Arc::new(Bell {
                    is_rung: AtomicBool::new(false),
                    line: line.first_waker(),
                });
                (Arc::clone(&bell), Waker::from(bell))
            });
            let polled = reserve.as_mut().poll(&mut Context::from_waker(waker));
            let is_pending = polled.is_pending();
            let (is_asked_for, over) = {
                let mut state = self.state.lock();
                let is_asked_for = matches!(state.reservation, Reservation::InHand(true));
                // The sends that the reservation was made for may all have left meanwhile.
                let (kept, over) = if is_pending && !line.is_empty() {
                    (Reservation::Waits(reserve), None)
                } else {
                    (Reservation::None, Some(reserve))
                };
                state.reservation = kept;
                if let Poll::Ready(Ok(permit)) = polled {
                    state.permits.push(permit);
                    self.permits.store(state.permits.len(), Ordering::Relaxed);
                }
                (is_asked_for, over)
            };
            drop(over);
            if is_pending {
                // Not polled again here: in a task that has used up its budget, tokio answers every
                // poll with `Pending`.
                if is_asked_for {
                    line.wake(1);
                }
                break;
            }
            if std::mem::replace(&mut is_ready, true) {
                line.wake(1);
            }
            if self.sender.is_closed() {
                // The next try finds that out.
                return true;
            }
        }
        is_ready
    }

    /// Takes the reservation to poll: the one that waits, if its waker was woken, or a new one if a
    /// send is in line.
    fn take_reservation(&self, line: &WakerSet) -> Option<Reserve<T>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut state.reservation, Reservation::InHand(false)) {
            Reservation::Waits(reserve) => {
                // ORDERING: Acquire pairs with the Release in `Bell::wake_by_ref`.
                let is_rung =
                    |(bell, _): &(Arc<Bell>, _)| bell.is_rung.swap(false, Ordering::Acquire);
                if self.bell.get().is_some_and(is_rung) {
                    return Some(reserve);
                }
                state.reservation = Reservation::Waits(reserve);
                None
            }
            Reservation::None if line.has_line() => Some((self.reserve)(self.sender.clone())),
            Reservation::None => {
                state.reservation = Reservation::None;
                None
            }
            Reservation::InHand(_) => {
                state.reservation = Reservation::InHand(true);
                None
            }
        }
    }
}
