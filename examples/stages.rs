//! Stages of work on one ring, without a queue between them. A journal and a replica read each
//! order first, and the engine reads it when both have passed it. The engine is stopped in between,
//! and started again at its position.

use std::ops::ControlFlow;
use std::thread;

use fanfeed::{ExclusiveRingFeed, ring};

fn main() {
    let mut orders = ExclusiveRingFeed::new(1024).expect("1,024 is a valid capacity");
    let journal = orders.subscriber().name("journal").subscribe();
    let replica = orders.subscriber().name("replica").subscribe();
    let leaders = [journal.cursor(), replica.cursor()];
    let engine = orders.subscriber().name("engine").after(&leaders);
    let mut engine = engine
        .expect("both are of this ring, and miss nothing")
        .subscribe();

    let written = [journal, replica].map(|reader| thread::spawn(move || write(reader)));
    let handle = orders.handle();
    let sender = thread::spawn(move || {
        for order in 1..=1000_u64 {
            orders.send(order);
        }
        orders // Dropped here, it would end the ring.
    });

    let stopped = work_until(&mut engine, &leaders, 600);
    let position = engine.position();
    println!("stopped at order {stopped:?}, to go on at position {position}");
    drop(engine);

    // The ring still holds what comes after: at least seven eighths of its capacity.
    let engine = handle.subscriber().name("engine").after(&leaders);
    let mut engine = engine
        .expect("as above")
        .from(position)
        .subscribe()
        .expect("the position is kept");
    let next = engine.recv_with_position();
    println!("went on with {next:?}");
    let stopped = work_until(&mut engine, &leaders, 1000);
    println!("stopped at order {stopped:?}");
    for reader in handle.readers() {
        if reader.name() == Some("engine") {
            println!("values before the engine: {}", reader.lag());
        }
    }

    drop(sender.join().expect("the sender does not panic"));
    for written in written {
        println!("written {}", written.join().expect("no reader panics"));
    }
}

/// Collects orders, and writes them at the end of each batch. Returns how many it wrote.
fn write(mut reader: ring::Receiver<u64>) -> usize {
    let (mut gathered, mut written) = (Vec::new(), 0);
    while reader.wait().is_ok() {
        let _ = reader.drain_with(|event| {
            gathered.push(*event.value());
            if event.is_last() {
                written += gathered.len();
                gathered.clear();
            }
            ControlFlow::<()>::Continue(())
        });
    }
    written
}

/// Handles orders until it has handled `last`, and checks that the leaders have passed each.
fn work_until(
    engine: &mut ring::Receiver<u64>,
    leaders: &[ring::Cursor<u64>],
    last: u64,
) -> Option<u64> {
    while engine.wait().is_ok() {
        let outcome = engine.drain_with(|event| {
            let have_passed = |leader: &ring::Cursor<u64>| match leader.position() {
                Some(next) => next > event.position(),
                None => true, // It has ended.
            };
            assert!(leaders.iter().all(have_passed), "{event:?} came too early");
            if *event.value() == last {
                return ControlFlow::Break(last);
            }
            ControlFlow::Continue(())
        });
        if let Ok(ControlFlow::Break(order)) = outcome {
            return Some(order);
        }
    }
    None
}
