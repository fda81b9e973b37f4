//! A sent value, which counts itself, and detects a second drop and a read after its drop.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::random::{Random, mix};
use crate::world::World;

const ALIVE: u64 = 0x5eed_a11e_f00d_cafe;
const DEAD: u64 = 0xdead_dead_dead_dead;
/// Every so manyth value has a part on the heap.
const WITH_HEAP: u64 = 8;
/// In a generation that has touchy values, about every so manyth is one.
const TOUCHY: u64 = 300;

thread_local! {
    static COIN: RefCell<Random> = const { RefCell::new(Random::new(0)) };
}

/// Whether the clone of that value panics every other time, in a generation that has such.
pub(crate) fn is_touchy(sender: usize, number: u64) -> bool {
    mix(number ^ ((sender as u64) << 56)).is_multiple_of(TOUCHY)
}

/// A numbered value of one sender.
#[derive(Debug)]
pub(crate) struct Value {
    /// Not a plain field: the compiler would leave out a store to what is about to go.
    canary: AtomicU64,
    number: u64,
    sender: u32,
    touchy: bool,
    heap: Option<Box<u64>>,
    world: &'static World,
}

impl Value {
    pub(crate) fn new(world: &'static World, sender: usize, number: u64, touchy: bool) -> Self {
        world.created.add(1);
        Self {
            canary: AtomicU64::new(ALIVE),
            number,
            sender: sender as u32,
            touchy: touchy && is_touchy(sender, number),
            heap: number.is_multiple_of(WITH_HEAP).then(|| Box::new(number)),
            world,
        }
    }

    /// Makes it another value of the same world, in place.
    pub(crate) fn rewrite(&mut self, sender: usize, number: u64, touchy: bool) {
        self.check();
        self.number = number;
        self.sender = sender as u32;
        self.touchy = touchy && is_touchy(sender, number);
        self.heap = number.is_multiple_of(WITH_HEAP).then(|| Box::new(number));
    }

    /// Where it comes from, if it is whole.
    pub(crate) fn read(&self) -> (usize, u64) {
        self.check();
        if let Some(heap) = &self.heap
            && **heap != self.number
        {
            self.world.violated(
                format!("value {} whole", self.number),
                format!("its other half is of {heap}"),
            );
        }
        (self.sender as usize, self.number)
    }

    fn check(&self) {
        let canary = self.canary.load(Ordering::Relaxed);
        if canary != ALIVE {
            World::current().violated("a value that is alive", gone(canary));
        }
    }
}

fn gone(canary: u64) -> String {
    if canary == DEAD {
        "one that was dropped already".to_owned()
    } else {
        format!("its canary is {canary:#x}, so this is no value at all")
    }
}

/// What a ring writes in place at first.
impl Default for Value {
    fn default() -> Self {
        Self::new(World::current(), 0, 1, false)
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        self.check();
        if self.touchy && COIN.with_borrow_mut(|coin| coin.once_in(2)) {
            self.world.provoke();
        }
        self.world.created.add(1);
        Self {
            canary: AtomicU64::new(ALIVE),
            number: self.number,
            sender: self.sender,
            touchy: self.touchy,
            heap: self.heap.clone(),
            world: self.world,
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        let canary = self.canary.swap(DEAD, Ordering::Relaxed);
        if canary != ALIVE {
            World::current().violated("a value is dropped once", gone(canary));
        }
        self.world.dropped.add(1);
    }
}
