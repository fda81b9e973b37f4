//! Senders that wait for room.

use std::task::Waker;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, heavy_fence, light_fence, mutant};
use crate::wait::{Ticket, WakerSet};

use super::seat::Seat;

/// The line of senders that wait for room, first come, first woken, and the reader that is watched for them.
///
/// A reader that moves on is not to pay for senders that are not there, so it looks at one word: the *name*, the seat of
/// the reader that is in the way. Only that reader wakes a sender. Its look follows a light fence; a sender that writes a
/// name makes the heavy fence, and looks at the readers once more.
///
/// **The invariant.** While somebody is in line, one of these is true:
///
/// 1. *Named*: the name is that of a reader that was in the way when a look was made after the name's heavy fence. The
///    reader's next move sees the name, and wakes the first in line.
/// 2. Somebody was woken and has not acted. A thread acts; a wake-up that a task keeps is passed on
///    ([`WakerSet`]).
/// 3. A thread is about to [`tend`](Self::tend) the line.
///
/// To tend is to look, and either to find the reader in the way named, or to name it and look once more, or to wake as
/// many as there are places. It is done under a lock, from the first look to the last. So a look that is out of date never
/// ends with a name: the sender that made it looks again before anybody else can rely on the name, whatever its deadline.
/// Tending runs no code of others.
///
/// Who tends:
///
/// - A sender that has joined, if it finds itself the first in line. The others park at once, and neither fence nor look.
///   (To be the only one is not enough to ask: of two that have joined before either asks, neither is.)
/// - A sender that was woken in vain, when it has joined again; and a task whenever it is polled.
/// - A sender that leaves, for whatever reason, if it leaves others behind. Where a single reader keeps the ring full the
///   name stays in place from one sender to the next: then nobody makes a heavy fence.
///
/// When the line is empty the name is taken away.
///
/// **Newcomers** may take a place that those in line have not come to yet: otherwise each value would take a change of
/// threads. But once a sender was woken in vain, newcomers [give way](Self::is_first_come) until one has left the line.
pub(crate) struct BlockedSenders {
    /// The address of the seat of the reader that is watched, or 0. Written under `tending`.
    name: CachePadded<AtomicUsize>,
    line: WakerSet,
    tending: Mutex<()>,
    /// Whether a sender in line was woken in vain.
    is_starved: AtomicBool,
}

/// What a look at the readers has shown.
pub(crate) enum Look<'a> {
    /// The reader in this seat, and its number, has to move on first.
    Held(&'a Seat, usize),
    /// There are so many places, as far as readers go.
    Places(u64),
}

/// How many senders are woken at once. Each that leaves the line wakes more while there are places.
const AT_ONCE: u64 = 4;

impl BlockedSenders {
    pub(crate) fn new() -> Self {
        Self {
            name: CachePadded::new(AtomicUsize::new(0)),
            line: WakerSet::new(),
            tending: Mutex::new(()),
            is_starved: AtomicBool::new(false),
        }
    }

    // ---- Readers ----

    /// The reader in that seat has moved on, or has left.
    #[inline(always)]
    pub(crate) fn moved(&self, seat: &Seat) {
        // ORDERING: pairs with the heavy fence in `tend`.
        light_fence!("reader_moves_without_light_fence");
        if self.name.load(Ordering::Relaxed) == address(seat) {
            self.wake_first();
        }
    }

    /// Wakes one sender, unless one is on its way: that one finds all the places, and wakes others.
    #[cold]
    fn wake_first(&self) {
        self.line.wake_for(1);
    }

    // ---- Senders ----

    /// Whether nobody in line has been passed over. A sender that comes when this is false stands in line first.
    #[inline]
    pub(crate) fn is_first_come(&self) -> bool {
        !self.is_starved.load(Ordering::Relaxed)
    }

    /// Whether nobody is in line.
    pub(crate) fn is_empty(&self) -> bool {
        !self.line.is_waited_on()
    }

    /// A sender in line was woken and found no room: those that come now take no places before it.
    pub(crate) fn starve(&self) {
        self.is_starved.store(true, Ordering::Relaxed);
    }

    /// A sender that was never in line stands there. Says whether somebody else sees to it that it is woken. If not, the
    /// line was tended, and the sender looks for room once more before it waits.
    pub(crate) fn join<'a>(
        &self,
        ticket: &mut Ticket,
        waker: &Waker,
        look: impl Fn() -> Look<'a>,
    ) -> bool {
        self.line.join(ticket, waker);
        // The first in line has yet to ask this and to tend, or has done so, or is yet to act on a wake-up or to leave.
        let is_cared_for = !self.line.is_first(ticket);
        if !is_cared_for && !mutant!("first_in_line_does_not_watch") {
            self.tend(look);
        }
        is_cared_for
    }

    /// A sender that may have been woken stands in line again, at the front if it was. It looks for room once more before
    /// it waits.
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

    /// Leaves the line.
    pub(crate) fn leave<'a>(&self, ticket: &mut Ticket, look: impl Fn() -> Look<'a>) {
        self.line.leave(ticket, || false);
        self.is_starved.store(false, Ordering::Relaxed);
        if !mutant!("watch_is_not_handed_on") {
            self.tend(look);
        }
    }

    /// Sees to it that the first in line is woken when there is room.
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
                    Look::Held(seat, _) => {
                        self.set_name(address(seat));
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
        // loom may put a store before a load that has seen an older one; a swap it does not.
        #[cfg(fanfeed_loom)]
        self.name.swap(name, Ordering::Relaxed);
        #[cfg(not(fanfeed_loom))]
        self.name.store(name, Ordering::Relaxed);
    }

    /// The ring has ended: wakes everybody. A sender that joins later sees that.
    pub(crate) fn wake_all(&self) {
        self.line.wake_all();
    }
}

fn address(seat: &Seat) -> usize {
    std::ptr::from_ref(seat).addr()
}
