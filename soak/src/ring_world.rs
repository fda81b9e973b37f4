//! Rings, shared and exclusive: senders, readers that stay, readers that come and go.

mod order;
mod readers;
mod senders;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{ExclusiveRingFeed, RingFeed, ring};

use crate::marks::Marks;
use crate::random::Random;
use crate::value::Value;
use crate::world::World;

use order::Order;

/// What the threads of one generation share.
struct Generation {
    world: &'static World,
    marks: Marks,
    order: Order,
    handle: ring::Handle<Value>,
    /// Readers that others may follow; some of them are gone.
    leaders: Mutex<Vec<ring::Cursor<Value>>>,
    capacity: u64,
    /// Senders are to stop.
    stop: AtomicBool,
    /// Whether clones of some values panic.
    touchy: bool,
    /// Whether writers in place panic at times.
    clumsy: bool,
    /// Whether it is closed while senders run.
    abrupt: bool,
}

/// A ring as its senders have it.
enum Ring {
    Shared(RingFeed<Value>),
    Exclusive(ExclusiveRingFeed<Value>),
}

/// Rings, one after the other, until then.
pub(crate) fn run(world: &'static World, exclusive: bool, until: Instant) {
    let mut random = Random::new(world.seed);
    while Instant::now() < until {
        generation(world, exclusive, &mut random, until);
    }
}

fn generation(world: &'static World, exclusive: bool, random: &mut Random, until: Instant) {
    let capacity = random.pick(&[1, 2, 3, 4, 8, 8, 16, 64, 64, 256, 1024, 4096]);
    let senders = if exclusive {
        1
    } else {
        random.between(1, 4) as usize
    };
    let (ring, handle) = if exclusive {
        let ring = ExclusiveRingFeed::new(capacity).expect("the capacity is valid");
        let handle = ring.handle();
        (Ring::Exclusive(ring), handle)
    } else {
        let ring = RingFeed::new(capacity).expect("the capacity is valid");
        let handle = ring.handle();
        (Ring::Shared(ring), handle)
    };
    let generation = Generation {
        world,
        marks: Marks::new(senders),
        order: Order::new(senders),
        handle,
        leaders: Mutex::default(),
        capacity: capacity.next_power_of_two() as u64,
        stop: AtomicBool::new(false),
        touchy: random.once_in(3),
        clumsy: random.once_in(3),
        // An exclusive ring is closed by its only sender.
        abrupt: !exclusive && random.once_in(3),
    };
    let life =
        Duration::from_millis(random.between(100, 2000)).min(until - Instant::now().min(until));
    world.begin(format!(
        "capacity {capacity}, {senders} senders, touchy {}, clumsy {}, abrupt {}, for {life:?}",
        generation.touchy, generation.clumsy, generation.abrupt
    ));
    run_generation(&generation, ring, life, random);
    drop(generation);
    world.end();
}

fn run_generation(generation: &Generation, ring: Ring, life: Duration, random: &mut Random) {
    let (stayers, comers) = (random.between(1, 2), random.between(1, 2));
    thread::scope(|scope| {
        for _ in 0..stayers {
            let mut random = random.fork();
            // Before the senders begin, so that they see everything.
            let members = readers::begin(generation, &mut random);
            scope.spawn(move || readers::stay(generation, members, &mut random));
        }
        for _ in 0..comers {
            let mut random = random.fork();
            scope.spawn(move || readers::come_and_go(generation, &mut random));
        }
        match ring {
            Ring::Exclusive(mut ring) => {
                let mut random = random.fork();
                let sender = scope.spawn(move || {
                    generation.world.enter();
                    senders::exclusive(generation, &mut ring, &mut random);
                    generation.marks.close(|| ring.close());
                });
                thread::sleep(life);
                generation.stop.store(true, Ordering::SeqCst);
                let _ = sender.join();
            }
            Ring::Shared(ring) => {
                let threads: Vec<_> = (0..generation.marks.senders())
                    .map(|sender| {
                        let (ring, mut random) = (ring.clone(), random.fork());
                        scope.spawn(move || {
                            generation.world.enter();
                            senders::shared(generation, &ring, sender, &mut random);
                        })
                    })
                    .collect();
                thread::sleep(life);
                if generation.abrupt {
                    generation.marks.close(|| ring.close());
                }
                generation.stop.store(true, Ordering::SeqCst);
                for thread in threads {
                    let _ = thread.join();
                }
                if !generation.abrupt {
                    let sent = generation.marks.sent();
                    if ring.position() != sent {
                        generation
                            .world
                            .violated(format!("position {sent}"), ring.position());
                    }
                    // The last handle ends it.
                    generation.marks.close(|| drop(ring));
                }
            }
        }
    });
}
