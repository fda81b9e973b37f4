//! A sandbox that denies `membarrier` after it has worked.

use std::ffi::{c_int, c_long, c_ulong};
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::ExclusiveRingFeed;

use crate::common::child::in_child;
use crate::common::{PATIENCE, Random, watchdog};

/// A filter cannot be taken off again, so this runs in a process of its own.
#[test]
fn no_wake_up_is_lost_when_membarrier_is_denied_later() {
    let name = "denied::no_wake_up_is_lost_when_membarrier_is_denied_later";
    in_child(name, &[], readers_park_beside_a_sender);
}

/// Large enough that a core is busy with the value when the position after it is stored.
type Large = [u64; 128];

/// Rings are made while `membarrier` works. Then it is denied, and one ring finds that out. On each
/// of the others a reader that has never waited waits for a value that comes at about the same
/// time. As many as go into some seconds, for the machine may be busy.
fn readers_park_beside_a_sender() {
    const RINGS: usize = 20_000;
    const TIME: Duration = Duration::from_secs(6);
    let _watchdog = watchdog();
    let mut first = ExclusiveRingFeed::<u64>::new(4).unwrap();
    let (mut rings, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..RINGS {
        let mut ring = ExclusiveRingFeed::<Large>::new(2).unwrap();
        readers.push(ring.subscribe());
        // Slots that were written before are not brought in from elsewhere.
        ring.send_batch([[0; 128]; 2]);
        rings.push(ring);
    }
    deny_membarrier();
    let mut reader = first.subscribe();
    let found_out = thread::spawn(move || reader.recv());
    thread::sleep(Duration::from_millis(1));
    first.send(1);
    assert_eq!(found_out.join().unwrap(), Ok(1));

    // The ring whose reader is about to wait, counted from 1; then 0 until the next.
    let (waits, done) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            for (index, reader) in readers.iter_mut().enumerate() {
                if begun.elapsed() > TIME {
                    waits.store(usize::MAX, Ordering::SeqCst);
                    return;
                }
                let mut sum = 0;
                while reader
                    .drain(|value| sum += value.iter().sum::<u64>())
                    .is_ok()
                {}
                black_box(sum);
                waits.store(index + 1, Ordering::SeqCst);
                // At its end this looks once more, and finds a value that nobody told of. So the
                // sender judges, long before that.
                let value = reader.recv_timeout(PATIENCE);
                assert!(value.is_ok(), "no value, of ring {index}");
                done.store(index + 1, Ordering::SeqCst);
            }
        });
        let mut random = Random::new(7);
        for (index, ring) in rings.iter_mut().enumerate() {
            spin_until(|| waits.load(Ordering::SeqCst) > index);
            if waits.load(Ordering::SeqCst) == usize::MAX {
                return;
            }
            let (begun, pause) = (Instant::now(), Duration::from_nanos(random.below(20_000)));
            while begun.elapsed() < pause {
                spin_loop();
            }
            ring.send([7; 128]);
            let is_done = || done.load(Ordering::SeqCst) > index;
            spin_until(|| is_done() || begun.elapsed() > PATIENCE / 4);
            if !is_done() {
                // The whole process may have been stopped.
                thread::sleep(PATIENCE / 40);
                assert!(is_done(), "it sleeps beside its value, of ring {index}");
            }
        }
    });
}

/// Looks all the time at first, then gives way to others in between.
fn spin_until(is_so: impl Fn() -> bool) {
    let mut looks = 0_u32;
    while !is_so() {
        looks += 1;
        if looks < 10_000 {
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// From now on `membarrier` fails on this thread, and on those that it starts.
fn deny_membarrier() {
    const MEMBARRIER: u32 = if cfg!(target_arch = "x86_64") {
        324
    } else {
        283
    };
    const PR_SET_SECCOMP: c_int = 22;
    const PR_SET_NO_NEW_PRIVS: c_int = 38;
    const MODE_FILTER: c_ulong = 2;
    const EPERM: u32 = 1;

    /// `struct sock_filter` and `struct sock_fprog` of the kernel.
    #[repr(C)]
    struct Instruction(u16, u8, u8, u32);
    #[repr(C)]
    struct Program(u16, *const Instruction);
    unsafe extern "C" {
        // Of the C library that std links.
        fn prctl(option: c_int, ...) -> c_int;
        fn syscall(number: c_long, ...) -> c_long;
    }
    let filter = [
        Instruction(0x20, 0, 0, 0),                   // load the call's number
        Instruction(0x15, 0, 1, MEMBARRIER),          // if it is this one,
        Instruction(0x06, 0, 0, 0x0005_0000 | EPERM), // fail,
        Instruction(0x06, 0, 0, 0x7fff_0000),         // else allow it
    ];
    let program = Program(filter.len() as u16, filter.as_ptr());
    let (no, yes): (c_ulong, c_ulong) = (0, 1);
    // SAFETY: the arguments are what the kernel documents for these, and the program outlives the
    // call.
    unsafe {
        assert_eq!(prctl(PR_SET_NO_NEW_PRIVS, yes, no, no, no), 0);
        let set = prctl(PR_SET_SECCOMP, MODE_FILTER, &raw const program);
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
        assert_eq!(syscall(c_long::from(MEMBARRIER), no, no, no), -1);
    }
}
