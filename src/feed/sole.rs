//! Whether a feed has a sole sender: only one thread that sends.
//!
//! While a feed has a sole sender, no other thread moves the tail of an own channel. So the sole
//! sender claims a place by a plain store, while several senders need a read-modify-write for each
//! delivery. It claims and fills a place in a *window*. When a second thread sends, it takes over
//! the right to be the sole sender. After a number of takeovers, the threads are taken to send in
//! turns, and the feed is shared from then on:
//!
//! ```text
//! sole sender:    open a window                          plain store
//!                 light fence
//!                 read the word: it is as it was
//!                 claim a place by a plain store, fill it
//!                 close the window                       Release
//!
//! second sender:  mark the word as revoked
//!                 heavy fence
//!                 wait until no window is open           Acquire
//!                 the word names this thread, or is MANY
//! ```
//!
//! Either the second sender observes that the window is open, and waits until it is closed; or the
//! sole sender reads the mark, and claims nothing.
//!
//! - No user code runs in a window, and no thread waits in one. So a window takes some nanoseconds,
//!   unless its thread is preempted. Therefore two threads never wait for each other, and a slow
//!   `clone` or carrier delays no other sender.
//! - A word that was changed never comes back, because it counts the takeovers. So a thread that
//!   has waited long changes only the word for which it waited.

use std::cell::Cell;

use crate::sync::{
    AtomicBool, AtomicU64, MODELLED, Ordering, feeds_are_shared, fence, global, heavy_fence,
    light_fence, light_fences_are_free, mutant, thread_local,
};
use crate::wait::Patience;

/// No thread has sent yet.
const NOBODY: u64 = 0;
/// Several threads send.
const MANY: u64 = 1;
/// Set in a word that names a thread: another thread waits until no window is open.
const REVOKED: u64 = 2;
/// One takeover, in a word that names a thread.
const TAKEOVER: u64 = 4;
/// The bits that count takeovers.
const TAKEOVERS: u64 = STEP - TAKEOVER;
/// Names of threads are multiples of this.
const STEP: u64 = 256;
/// The most takeovers of a feed. Each costs microseconds, and gains nothing for two threads that
/// send in turns.
const MOST: u64 = if MODELLED { TAKEOVER } else { TAKEOVERS };

global! {
    /// The last name that was given.
    static NAMES: AtomicU64 = AtomicU64::new(0);
}

thread_local! {
    // Without a destructor, so it can be used while the thread's other locals are destroyed.
    static NAME: Cell<u64> = const { Cell::new(NOBODY) };
}

/// A name for the calling thread that no other thread of the process has or will have.
#[inline]
fn this_thread() -> u64 {
    let name = NAME.with(Cell::get);
    if name == NOBODY { new_name() } else { name }
}

#[cold]
fn new_name() -> u64 {
    let name = NAMES.fetch_add(STEP, Ordering::Relaxed) + STEP;
    NAME.with(|held| held.set(name));
    name
}

/// The word of a feed. It owns its orderings.
#[derive(Debug)]
pub(crate) struct Sole(AtomicU64);

impl Default for Sole {
    fn default() -> Self {
        // If a light fence costs as much as any other, plain stores gain nothing.
        let word = if light_fences_are_free() && !feeds_are_shared() {
            NOBODY
        } else {
            MANY
        };
        Self(AtomicU64::new(word))
    }
}

impl Sole {
    /// The word of a channel that the senders of several feeds share.
    pub(crate) fn many() -> Self {
        Self(AtomicU64::new(MANY))
    }

    #[inline(always)]
    fn word(&self) -> u64 {
        // ORDERING: Acquire pairs with the exchange in `decide`: what the last sole sender did is
        // visible.
        self.0.load(Ordering::Acquire)
    }

    /// Makes all threads claim like one of several senders.
    #[cfg(all(test, not(any(fanfeed_loom, fanfeed_shuttle))))]
    pub(crate) fn share(&self) {
        self.0.store(MANY, Ordering::Release);
    }

    /// Whether a thread other than the caller may claim places by plain stores, with only a light
    /// fence between such a store and its next loads.
    pub(crate) fn is_another(&self) -> bool {
        // ORDERING: SeqCst with the exchange and the fence in `exchange`: a thread that becomes the
        // sole sender after this, in the single order, sees in its windows what the caller has
        // stored with SeqCst before this.
        match self.0.load(Ordering::SeqCst) {
            NOBODY | MANY => false,
            word => word & !(REVOKED | TAKEOVERS) != this_thread(),
        }
    }
}

/// Whether a thread is in a window. Each record of the feed has one.
#[derive(Debug)]
pub(crate) struct Window(AtomicBool);

impl Window {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    fn is_open(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `OpenWindow::drop`: what was done in a closed
        // window is visible.
        self.0.load(Ordering::Acquire)
    }
}

/// A window that is open until this is dropped. Once the word was found unchanged, only the calling
/// thread claims places in own channels. In a window no user code runs, and nothing waits.
#[derive(Debug)]
#[must_use]
pub(crate) struct OpenWindow<'a>(&'a Window);

impl Drop for OpenWindow<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // ORDERING: pairs with the Acquire in `is_open`.
        self.0.0.store(false, Ordering::Release);
    }
}

/// A sending thread's right to be the sole sender, and the window in which it uses the right.
#[derive(Debug)]
pub(crate) struct Right<'a> {
    sole: &'a Sole,
    window: &'a Window,
    /// The name of the thread.
    thread: u64,
    /// A word that names the thread; or `MANY`, if the thread is one of several senders or has not
    /// asked.
    word: Cell<u64>,
}

/// What a thread finds when it checks whether it may use plain stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The thread is the sole sender.
    Sole,
    /// Other threads send too, from now on.
    OneOfMany,
    /// The thread must [ask](Right::ask).
    Unknown,
}

impl<'a> Right<'a> {
    #[inline(always)]
    pub(crate) fn new(sole: &'a Sole, window: &'a Window) -> Self {
        Self {
            sole,
            window,
            thread: this_thread(),
            word: Cell::new(MANY),
        }
    }

    /// Reads the word, and returns the thread's standing.
    #[inline(always)]
    pub(crate) fn look(&self) -> Standing {
        let word = self.sole.word();
        self.word.set(word);
        if word == MANY {
            Standing::OneOfMany
        } else if word & !TAKEOVERS == self.thread {
            Standing::Sole
        } else {
            Standing::Unknown
        }
    }

    /// Whether the word is the same as at the last look.
    #[inline(always)]
    pub(crate) fn is_unchanged(&self) -> bool {
        self.sole.word() == self.word.get()
    }

    /// Whether the thread was the sole sender when it last looked.
    #[inline(always)]
    pub(crate) fn is_sole(&self) -> bool {
        self.word.get() != MANY
    }

    /// Opens a window, if this thread is the sole sender. `all` are the windows of the feed. Called
    /// only after a look that found the thread's standing.
    #[inline(always)]
    pub(crate) fn open<I: Iterator<Item = &'a Window>>(
        &self,
        all: impl Fn() -> I,
    ) -> Option<OpenWindow<'a>> {
        if !self.is_sole() {
            return None;
        }
        let open = self.open_now();
        if open.is_some() {
            return open;
        }
        self.open_again(all)
    }

    /// Opens a window, after a look that found that this thread is the sole sender. The caller must
    /// then make a light fence, and claim nothing before it has found the word
    /// [unchanged](Self::is_unchanged).
    #[inline(always)]
    pub(crate) fn open_before_look(&self) -> OpenWindow<'a> {
        self.window.0.store(true, Ordering::Relaxed);
        OpenWindow(self.window)
    }

    #[inline(always)]
    fn open_now(&self) -> Option<OpenWindow<'a>> {
        let open = self.open_before_look();
        // ORDERING: pairs with the heavy fence in `decide`.
        if !mutant!("sole_sender_is_revoked_without_heavy_fence") {
            light_fence!("window_is_opened_without_light_fence");
        }
        self.is_unchanged().then_some(open)
    }

    #[cold]
    #[inline(never)]
    fn open_again<I: Iterator<Item = &'a Window>>(
        &self,
        all: impl Fn() -> I,
    ) -> Option<OpenWindow<'a>> {
        loop {
            self.ask(&all);
            if !self.is_sole() {
                return None;
            }
            let open = self.open_now();
            if open.is_some() {
                return open;
            }
        }
    }

    /// Finds out the thread's standing, and waits for other windows if necessary. Not called in a
    /// window. `all` are the windows of the feed.
    #[cold]
    pub(crate) fn ask<I: Iterator<Item = &'a Window>>(&self, all: impl Fn() -> I) {
        while self.look() == Standing::Unknown {
            self.decide(&all);
        }
    }

    /// Takes the next step from a word that does not name this thread, or that is revoked.
    fn decide<I: Iterator<Item = &'a Window>>(&self, all: impl Fn() -> I) {
        let word = self.word.get();
        if word == NOBODY {
            let _ = self.exchange(word, self.thread);
            return;
        }
        let revoked = word | REVOKED;
        // Another thread may have revoked it. This thread waits as well, because it may run while
        // the other does not.
        if word != revoked && self.exchange(word, revoked).is_err() {
            return;
        }
        // ORDERING: pairs with the light fences in `open_now`, and in `At::begin_alone` for
        // `Records::enter_lone`.
        heavy_fence!("sole_sender_is_revoked_without_heavy_fence");
        for window in all() {
            let mut patience = Patience::new();
            while window.is_open() && !mutant!("sole_sender_is_not_waited_for") {
                if self.sole.word() != revoked {
                    return;
                }
                patience.wait();
            }
        }
        let next = if word & TAKEOVERS == MOST {
            MANY
        } else {
            self.thread | ((word & TAKEOVERS) + TAKEOVER)
        };
        let _ = self.exchange(revoked, next);
    }

    fn exchange(&self, word: u64, next: u64) -> Result<u64, u64> {
        // ORDERING: Release pairs with the Acquire in `word`. The closed windows have made visible
        // to this thread what the last sole sender did; so it is visible to each thread that sends
        // after this. SeqCst with the load in `is_another`.
        let exchanged =
            self.sole
                .0
                .compare_exchange(word, next, Ordering::SeqCst, Ordering::SeqCst);
        // ORDERING: as `is_another` says. Models treat light fences as full ones, and cannot tell
        // that this fence is missing.
        fence(Ordering::SeqCst);
        exchanged
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::thread;

    use super::{
        MANY, NOBODY, Right, STEP, Sole, Standing, TAKEOVER, TAKEOVERS, Window, this_thread,
    };
    use crate::sync::AtomicU64;

    const NAMES: [u64; 3] = [5 * STEP, 6 * STEP, 7 * STEP];

    fn right<'a>(sole: &'a Sole, window: &'a Window, thread: u64) -> Right<'a> {
        Right {
            sole,
            window,
            thread,
            word: Cell::new(MANY),
        }
    }

    #[test]
    fn each_thread_has_a_name_of_its_own() {
        let name = this_thread();
        assert_eq!(this_thread(), name);
        let other = thread::spawn(this_thread).join().unwrap();
        assert_ne!(other, name);
        for word in [name, other] {
            assert_eq!(word % STEP, 0);
            assert!(word > MANY, "{word}");
        }
    }

    #[test]
    fn threads_take_the_right_over_until_all_share_it() {
        let sole = Sole(AtomicU64::new(NOBODY));
        let windows = [(); 3].map(|()| Window::new());
        let all = || windows.iter();
        let rights: Vec<_> = (NAMES.iter().zip(&windows))
            .map(|(name, window)| right(&sole, window, *name))
            .collect();
        let standings = || [0, 1, 2].map(|index: usize| rights[index].look());
        assert_eq!(standings(), [Standing::Unknown; 3]);
        // The first thread takes the right from no other thread.
        for takeovers in 0..=TAKEOVERS / TAKEOVER {
            let next = (takeovers % 3) as usize;
            rights[next].ask(all);
            assert!(rights[next].is_sole());
            let window = rights[next].open(all).expect("it is the sole sender");
            assert!(windows[next].is_open());
            drop(window);
            assert!(windows.iter().all(|window| !window.is_open()));
            let mut expected = [Standing::Unknown; 3];
            expected[next] = Standing::Sole;
            assert_eq!(standings(), expected, "after {takeovers}");
        }
        rights[1].ask(all);
        assert_eq!(standings(), [Standing::OneOfMany; 3]);
        assert!(rights.iter().all(|right| right.open(all).is_none()));
    }

    #[test]
    fn a_thread_waits_for_an_open_window() {
        let sole = Sole(AtomicU64::new(NOBODY));
        let windows = [Window::new(), Window::new()];
        let all = || windows.iter();
        let first = right(&sole, &windows[0], NAMES[0]);
        first.ask(all);
        let window = first.open(all);
        assert!(window.is_some());
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let second = right(&sole, &windows[1], NAMES[1]);
                second.ask(all);
                // The window is closed, and the first thread has lost its right.
                assert!(!windows[0].is_open() && second.is_sole());
            });
            while first.is_unchanged() {
                thread::yield_now();
            }
            assert!(!second.is_finished(), "it waits");
            drop(window);
            second.join().unwrap();
        });
        assert_eq!(first.look(), Standing::Unknown);
    }

    #[test]
    fn only_another_sole_sender_needs_a_fence() {
        let me = this_thread();
        for (word, is_another) in [
            (NOBODY, false),
            (me, false),
            (me + 3 * TAKEOVER, false),
            (MANY, false),
            (me + STEP, true),
            (me + STEP + TAKEOVERS, true),
        ] {
            for word in [word, word | if word > MANY { super::REVOKED } else { 0 }] {
                let sole = Sole(AtomicU64::new(word));
                assert_eq!(sole.is_another(), is_another, "{word}");
            }
        }
    }
}
