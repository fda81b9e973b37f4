//! What idle subscriptions cost: memory by a counting allocator, and threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use fanfeed_broker::{Broker, MemoryBroker, Message, Publisher, SubscriberExt};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: all calls go on to the system's allocator as they come; the count beside them is no part
// of its contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and `System` made the block in
        // `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const COUNT: usize = 100_000;

/// The bytes that each of many subscriptions requests: its key and its closure included, and its
/// handle, which is in the list, not included. The allocator's own overhead is not included either.
fn measure(key: impl Fn(usize) -> String, group: Option<&str>) -> isize {
    let broker = MemoryBroker::new();
    // What the first use of everything allocates for good.
    drop(broker.subscribe("warm", |_, _| Ok(())).unwrap());
    broker.publish(Message::new("warm", "")).unwrap();
    let mut subscriptions = Vec::with_capacity(COUNT);
    let before = LIVE.load(Ordering::Relaxed);
    for n in 0..COUNT {
        let handler = move |_: &Message, _: &fanfeed_broker::Context| {
            std::hint::black_box(n);
            Ok(())
        };
        subscriptions.push(match group {
            Some(group) => broker.subscribe_group(key(n), group, handler).unwrap(),
            None => broker.subscribe(key(n), handler).unwrap(),
        });
    }
    let each = (LIVE.load(Ordering::Relaxed) - before) / COUNT as isize;
    assert!(broker.health().threads <= 8);
    assert_eq!(broker.health().subscriptions, COUNT);
    drop(subscriptions);
    assert_eq!(broker.key_count(), 0);
    let left = LIVE.load(Ordering::Relaxed) - before;
    assert!(left < 64 * 1024, "{left} bytes are left behind");
    each
}

#[test]
fn an_idle_subscription_requests_less_than_a_kibibyte() {
    let own_keys = measure(|n| format!("chat.{n}"), None);
    let one_key = measure(|_| "chat".to_owned(), None);
    let groups = measure(|n| format!("chat.{n}"), Some("workers"));
    assert_eq!(size_of::<fanfeed_broker::BrokerSubscription>(), 24);
    println!(
        "bytes per subscription: {own_keys} on a key of its own, {one_key} on one key, {groups} in a group of its own"
    );
    for each in [own_keys, one_key, groups] {
        assert!(each <= 1024, "{each} bytes");
    }
}
