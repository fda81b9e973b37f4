//! A pool of workers as a group: each job goes to one of them, a failing one is tried again, and
//! one that leaves hands on what it had not begun. The broker is named by a URL.
//!
//! `cargo run -p fanfeed-broker --example workers -- memory:`

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fanfeed_broker::{
    Context, Drivers, HandlerError, Message, Overflow, Subscribe, SubscribeOptions,
};

const JOBS: u64 = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "memory:".to_owned());
    let broker = Drivers::new().connect(&url)?;
    let sum = Arc::new(AtomicU64::new(0));

    let join = |name: &'static str| {
        let sum = Arc::clone(&sum);
        let work = move |job: &Message, context: &Context| {
            let number: u64 = std::str::from_utf8(job.payload())?.parse()?;
            if number.is_multiple_of(100) && context.attempt() == 1 {
                return Err(HandlerError::Retry(Duration::from_millis(1)));
            }
            sum.fetch_add(number, Ordering::Relaxed);
            Ok(())
        };
        let options = SubscribeOptions::new().name(name).overflow(Overflow::Block);
        broker.subscribe_with(
            Subscribe::new("jobs", work)
                .group("workers")
                .options(options),
        )
    };
    let members = [join("ann")?, join("bob")?, join("eve")?];

    for number in 1..=JOBS {
        if number == JOBS / 2 {
            members[2].unsubscribe();
        }
        broker.publish(Message::new("jobs", number.to_string()))?;
    }
    broker.close(Duration::from_secs(10))?;

    for member in &members {
        println!(
            "{}: {} jobs",
            member.name().unwrap_or("?"),
            member.stats().delivered
        );
    }
    let stats = broker.stats();
    println!(
        "{} delivered, {} of them not at the first attempt, {} dropped",
        stats.delivered, stats.redelivered, stats.dropped
    );
    assert_eq!(sum.load(Ordering::Relaxed), JOBS * (JOBS + 1) / 2);
    Ok(())
}
