//! Senders that wait for room.

use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, heavy_fence, light_fence, mutant};
use crate::wait::{Ticket, WakerSet};

use super::hold::Hold;
use super::seat::Seat;

/// The line of senders that wait for room, first come, first woken, and the reader that is watched
/// for them.
///
/// A reader that moves on should not pay for waiting senders when there are none, so it loads one
/// word: the *name*, the seat of the reader that is in the way. Only that reader wakes a sender. It
/// loads the name after a light fence. A sender that writes a name makes the heavy fence, and looks
/// at the readers once more.
///
/// **The invariant.** While a sender is in line, one of these is true:
///
/// 1. *Named*: the name is that of a reader that was in the way when a look was made after the
///    name's heavy fence. The reader's next move sees the name, and wakes the first in line.
/// 2. A sender was woken and has not acted. A thread acts; a wake-up that a task keeps is passed on
///    ([`WakerSet`]).
/// 3. A thread is about to [`tend`](Self::tend) the line.
///
/// To tend is to look, and then to do one of three things: find that the reader in the way is
/// named, or name it and look once more, or wake as many senders as there are places. The lock is
/// held from the first look to the last. So an outdated look never ends with a name: the sender
/// that made it looks again before any other sender can rely on the name, whatever its deadline.
/// Tending runs no user code.
///
/// These senders tend:
///
/// - A sender that has joined, if it finds itself the first in line. The others park at once, and
///   neither fence nor look. (It is not enough that a sender asks whether it is the only one: of
///   two that have joined before either asks, neither is.)
/// - A sender that was woken in vain, when it has joined again; and a task whenever it is polled
///   and finds a reader in the way.
/// - A sender that leaves, for whatever reason, if it leaves others behind. If a single reader
///   keeps the ring full, the name stays in place from one sender to the next, and no sender makes
///   a heavy fence.
///
/// The name is removed when the line is empty.
///
/// **Newcomers** may take a free place before the senders in line do; otherwise each value would
/// take a thread switch. But once a sender was woken in vain, newcomers [give
/// way](Self::is_first_come) until one sender has left the line.
pub(crate) struct BlockedSenders {
    /// The address of the seat of the reader that is watched, or 0. Written under `tending`.
    name: CachePadded<AtomicUsize>,
    line: WakerSet,
    tending: Mutex<()>,
    hold: Hold,
    /// Whether a sender in line was woken in vain.
    is_starved: AtomicBool,
    /// Whether the last wait for room was short. It decides only how long a sender looks.
    is_brisk: AtomicBool,
}

/// The result of a look at the readers.
pub(crate) enum Look<'a> {
    /// The reader in this seat, with this number, must move on first.
    Held(&'a Seat, usize),
    /// The readers leave this many places.
    Places(u64),
}

/// The most senders that are woken together. Each sender that leaves the line wakes more while
/// there are places.
const AT_ONCE: u64 = 4;

impl BlockedSenders {
    pub(crate) fn new() -> Self {
        Self {
            name: CachePadded::new(AtomicUsize::new(0)),
            line: WakerSet::new(),
            tending: Mutex::new(()),
            hold: Hold::new(),
            is_starved: AtomicBool::new(false),
            is_brisk: AtomicBool::new(true),
        }
    }

    // ---- Readers ----

    /// Called when the reader in this seat has moved on, or has left.
    #[inline(always)]
    pub(crate) fn moved(&self, seat: &Seat) {
        // ORDERING: pairs with the heavy fence in `tend`.
        light_fence!("reader_moves_without_light_fence");
        if self.name.load(Ordering::Relaxed) == address(seat) {
            self.wake_first();
        }
    }

    /// Whether a parked sender waits for the reader in this seat, as far as is known here. For a
    /// reader that need not move on yet. It calls [`moved`](Self::moved) when it has moved on,
    /// whatever this returned.
    #[inline(always)]
    pub(crate) fn is_watched(&self, seat: &Seat) -> bool {
        self.name.load(Ordering::Relaxed) == address(seat)
    }

    /// Wakes one sender, unless a woken sender has not acted yet: that one finds all the places,
    /// and wakes others.
    #[cold]
    fn wake_first(&self) {
        self.line.wake_for(1);
    }

    /// Which reader holds the senders that wait, in line or not.
    pub(crate) fn hold(&self) -> &Hold {
        &self.hold
    }

    // ---- Senders ----

    /// Whether no sender in line has been passed over. If this is false, a new sender joins the
    /// line first.
    #[inline]
    pub(crate) fn is_first_come(&self) -> bool {
        !self.is_starved.load(Ordering::Relaxed)
    }

    /// Whether the line is empty.
    pub(crate) fn is_empty(&self) -> bool {
        !self.line.is_waited_on()
    }

    /// Notes that a sender in line was woken and found no room. From now on newcomers take no
    /// places before it.
    pub(crate) fn starve(&self) {
        self.is_starved.store(true, Ordering::Relaxed);
    }

    /// Whether the last wait for room was short.
    pub(crate) fn is_brisk(&self) -> bool {
        self.is_brisk.load(Ordering::Relaxed)
    }

    pub(crate) fn set_brisk(&self, is_brisk: bool) {
        if self.is_brisk() != is_brisk {
            self.is_brisk.store(is_brisk, Ordering::Relaxed);
        }
    }

    /// Puts a sender that was never in line into it. Returns whether another sender ensures that it
    /// is woken. If not, the line was tended, and the sender looks for room once more before it
    /// waits.
    pub(crate) fn join<'a>(
        &self,
        ticket: &mut Ticket,
        waker: &Waker,
        look: impl Fn() -> Look<'a>,
    ) -> bool {
        self.line.join(ticket, waker);
        // The first in line has yet to ask this and to tend, or has done so, or has yet to act on a
        // wake-up or to leave.
        let is_cared_for = !self.line.is_first(ticket);
        if !is_cared_for && !mutant!("first_in_line_does_not_watch") {
            self.tend(look);
        }
        is_cared_for
    }

    /// Puts a sender that may have been woken into the line again; at the front if it was woken.
    /// The sender looks for room once more before it waits.
    pub(crate) fn rejoin<'a>(
        &self,
        ticket: &mut Ticket,
        waker: &Waker,
        look: impl Fn() -> Look<'a>,
    ) {
        self.line.join(ticket, waker);
        if !mutant!("watch_ends_with_a_wake_up_in_vain") {
            self.tend(look);
        }
    }

    /// Whether a sender that has joined was woken, and has been out of the line since.
    pub(crate) fn was_woken(&self, ticket: &Ticket) -> bool {
        !self.line.is_in_line(ticket)
    }

    /// Leaves the line.
    pub(crate) fn leave<'a>(&self, ticket: &mut Ticket, look: impl Fn() -> Look<'a>) {
        self.line.leave(ticket, || false);
        self.is_starved.store(false, Ordering::Relaxed);
        if !mutant!("watch_is_not_handed_on") {
            self.tend(look);
        }
    }

    /// Ensures that the first in line is woken when there is room.
    fn tend<'a>(&self, look: impl Fn() -> Look<'a>) {
        let places = {
            let _tending = self.tending.lock();
            loop {
                if self.is_empty() {
                    self.set_name(0);
                    return;
                }
                match look() {
                    Look::Places(places) => break places,
                    Look::Held(seat, _) if self.name.load(Ordering::Relaxed) == address(seat) => {
                        return;
                    }
                    Look::Held(seat, number) => {
                        self.set_name(address(seat));
                        self.hold.is_held_by(number);
                        // ORDERING: pairs with the light fence in `moved`.
                        heavy_fence!("sender_parks_without_heavy_fence");
                        if mutant!("name_is_not_looked_at_again") {
                            return;
                        }
                    }
                }
            }
        };
        if !mutant!("room_is_kept_to_oneself") {
            self.line.wake_for(places.min(AT_ONCE) as usize);
        }
    }

    fn set_name(&self, name: usize) {
        // loom may order a store before a load that has seen an older value, but not a swap.
        #[cfg(fanfeed_loom)]
        self.name.swap(name, Ordering::Relaxed);
        #[cfg(not(fanfeed_loom))]
        self.name.store(name, Ordering::Relaxed);
    }

    /// Wakes all senders in line, because the ring has ended. A sender that joins later sees the
    /// end.
    pub(crate) fn wake_all(&self) {
        self.line.wake_all();
    }
}

fn address(seat: &Seat) -> usize {
    std::ptr::from_ref(seat).addr()
}
