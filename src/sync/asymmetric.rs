//! A pair of fences: one costs nothing, the other is expensive.
//!
//! Dekker's pattern needs a fence on both sides: each side stores, fences, and loads what the other
//! side stores. If one side does this for every value and the other hardly ever, the rare side can
//! fence for both: Linux's `membarrier` runs a full fence on every core that runs a thread of this
//! process. The frequent side then only needs the compiler to keep its store and its load in order.
//! Where there is no `membarrier`, both sides make full fences. They also do so under `--cfg
//! fanfeed_plain_fences`, so that tests can run that way on machines that have it.
//!
//! Guarantee: if a [`light_fence`] stands between a store and a load of one thread, and a
//! [`heavy_fence`] between a store and a load of another, then one of the loads sees the other
//! thread's store (or a later one).
//!
//! # When `membarrier` is denied later
//!
//! A sandbox (a seccomp filter) can deny the call after it has worked. The first heavy fence that
//! finds this out *retires* the free light fences, for the whole process and for good:
//!
//! 1. It stores that light fences are full ones, and sets [`ALWAYS`] in the word of each ring (see
//!    [`free_fence`]). A thread that loads either of these later makes a full fence.
//! 2. It waits until no thread is left that loaded the old word and has a store that other threads
//!    cannot see yet.
//! 3. It stores that this has been done. Other heavy fences that find the call denied return after
//!    that, and later ones rely on full fences on both sides.
//!
//! In step 2 a thread may be between its store and its load, and have loaded the old word. It is in
//! one of two states:
//!
//! - It runs. Then its store is in the core's store buffer. A core writes its store buffer to its
//!   cache as fast as it gets the cache lines: in less than a microsecond, and in tens of
//!   microseconds when many cores want one line. An interrupt, which a core that runs a thread
//!   takes at each tick of the kernel's clock (1 to 10 ms), empties the buffer in any case.
//! - It does not run. The kernel makes a full fence when it switches threads, so its store is
//!   visible. When the thread runs again, its load sees what was stored before step 1.
//!
//! So step 2 waits for a fixed time, [`DRAIN`]. This is more than two ticks of the slowest clock,
//! and ten thousand times what a buffer takes. No language or processor manual gives a limit. This
//! is the only place where the crate relies on the hardware to be no slower than that, and it does
//! so only in a process that loses a system call while it runs.

use std::collections::BTreeSet;
use std::sync::Once;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering, compiler_fence, fence};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

/// How long a store may be invisible to other cores, with a large margin.
const DRAIN: Duration = Duration::from_millis(25);

/// Light fences are full ones, and have been for at least [`DRAIN`], or always.
const FULL: u8 = 0;
/// Light fences are free: heavy fences do their work.
const FREE: u8 = 1;
/// Light fences have been full ones for less than [`DRAIN`].
const RETIRING: u8 = 2;

/// How the fences of a process work.
struct Fences {
    /// `FULL` to `FREE` once, by [`prepare`]; `FREE` to `RETIRING` to `FULL` once, by
    /// [`retire`](Self::retire).
    state: AtomicU8,
    retirement: Once,
    /// The addresses of the words in which [`ALWAYS`] must be set. A word is alive while it is
    /// listed here.
    words: Mutex<BTreeSet<Registered>>,
}

/// The address of a word.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Registered(*const Word);

// SAFETY: a word may be used from any thread.
unsafe impl Send for Registered {}

/// See [`free_fence`].
pub(crate) type Word = CachePadded<AtomicUsize>;

/// The bit of a [`Word`] that says that free fences are not enough.
const ALWAYS: usize = 1 << (usize::BITS - 1);

static FENCES: Fences = Fences::new(FULL);

impl Fences {
    const fn new(state: u8) -> Self {
        Self {
            state: AtomicU8::new(state),
            retirement: Once::new(),
            words: Mutex::new(BTreeSet::new()),
        }
    }

    /// # Safety
    ///
    /// The word is alive at this address until it is [deregistered](Self::deregister).
    unsafe fn register(&self, word: &Word) {
        let mut words = self.words.lock();
        // `retire` changes the state and then walks the words, so one of the two sets the bit.
        if self.state.load(Ordering::Relaxed) == FREE {
            words.insert(Registered(word));
        } else {
            word.fetch_or(ALWAYS, Ordering::Relaxed);
        }
    }

    fn deregister(&self, word: &Word) {
        self.words.lock().remove(&Registered(word));
    }

    #[inline(always)]
    fn light(&self) {
        // The state must not be loaded before the store that precedes this fence: see the module's
        // second state.
        compiler_fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == FREE {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// `run` makes a full fence on all cores, or returns that it cannot. `drain` waits until older
    /// stores can be seen.
    fn heavy(&self, run: impl FnOnce() -> bool, drain: impl FnOnce()) {
        fence(Ordering::SeqCst);
        // ORDERING: Acquire pairs with the Release in `retire`: in `FULL` the drain is over.
        match self.state.load(Ordering::Acquire) {
            FULL => {}
            FREE if run() => {}
            _ => self.retire(drain),
        }
    }

    /// Makes light fences full ones. When this returns, all light fences of all threads are.
    #[cold]
    fn retire(&self, drain: impl FnOnce()) {
        self.retirement.call_once(|| {
            self.state.store(RETIRING, Ordering::SeqCst);
            {
                let mut words = self.words.lock();
                for Registered(word) in std::mem::take(&mut *words) {
                    // SAFETY: by the contract of `register` it lives, because it cannot be
                    // deregistered under the lock.
                    unsafe { &*word }.fetch_or(ALWAYS, Ordering::SeqCst);
                }
            }
            fence(Ordering::SeqCst);
            drain();
            self.state.store(FULL, Ordering::Release);
        });
        fence(Ordering::SeqCst);
    }
}

/// Makes light fences free if possible. If they are not free, marks the ring's word.
///
/// # Safety
///
/// The word is alive at this address until it is [deregistered](deregister).
pub(crate) unsafe fn register(word: &Word) {
    prepare();
    // SAFETY: the caller guarantees this.
    unsafe { FENCES.register(word) };
}

/// Called before the ring of this word is dropped. No effect if the word was not registered.
pub(crate) fn deregister(word: &Word) {
    FENCES.deregister(word);
}

/// Makes light fences free if possible. Called before the first use; further calls do nothing.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if membarrier::register() {
            // A thread that does not see this yet makes full fences, which is also correct.
            FENCES.state.store(FREE, Ordering::Release);
        }
    });
}

/// Whether light fences are free now. Called before a first light fence that no [`register`]
/// precedes.
pub(crate) fn light_fences_are_free() -> bool {
    prepare();
    FENCES.state.load(Ordering::Relaxed) == FREE
}

/// The fence of the frequent side.
#[inline(always)]
pub(crate) fn light_fence() {
    FENCES.light();
}

/// A light fence that does not check whether it is enough. It must be between a store and a load of
/// a [`Word`]. That word is not 0 if this fence is not enough, or if the other side needs more.
/// Then a full fence follows.
#[inline(always)]
pub(crate) fn free_fence() {
    compiler_fence(Ordering::SeqCst);
}

/// The fence of the rare side: some microseconds, and about two microseconds of each other core
/// that runs a thread of this process.
#[cold]
pub(crate) fn heavy_fence() {
    FENCES.heavy(membarrier::run, || std::thread::sleep(DRAIN));
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(fanfeed_plain_fences)
))]
mod membarrier {
    use std::ffi::{c_int, c_long};

    #[cfg(target_arch = "x86_64")]
    const SYS_MEMBARRIER: c_long = 324;
    #[cfg(target_arch = "aarch64")]
    const SYS_MEMBARRIER: c_long = 283;
    const PRIVATE_EXPEDITED: c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

    unsafe extern "C" {
        // A function of the C library that std links.
        fn syscall(number: c_long, ...) -> c_long;
    }

    fn call(command: c_int) -> bool {
        let none: c_int = 0;
        // SAFETY: membarrier takes a command, flags and a processor number, and touches no memory
        // of this process.
        unsafe { syscall(SYS_MEMBARRIER, command, none, none) == 0 }
    }

    pub(super) fn register() -> bool {
        call(REGISTER_PRIVATE_EXPEDITED) && call(PRIVATE_EXPEDITED)
    }

    pub(super) fn run() -> bool {
        call(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(miri),
    not(fanfeed_plain_fences)
)))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn run() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// The folder in which the system describes the calling thread, if there is one.
    fn this_thread() -> Option<PathBuf> {
        let link = fs::read_link("/proc/thread-self").ok()?;
        Some(Path::new("/proc").join(link))
    }

    /// Waits until a thread sleeps, or for a moment if the system does not tell.
    fn wait_until_asleep(thread: &Option<PathBuf>) {
        let Some(folder) = thread else {
            return thread::sleep(Duration::from_millis(100));
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            if state.starts_with('S') {
                return;
            }
            assert!(Instant::now() < deadline, "it does not sleep: {stat}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_call_that_works_leaves_light_fences_free() {
        let fences = Fences::new(FREE);
        fences.heavy(|| true, || unreachable!("nothing to drain"));
        assert_eq!(fences.state.load(Ordering::Relaxed), FREE);
    }

    #[test]
    fn no_heavy_fence_returns_before_older_stores_are_visible() {
        let fences = Fences::new(FREE);
        let drained = AtomicBool::new(false);
        let (entered, is_entered) = mpsc::channel();
        let (go_on, is_to_go_on) = mpsc::channel::<()>();
        let (fences, drained) = (&fences, &drained);
        thread::scope(|scope| {
            scope.spawn(move || {
                let drain = || {
                    entered.send(()).unwrap();
                    is_to_go_on.recv().unwrap();
                    drained.store(true, Ordering::Relaxed);
                };
                fences.heavy(|| false, drain);
                assert!(drained.load(Ordering::Relaxed));
            });
            is_entered.recv().unwrap();
            // New light fences are already full ones.
            assert_eq!(fences.state.load(Ordering::Relaxed), RETIRING);
            let (began, has_begun) = mpsc::channel();
            let others: Vec<_> = [true, false]
                .into_iter()
                .map(|works| {
                    let began = began.clone();
                    scope.spawn(move || {
                        began.send(this_thread()).unwrap();
                        fences.heavy(|| works, || unreachable!("drained twice"));
                        assert!(drained.load(Ordering::Relaxed), "returned too early");
                    })
                })
                .collect();
            for _ in &others {
                wait_until_asleep(&has_begun.recv().unwrap());
            }
            assert!(others.iter().all(|other| !other.is_finished()));
            go_on.send(()).unwrap();
        });
        assert_eq!(fences.state.load(Ordering::Relaxed), FULL);
        fences.heavy(|| unreachable!("not asked again"), || unreachable!());
    }

    #[test]
    fn rings_from_before_and_after_the_denial_use_full_fences() {
        let fences = Fences::new(FREE);
        let word = || {
            let word = Box::new(Word::default());
            // SAFETY: these fences load no word after the last of the words is gone.
            unsafe { fences.register(&word) };
            word
        };
        let value = |word: &Word| word.load(Ordering::Relaxed);
        let before: Vec<_> = (0..100).map(|_| word()).collect();
        before[7].fetch_add(1, Ordering::Relaxed);
        assert_eq!(value(&before[0]), 0);
        let drain = || assert!(before.iter().all(|word| value(word) & ALWAYS != 0));
        fences.heavy(|| false, drain);
        assert_eq!(value(&before[7]), ALWAYS | 1);
        assert_eq!(value(&word()), ALWAYS);
    }

    #[test]
    fn words_of_rings_that_are_gone_are_forgotten() {
        let fences = Fences::new(FREE);
        let [one, other] = [(); 2].map(|()| Word::default());
        for word in [&one, &other] {
            // SAFETY: both words outlive the fences' last look at them.
            unsafe { fences.register(word) };
        }
        fences.deregister(&one);
        fences.heavy(|| false, || {});
        let value = |word: &Word| word.load(Ordering::Relaxed);
        assert_eq!((value(&one), value(&other)), (0, ALWAYS));
        fences.deregister(&other);
    }
}
