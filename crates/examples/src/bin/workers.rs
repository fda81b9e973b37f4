//! Workers that share a queue of orders, in as many processes as you like, on any server:
//!
//! ```text
//! cd crates/examples
//! cargo run --bin workers -- nats://localhost:4222              # publishes 100 orders, and works
//! cargo run --bin workers -- nats://localhost:4222 work         # only works, for a minute
//! cargo run --bin workers -- 'nats://localhost:4222?mode=core'  # at most once
//! cargo run --bin workers -- redis://localhost:6379             # or `kafka://localhost:9092`
//! cargo run --bin workers -- memory:                            # without a server
//! ```
//!
//! Kill one that works: where a group is served at least once, its orders go to the others, after a
//! time that the driver's README names (with JetStream `ack_wait`, half a minute).

use std::error::Error;
use std::time::{Duration, Instant};

use fanfeed_broker::{Message, SubscriberExt};
use fanfeed_examples::connect;

const ORDERS: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "memory:".to_owned());
    let only_works = arguments.next().is_some_and(|argument| argument == "work");
    let broker = connect(&url)?;
    println!("connected: {}", broker.driver());

    let (done, handled) = crossbeam_channel::unbounded();
    let _worker = broker.subscribe_group("orders", "billing", move |message, context| {
        let order = std::str::from_utf8(message.payload())?.to_owned();
        // An order that is slow to bill.
        std::thread::sleep(Duration::from_millis(2));
        Ok(done.send((order, context.attempt()))?)
    })?;

    if !only_works {
        for number in 0..ORDERS {
            broker.publish(Message::new("orders", number.to_string()).name("OrderPlaced"))?;
        }
        broker.flush(Duration::from_secs(10))?;
        println!("published {ORDERS} orders");
    }

    let quiet = match only_works {
        true => Duration::from_secs(60),
        // Other workers may have taken the others.
        false => Duration::from_secs(1),
    };
    let started = Instant::now();
    let (mut count, mut again) = (0, 0);
    while let Ok((_order, attempt)) = handled.recv_timeout(quiet) {
        count += 1;
        again += usize::from(attempt > 1);
        if count == ORDERS && !only_works {
            break;
        }
    }
    println!(
        "billed {count} orders here in {:.1?}, {again} of them not for the first time",
        started.elapsed()
    );
    broker.close(Duration::from_secs(10))?;
    Ok(())
}
