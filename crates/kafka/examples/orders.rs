//! Orders over Kafka: two workers share them, an auditor sees them all.
//!
//! ```text
//! cargo run -p fanfeed-kafka --example orders -- kafka://localhost:9092
//! cargo run -p fanfeed-kafka --example orders -- mock
//! ```
//!
//! `mock` starts librdkafka's mock cluster in this process, for machines without Kafka. Run it
//! twice at the same time over one cluster, and the workers of both share the partitions.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{Broker, Event, Message, Publisher, SubscriberExt};
use fanfeed_kafka::Config;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

const ORDERS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let Some(url) = std::env::args().nth(1) else {
        return Err("name a cluster, such as kafka://localhost:9092, or `mock`".into());
    };
    let mut mock: Option<BaseProducer> = None;
    let config: Config = if url == "mock" {
        let cluster: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "3")
            .create()?;
        let servers = cluster
            .client()
            .mock_cluster()
            .ok_or("no mock cluster")?
            .bootstrap_servers();
        mock = Some(cluster);
        Config::new(servers.split(','))
    } else {
        url.parse()?
    };
    // Orders of one customer stay in order; those of others go to other partitions.
    let config = config
        .prefix("example.")
        .record_key(|message| message.headers().get("customer").unwrap_or_default().into());
    let options = EngineOptions::new().logger(|event| match event {
        Event::Connected => {}
        event => println!("  {event:?}"),
    });
    let shop = fanfeed_kafka::connect(config.clone(), options.clone())?;
    let branches = [
        fanfeed_kafka::connect(config.clone(), options.clone())?,
        fanfeed_kafka::connect(config, options)?,
    ];

    let audited = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&audited);
    let _auditor = shop.subscribe("orders", move |_, _| {
        counting.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })?;
    let handled = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for (branch, handled) in branches.iter().zip(&handled) {
        let handled = Arc::clone(handled);
        workers.push(branch.subscribe_group("orders", "billing", move |_, _| {
            handled.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })?);
    }

    for n in 0..ORDERS {
        let message = Message::new("orders", format!("order {n}"))
            .name("OrderPlaced")
            .header("customer", format!("customer {}", n % 50));
        shop.publish(message)?;
    }
    shop.flush(PATIENCE)?;
    println!("{ORDERS} orders are on the cluster");

    let deadline = Instant::now() + PATIENCE;
    let counts = || [&audited, &handled[0], &handled[1]].map(|count| count.load(Ordering::Relaxed));
    loop {
        let [seen, one, two] = counts();
        if seen >= ORDERS && one + two >= ORDERS {
            println!("the auditor saw {seen}; the workers handled {one} and {two}");
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("too late: {:?}", counts()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for broker in branches.iter().chain([&shop]) {
        broker.close(PATIENCE)?;
    }
    drop(mock);
    Ok(())
}
