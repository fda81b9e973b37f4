//! A synchronous dispatch whose handle is dropped allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fanfeed_bus::{AnyEvent, Context, EventBus};

use crate::support::{Paid, Placed};

/// Counts the allocations of each thread.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: each method is the system's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
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
