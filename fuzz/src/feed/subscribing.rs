//! Subscribing and unsubscribing.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use fanfeed::{CarrierOverflow, Feed, Overflow, RingFeed, Subscription};

use super::calling;
use super::carrier::{Custom, Shared, Wrapping};
use super::far_end::FarEnd;
use super::program::{Act, CarrierPolicy, Kind, Manner};
use super::sketch::Sketch;
use super::world::{Subscriber, World, with};
use crate::trace::{ensure, expect};
use crate::value::Value;

const NAME: &str = "named";
const MOST: usize = 12;

/// What a subscription of some kind comes to.
struct Made {
    handle: Option<Subscription>,
    far_end: FarEnd,
    sketch: Sketch,
    shared: Option<std::sync::Weak<Shared>>,
}

/// Subscribes one of that kind, unless there are many already.
pub(crate) fn subscribe(kind: Kind, named: bool) {
    with(|world| {
        if world.subscribers.len() < MOST || world.has_crowd && world.subscribers.len() < 100 {
            add(world, kind, named);
        }
    });
}

/// More than a chunk holds.
pub(crate) fn crowd(closures: bool) {
    with(|world| {
        if std::mem::replace(&mut world.has_crowd, true) {
            return;
        }
        let kind = if closures {
            Kind::Closure(Act::Nothing)
        } else {
            Kind::Own {
                capacity: 0,
                overflow: super::program::Policy::DropNewest,
            }
        };
        for _ in 0..66 {
            add(world, kind, false);
        }
    });
}

fn add(world: &mut World, kind: Kind, named: bool) {
    let Some(feed) = world.feeds.last() else {
        return;
    };
    let name = named.then_some(NAME);
    let index = world.subscribers.len();
    let mut made = make(feed, kind, name, index);
    if world.is_closed {
        made.sketch.end(None);
    }
    let mut one = Subscriber {
        id: made
            .handle
            .as_ref()
            .map_or_else(|| own_id(&made.far_end), Subscription::id),
        name,
        handle: made.handle,
        far_end: made.far_end,
        sketch: made.sketch,
        errors: None,
        error_is_taken: false,
        act: if let Kind::Closure(act) = kind {
            act
        } else {
            Act::Nothing
        },
        is_tracked: false,
        shared: made.shared,
    };
    if named {
        one.errors = one.subscription().map(Subscription::err);
    }
    let is_new = world.numbers.insert(one.id);
    ensure(is_new, || format!("the number {} was given twice", one.id));
    world.subscribers.push(one);
}

fn own_id(far_end: &FarEnd) -> fanfeed::SubscriptionId {
    match far_end {
        FarEnd::Own(receiver) => receiver.subscription().id(),
        _ => unreachable!("only own channels come without a handle"),
    }
}

fn make(feed: &Feed<Value>, kind: Kind, name: Option<&'static str>, index: usize) -> Made {
    let small = |capacity: u8| usize::from(capacity % 5);
    let options = || {
        let options = feed.subscriber();
        match name {
            Some(name) => options.name(name),
            None => options,
        }
    };
    let sketch = |capacity: usize, policy: CarrierPolicy| {
        Sketch::new(capacity, Overflow::from(CarrierOverflow::from(policy)))
    };
    let unbounded = || Sketch::new(usize::MAX, Overflow::Block);
    let (handle, far_end, mut sketch) = match kind {
        Kind::Own { capacity, overflow } => {
            let capacity = small(capacity) + 1;
            let overflow = Overflow::from(overflow);
            let receiver = options().capacity(capacity).overflow(overflow).channel();
            let receiver = receiver.expect("the capacity is small and not 0");
            let mut sketch = Sketch::new(capacity, overflow);
            sketch.is_own = true;
            (None, FarEnd::Own(receiver), sketch)
        }
        Kind::Crossbeam { capacity, overflow } => {
            let (sender, receiver) = crossbeam_channel::bounded(small(capacity));
            let handle = options()
                .overflow(CarrierOverflow::from(overflow))
                .subscribe(sender);
            (
                Some(handle),
                FarEnd::Crossbeam(receiver),
                sketch(small(capacity), overflow),
            )
        }
        Kind::Unbounded => {
            let (sender, receiver) = crossbeam_channel::unbounded();
            (
                Some(options().subscribe(sender)),
                FarEnd::Crossbeam(receiver),
                unbounded(),
            )
        }
        Kind::Sync { capacity, overflow } => {
            let (sender, receiver) = std::sync::mpsc::sync_channel(small(capacity));
            let handle = options()
                .overflow(CarrierOverflow::from(overflow))
                .subscribe(sender);
            let mut sketch = sketch(small(capacity), overflow);
            sketch.tells_depth = false;
            (Some(handle), FarEnd::Std(receiver), sketch)
        }
        Kind::Mpsc => {
            let (sender, receiver) = std::sync::mpsc::channel();
            let mut sketch = unbounded();
            sketch.tells_depth = false;
            (
                Some(options().subscribe(sender)),
                FarEnd::Std(receiver),
                sketch,
            )
        }
        Kind::Tokio { capacity, overflow } => {
            let capacity = small(capacity) + 1;
            let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
            let handle = options()
                .overflow(CarrierOverflow::from(overflow))
                .subscribe(sender);
            (
                Some(handle),
                FarEnd::Tokio(receiver),
                sketch(capacity, overflow),
            )
        }
        Kind::TokioUnbounded => {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            let mut sketch = unbounded();
            sketch.tells_depth = false;
            (
                Some(options().subscribe(sender)),
                FarEnd::TokioUnbounded(receiver),
                sketch,
            )
        }
        Kind::Custom {
            capacity,
            overflow,
            manner: Manner::Wrapping,
            ..
        } => {
            let (sender, receiver) = crossbeam_channel::bounded(small(capacity));
            let handle = options()
                .overflow(CarrierOverflow::from(overflow))
                .subscribe(Wrapping(sender));
            (
                Some(handle),
                FarEnd::Crossbeam(receiver),
                sketch(small(capacity), overflow),
            )
        }
        Kind::Custom {
            capacity,
            overflow,
            manner,
            leaves,
        } => {
            let shared = Arc::new(Shared::default());
            let capacity = small(capacity);
            let carrier = Custom {
                shared: Arc::clone(&shared),
                capacity,
                manner,
                leaves: Mutex::new(leaves.then_some(index)),
            };
            let handle = options()
                .overflow(CarrierOverflow::from(overflow))
                .subscribe(carrier);
            let mut sketch = sketch(capacity, overflow);
            sketch.leaves = leaves;
            (Some(handle), FarEnd::Custom(shared), sketch)
        }
        Kind::Ring { capacity, overflow } => {
            let ring = RingFeed::new(small(capacity) + 1).expect("the capacity is not 0");
            let reader = ring.subscribe();
            let mut sketch = sketch(ring.capacity(), overflow);
            sketch.is_ring = true;
            let handle = options()
                .overflow(CarrierOverflow::from(overflow))
                .subscribe(ring);
            (Some(handle), FarEnd::Ring(reader), sketch)
        }
        Kind::Closure(_) => {
            let kept = Arc::new(());
            let held = Arc::downgrade(&kept);
            let handle = options().subscribe_fn(move |value: &Value| {
                let _ = &kept;
                calling::called(index, value.number());
            });
            let mut sketch = unbounded();
            sketch.is_closure = true;
            sketch.tells_depth = false;
            (Some(handle), FarEnd::Closure(held), sketch)
        }
    };
    sketch.far_end_is_there = true;
    let shared = match &far_end {
        FarEnd::Custom(shared) => Some(Arc::downgrade(shared)),
        _ => None,
    };
    Made {
        handle,
        far_end,
        sketch,
        shared,
    }
}

impl World {
    pub(crate) fn unsubscribe(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        if let Some(subscription) = one.subscription() {
            subscription.unsubscribe();
            one.sketch.end(None);
        }
    }

    pub(crate) fn drop_handle(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        if let Some(handle) = one.handle.take() {
            drop(handle);
            one.sketch.end(None);
        }
    }

    pub(crate) fn detach(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        if let Some(handle) = one.handle.take() {
            handle.detach();
            // Its carrier has no handle any more by which to leave.
            one.sketch.leaves = false;
        }
    }

    pub(crate) fn track(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        let Some(handle) = one.handle.take() else {
            return;
        };
        one.handle = self.scope.track(handle);
        expect("track", &one.handle.is_some(), &!self.scope.is_closed());
        if one.handle.is_none() {
            one.sketch.end(None);
        }
        one.is_tracked = one.handle.is_some();
    }

    pub(crate) fn close_scope(&mut self) {
        self.scope.close();
        for one in &mut self.subscribers {
            if one.is_tracked {
                one.sketch.end(None);
            }
        }
    }

    pub(crate) fn split(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        match std::mem::replace(&mut one.far_end, FarEnd::Gone) {
            FarEnd::Own(ref mut receiver) if one.handle.is_none() => {
                // The far end implements `Drop`, so that what is in it is exchanged rather than
                // moved out.
                let feed = Feed::new();
                let spare = feed.channel(1).expect("a capacity of 1 can be had");
                let (receiver, handle) = std::mem::replace(receiver, spare).split();
                one.far_end = FarEnd::Own(receiver);
                one.handle = Some(handle);
            }
            far_end => one.far_end = far_end,
        }
    }

    pub(crate) fn drop_far_end(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        let far_end = std::mem::replace(&mut one.far_end, FarEnd::Gone);
        let sketch = &mut one.sketch;
        match far_end {
            FarEnd::Closure(_) => {
                one.far_end = far_end;
                return;
            }
            FarEnd::Own(_) => sketch.end(None),
            FarEnd::Gone => return,
            // A ring without readers takes everything, and gives it to nobody.
            FarEnd::Ring(_) => sketch.is_sink = true,
            FarEnd::Crossbeam(_) => {
                sketch.far_end_is_there = false;
                sketch.left = sketch.queue.len();
            }
            _ => sketch.far_end_is_there = false,
        }
        sketch.queue.clear();
        drop(far_end);
    }

    pub(crate) fn arm_carrier(&mut self, index: usize) {
        let one = &mut self.subscribers[index];
        if let (Some(shared), true) = (
            one.shared.as_ref().and_then(|shared| shared.upgrade()),
            one.sketch.live,
        ) {
            shared.panics.store(true, Relaxed);
            one.sketch.panics = true;
        }
    }
}
