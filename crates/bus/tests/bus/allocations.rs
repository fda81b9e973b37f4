//! A synchronous dispatch whose handle is dropped allocates nothing, and listeners that come and go
//! leave nothing behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fanfeed_bus::{AnyEvent, Context, EventBus};

use crate::support::{Paid, Placed};

/// Counts the allocations of each thread, and the bytes that it has allocated and not freed.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

fn count() {
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

fn add(bytes: usize) {
    let _ = BYTES.try_with(|all| all.set(all.get().wrapping_add_unsigned(bytes)));
}

fn subtract(bytes: usize) {
    let _ = BYTES.try_with(|all| all.set(all.get().wrapping_sub_unsigned(bytes)));
}

// SAFETY: each method is the system's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        add(layout.size());
        // SAFETY: the caller keeps the contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        add(size);
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

fn allocations(f: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

#[test]
fn a_synchronous_dispatch_allocates_nothing() {
    let bus = EventBus::new();
    let subscriptions = [
        bus.register(|_: &Placed, _: &Context| Ok(())).unwrap(),
        bus.register(|_: &Placed, context: &Context| {
            // The inner event has listeners for all events alone.
            context.bus().dispatch(Paid(1));
            Ok(())
        })
        .unwrap(),
        bus.register_all(|event: &dyn AnyEvent, _| {
            assert!(!event.name().is_empty());
            Ok(())
        })
        .unwrap(),
    ];
    let dispatch = || {
        for n in 0..100 {
            drop(bus.dispatch(Placed(n)));
        }
    };
    // The first dispatch of a thread makes its place on the bus.
    dispatch();
    assert!(allocations(|| drop(Box::new(1))) > 0, "it counts");
    assert_eq!(allocations(dispatch), 0);
    drop(subscriptions);
    assert_eq!(
        allocations(|| drop(bus.dispatch(Placed(1)))),
        0,
        "with no listener either"
    );
}

/// A million in a release build.
#[test]
fn listeners_that_come_and_go_leave_no_memory_behind() {
    const COUNT: u64 = if cfg!(debug_assertions) {
        50_000
    } else {
        1_000_000
    };
    let bus = EventBus::new();
    let stays = bus.register(|_: &Placed, _: &Context| Ok(())).unwrap();
    let run = |count| {
        for n in 0..count {
            let own = bus.register(|_: &Placed, _: &Context| Ok(())).unwrap();
            drop(bus.dispatch(Placed(n)));
            own.unsubscribe();
        }
        BYTES.get()
    };
    // What the thread and the bus keep for themselves is there after the first.
    let before = run(100);
    assert_eq!(run(COUNT), before, "bytes that are not freed");
    drop(stays);
}
