//! Tokio's senders as carriers.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::mpsc::error::{SendError, TrySendError as TokioTrySendError};
use tokio::sync::mpsc::{OwnedPermit, Sender, UnboundedSender};

use crate::carrier::{Carrier, Room};
use crate::error::TrySendError;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, OnceLock, Ordering};
use crate::wait::WakerSet;

impl<T: Send + 'static> Carrier<T> for Sender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        Self::try_send(self, value).map_err(|error| match error {
            TokioTrySendError::Full(value) => TrySendError::Full(value),
            TokioTrySendError::Closed(value) => TrySendError::Closed(value),
        })
    }

    fn depth(&self) -> Option<usize> {
        Some(self.max_capacity() - self.capacity())
    }
}

impl<T: Send + 'static> Carrier<T> for UnboundedSender<T> {
    fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.send(value)
            .map_err(|error| TrySendError::Closed(error.0))
    }
}

type Reserve<T> = Pin<Box<dyn Future<Output = Result<OwnedPermit<T>, SendError<()>>> + Send>>;

/// A bounded tokio sender. Its room serves any send that waits for it.
///
/// Tokio hands room, as permits, to the waiters in its queue. A send that waited there by itself
/// could be given a permit and never be polled again. So the sends wait in the line of the
/// subscription, and the carrier waits in tokio's queue for all of them, with one reservation at a
/// time. Its permit is stored where every try finds it, and the first in line is woken.
///
/// **The invariant.** While a send is in line, one of these is true: a reservation waits in tokio's
/// queue with the waker of the line; or one of the sends was woken, and polls the reservation when
/// it joins again or leaves; or a thread has the reservation in hand and will wake the first in
/// line if another thread came by meanwhile. The reservation is polled without a lock, because
/// tokio may wake in there. Its waker belongs to no single send, so whichever thread comes first
/// can poll it.
pub(crate) struct TokioCarrier<T> {
    sender: Sender<T>,
    state: Mutex<State<T>>,
    /// How many permits are put by. Written under the lock, read without it.
    permits: AtomicUsize,
    /// Made by the first reservation.
    bell: OnceLock<(Arc<Bell>, Waker)>,
    /// Makes a reservation. Kept as a function, because making one takes `T: Send`, which leaving
    /// the line does not.
    reserve: fn(Sender<T>) -> Reserve<T>,
}

/// Wakes the first in line for a reservation.
struct Bell {
    /// Whether it was rung since the reservation was last polled. If it was not, another poll would
    /// find nothing.
    ///
    /// A send that was woken by this reads it after it has taken the line's lock, and the lock of
    /// the carrier's state. Another send may read it too early: the one that was woken comes later.
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
    /// A thread polls it. The flag says whether another thread has come by, so that a send in line
    /// has to poll it again.
    InHand(bool),
}

impl<T: Send + 'static> TokioCarrier<T> {
    /// Wraps a carrier that is a bounded tokio sender; any other is given back.
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

    /// Hands over a value. Other sends may wait in line to do the same.
    pub(crate) fn try_send(&self, value: T, line: &WakerSet) -> Result<(), TrySendError<T>> {
        match self.try_send_once(value) {
            Err(TrySendError::Full(value)) if line.has_been_joined() && self.advance(line) => {
                self.try_send_once(value)
            }
            sent => sent,
        }
    }

    /// Hands over a value by a stored permit, or else by tokio's `try_send`.
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

    pub(crate) fn depth(&self) -> Option<usize> {
        Carrier::depth(&self.sender)
    }
}

impl<T> TokioCarrier<T> {
    /// A send has left the line.
    pub(crate) fn left(&self, line: &WakerSet) {
        let unused = {
            let mut state = self.state.lock();
            // A send that joins after this look takes the lock after it, and reserves anew.
            let is_left = line.is_empty();
            let permits = is_left.then(|| std::mem::take(&mut state.permits));
            let waits = matches!(state.reservation, Reservation::Waits(_));
            let reservation = (is_left && waits)
                .then(|| std::mem::replace(&mut state.reservation, Reservation::None));
            self.permits.store(state.permits.len(), Ordering::Relaxed);
            (permits, reservation)
        };
        // Tokio hands a permit that is given back to the next in its queue, and wakes that waiter.
        drop(unused);
        // The send may have been woken after it was served, or before it gave up. So it looks on
        // behalf of the next.
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

    /// Takes what tokio has given, and joins its queue again for the sends still in line. Returns
    /// whether there is something to try for: the first permit is the caller's, and for each other
    /// one the first in line is woken.
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
