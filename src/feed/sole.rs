//! Whether one thread alone sends on a feed.
//!
//! While one thread alone has sent on a feed, no other thread moves the tail of an own channel. So that thread claims a
//! place by a plain store, where several senders take a read-modify-write for each delivery. The first send of a second
//! thread ends this for good:
//!
//! ```text
//! sole sender:    begin a visit (see `record`)
//!                 light fence
//!                 read the word: it names this thread
//!                 claim places by plain stores, until the visit ends
//!
//! second sender:  mark the word as revoked
//!                 heavy fence
//!                 observe all visits to channels
//!                 wait until they have ended; the word becomes MANY
//! ```
//!
//! Either the second sender observes the visit, and waits for its end; or the sole sender reads the mark, and that visit
//! claims by read-modify-writes.
//!
//! - A thread waits here outside of its visits to the feed, so two threads never wait for each other.
//! - A visit to a closure claims no places, and may last as long as the closure runs. Nobody waits for it here.
//! - A delivery inside a delivery of the same thread uses the thread's right too: code of others, in which the inner one
//!   runs, is called between two claims. If the right is revoked in between, the inner delivery claims by
//!   read-modify-writes and the outer one goes on with plain stores: both are of one thread, and the second sender waits
//!   for the outer one.

use std::cell::Cell;

use crate::sync::{AtomicU64, Ordering, global, light_fences_are_free, mutant, thread_local};

/// Nobody has sent yet.
const NOBODY: u64 = 0;
/// Several threads have sent.
const MANY: u64 = 1;
/// In a word that names a thread: another thread waits for the visits of that one.
const REVOKED: u64 = 2;
/// Words that name a thread are multiples of this, except for `REVOKED`.
const STEP: u64 = 4;

global! {
    /// The last name that was given.
    static NAMES: AtomicU64 = AtomicU64::new(0);
}

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static NAME: Cell<u64> = const { Cell::new(NOBODY) };
}

/// A name for the calling thread, that no other thread of the process has or will have.
#[inline]
pub(crate) fn this_thread() -> ThreadName {
    let name = NAME.with(Cell::get);
    if name == NOBODY {
        new_name()
    } else {
        ThreadName(name)
    }
}

#[cold]
fn new_name() -> ThreadName {
    let name = NAMES.fetch_add(STEP, Ordering::Relaxed) + STEP;
    NAME.with(|held| held.set(name));
    ThreadName(name)
}

/// See [`this_thread`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ThreadName(u64);

/// The word of a feed. It owns its orderings.
#[derive(Debug)]
pub(crate) struct Sole(AtomicU64);

/// What a thread finds when it has begun a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// In this visit it is the only one that claims places.
    Sole,
    /// Others claim places too.
    OneOfMany,
    /// It must leave the visit, [ask](Sole::ask), and begin again.
    Unknown,
}

/// What a thread learns that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Begin a visit, and look again.
    LookAgain,
    /// Another thread was the only sender, and is not any more. Wait for the visits to channels that are under way, and
    /// then call [`share`](Sole::share).
    Revoked,
}

impl Default for Sole {
    fn default() -> Self {
        Self::new()
    }
}

impl Sole {
    fn new() -> Self {
        // Where a light fence costs as much as any other, plain stores gain nothing.
        let word = if light_fences_are_free() {
            NOBODY
        } else {
            MANY
        };
        Self(AtomicU64::new(word))
    }

    /// For a thread that has begun a visit, and made the light fence of that, or is about to.
    #[inline(always)]
    pub(crate) fn standing(&self, me: ThreadName) -> Standing {
        // ORDERING: Acquire pairs with `share`. The fence pairs with the heavy one in `Records::observe`.
        match self.0.load(Ordering::Acquire) {
            MANY => Standing::OneOfMany,
            word if word == me.0 => Standing::Sole,
            word if word == me.0 | REVOKED => Standing::OneOfMany,
            _ => Standing::Unknown,
        }
    }

    /// For a thread whose standing is unknown, outside of its visits. It observes the visits after this.
    #[cold]
    pub(crate) fn ask(&self, me: ThreadName) -> Answer {
        let word = self.0.load(Ordering::SeqCst);
        let next = match word {
            NOBODY => me.0,
            MANY => return Answer::LookAgain,
            word if word & !REVOKED == me.0 => return Answer::LookAgain,
            word => word | REVOKED,
        };
        if word != NOBODY && mutant!("sole_sender_is_not_waited_for") {
            self.share();
            return Answer::LookAgain;
        }
        // ORDERING: SeqCst as the module says.
        let swapped = self
            .0
            .compare_exchange(word, next, Ordering::SeqCst, Ordering::SeqCst);
        if swapped.is_ok() && word != NOBODY {
            Answer::Revoked
        } else if word & REVOKED != 0 {
            // Another thread has revoked it. This one waits as well: it may run when that one does not.
            Answer::Revoked
        } else {
            Answer::LookAgain
        }
    }

    /// All visits to channels that the only sender may have been in have ended.
    pub(crate) fn share(&self) {
        // ORDERING: Release pairs with the Acquire in `standing`: what the only sender did, which the observation of the end of
        // its visits has made visible to this thread, is visible to each that sends after this.
        self.0.store(MANY, Ordering::SeqCst);
    }

    /// Whether several threads have sent.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.0.load(Ordering::Acquire) == MANY
    }

    /// Whether a thread other than the calling one claims places by plain stores, between which and its next loads there
    /// are only light fences.
    pub(crate) fn is_another(&self) -> bool {
        // ORDERING: SeqCst with the exchange in `ask`: a thread that becomes the only sender after this, in the single order,
        // sees in its visits what the caller has stored with SeqCst before this.
        match self.0.load(Ordering::SeqCst) {
            NOBODY | MANY => false,
            word => word & !REVOKED != this_thread().0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{Answer, MANY, NOBODY, STEP, Sole, Standing, ThreadName, this_thread};
    use crate::sync::AtomicU64;

    const ONE: ThreadName = ThreadName(5 * STEP);
    const TWO: ThreadName = ThreadName(6 * STEP);
    const THREE: ThreadName = ThreadName(7 * STEP);

    fn standings(sole: &Sole) -> [Standing; 3] {
        [ONE, TWO, THREE].map(|thread| sole.standing(thread))
    }

    #[test]
    fn each_thread_has_a_name_of_its_own() {
        let name = this_thread();
        assert_eq!(this_thread(), name);
        let other = thread::spawn(this_thread).join().unwrap();
        assert_ne!(other, name);
        for ThreadName(word) in [name, other] {
            assert_eq!(word % STEP, 0);
            assert!(word > MANY, "{word}");
        }
    }

    #[test]
    fn one_thread_alone_sends_until_another_has_waited_for_it() {
        use Standing::{OneOfMany, Unknown};
        let sole = Sole(AtomicU64::new(NOBODY));
        assert_eq!(standings(&sole), [Unknown; 3]);
        assert_eq!(sole.ask(ONE), Answer::LookAgain);
        assert_eq!(standings(&sole), [Standing::Sole, Unknown, Unknown]);
        assert_eq!(sole.ask(ONE), Answer::LookAgain);
        assert!(!sole.is_shared());
        // Each that comes waits, and the first goes on meanwhile.
        for another in [TWO, THREE, TWO] {
            assert_eq!(sole.ask(another), Answer::Revoked);
            assert_eq!(sole.ask(ONE), Answer::LookAgain);
            assert_eq!(standings(&sole), [OneOfMany, Unknown, Unknown]);
            assert!(!sole.is_shared() && sole.is_another());
        }
        sole.share();
        assert_eq!(standings(&sole), [OneOfMany; 3]);
        assert_eq!(sole.ask(TWO), Answer::LookAgain);
        assert!(sole.is_shared() && !sole.is_another());
    }

    #[test]
    fn only_another_thread_that_sends_alone_has_to_be_fenced_for() {
        let me = this_thread();
        for (word, is_another) in [
            (NOBODY, false),
            (me.0, false),
            (MANY, false),
            (ONE.0 + me.0, true),
        ] {
            assert_eq!(
                Sole(AtomicU64::new(word)).is_another(),
                is_another,
                "{word}"
            );
        }
        let revoked = Sole(AtomicU64::new(NOBODY));
        let _ = (revoked.ask(me), revoked.ask(ThreadName(me.0 + STEP)));
        assert!(!revoked.is_another(), "this thread sends");
    }
}
