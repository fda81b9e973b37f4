//! Flights replayed through a broker to a group of workers, on the driver that one argument names.
//!
//! ```text
//! cargo run -p fanfeed-examples --bin flights -- memory:
//! cargo run -p fanfeed-examples --bin flights -- redis://localhost:6379
//! cargo run -p fanfeed-examples --bin flights -- nats://localhost:4222  # JetStream, or ?mode=core
//! cargo run -p fanfeed-examples --bin flights -- kafka://localhost:9092
//! ```
//!
//! With a server, the workers are three processes, of which one is killed in the middle. Where a
//! group is served at least once, every flight is nevertheless counted; where at most once, the
//! program says how many are missing. In memory they are three subscriptions of this process, of
//! which one leaves.

use std::collections::HashMap;
use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanfeed_broker::{
    Broker, BrokerSubscription, Context, Delivery, Message, Subscribe, SubscribeOptions,
};
use fanfeed_examples::connect;

type Failure = Box<dyn Error + Send + Sync>;

const FLIGHTS: &str = include_str!("../../../../examples/data/flights.csv");
const WORKERS: usize = 3;
/// How long the last results may take: a killed worker is found by a timeout of its server.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [url] => replay(url),
        ["worker", url, run, name] => work_until_killed(url, run, name),
        _ => Err("usage: flights URL, such as memory: or redis://localhost".into()),
    }
}

/// A worker: turns a flight into the airport that it left, under the key of the results.
fn work(broker: &Arc<dyn Broker>, run: &str, name: &str) -> Result<BrokerSubscription, Failure> {
    let (out, name) = (Arc::clone(broker), name.to_owned());
    let results = format!("results.{run}");
    let handler = move |message: &Message, _: &Context| {
        let line = std::str::from_utf8(message.payload())?;
        let origin = line.split(',').nth(ORIGIN).unwrap_or("?").to_owned();
        let number = message.headers().get("number").unwrap_or("0").to_owned();
        let result = Message::new(results.as_str(), origin)
            .header("number", number)
            .header("worker", name.as_str());
        // Confirmed, for a flight counts as handled when this returns.
        out.publish_confirmed(result, Duration::from_secs(10))?;
        Ok(())
    };
    let request = Subscribe::new(format!("flights.{run}"), handler)
        .group("workers")
        .options(SubscribeOptions::new().buffer(1 << 17).concurrency(8));
    let subscription = broker.subscribe_with(request)?;
    subscription.ready(PATIENCE)?;
    Ok(subscription)
}

fn work_until_killed(url: &str, run: &str, name: &str) -> Result<(), Failure> {
    let broker = connect(url)?;
    let _subscription = work(&broker, run, name)?;
    println!("ready");
    // Until its parent is gone, which closes the pipe.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    broker.close(Duration::from_secs(5))?;
    Ok(())
}

enum Worker {
    Process(Child),
    Here(BrokerSubscription),
}

impl Worker {
    fn start(broker: &Arc<dyn Broker>, url: &str, run: &str, name: &str) -> Result<Self, Failure> {
        if !broker.capabilities().remote {
            return Ok(Self::Here(work(broker, run, name)?));
        }
        let mut child = Command::new(std::env::current_exe()?)
            .args(["worker", url, run, name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        }
        match line.trim() {
            "ready" => Ok(Self::Process(child)),
            _ => Err("a worker did not start".into()),
        }
    }

    /// Kills it, or lets it leave.
    fn end(self) {
        match self {
            Self::Process(mut child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Here(subscription) => subscription.unsubscribe(),
        }
    }
}

/// Where each flight left, and how many each worker did.
#[derive(Default)]
struct Results {
    origins: HashMap<usize, String>,
    workers: HashMap<String, usize>,
    twice: usize,
}

/// The column of the airport that a flight left.
const ORIGIN: usize = 3;

fn replay(url: &str) -> Result<(), Failure> {
    let broker = connect(url)?;
    let run = std::process::id().to_string();
    let results = Arc::new(Mutex::new(Results::default()));
    let collected = Arc::clone(&results);
    let collect = move |message: &Message, _: &Context| {
        let number: usize = message.headers().get("number").unwrap_or("0").parse()?;
        let worker = message.headers().get("worker").unwrap_or("?").to_owned();
        let origin = std::str::from_utf8(message.payload())?.to_owned();
        let mut results = collected.lock().unwrap_or_else(|error| error.into_inner());
        *results.workers.entry(worker).or_default() += 1;
        if results.origins.insert(number, origin).is_some() {
            results.twice += 1;
        }
        Ok(())
    };
    let request = Subscribe::new(format!("results.{run}"), collect)
        .options(SubscribeOptions::new().buffer(1 << 17));
    let collector = broker.subscribe_with(request)?;
    collector.ready(PATIENCE)?;
    let mut workers = Vec::new();
    for n in 1..=WORKERS {
        workers.push(Worker::start(&broker, url, &run, &format!("worker {n}"))?);
    }
    let flights: Vec<&str> = FLIGHTS.lines().skip(1).collect();
    let began = Instant::now();
    for (number, flight) in flights.iter().enumerate() {
        let message = Message::new(format!("flights.{run}"), flight.to_string())
            .name("Departed")
            .header("number", number.to_string());
        broker.publish(message)?;
        if number == flights.len() / 2 {
            workers.remove(0).end();
        }
        if number % (flights.len() / 10).max(1) == 0 {
            eprintln!("published {number} of {}", flights.len());
        }
    }
    broker.flush(PATIENCE)?;
    let count = || {
        let results = results.lock().unwrap_or_else(|error| error.into_inner());
        results.origins.len()
    };
    let deadline = Instant::now() + PATIENCE;
    let certain =
        broker.capabilities().group == Delivery::AtLeastOnce || !broker.capabilities().remote;
    // At most once, what the killed worker had is gone: the count stops short.
    let mut last = (count(), Instant::now());
    while count() < flights.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        if count() != last.0 {
            last = (count(), Instant::now());
        } else if !certain && last.1.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    let took = began.elapsed();
    workers.into_iter().for_each(Worker::end);
    let results = results.lock().unwrap_or_else(|error| error.into_inner());
    let counted = results.origins.len();
    println!(
        "{}: {counted} of {} flights counted in {took:.1?}, {:.0} a second, {} twice",
        broker.driver(),
        flights.len(),
        counted as f64 / took.as_secs_f64(),
        results.twice,
    );
    let mut origins: HashMap<&str, usize> = HashMap::new();
    for origin in results.origins.values() {
        *origins.entry(origin).or_default() += 1;
    }
    let mut origins: Vec<_> = origins.into_iter().collect();
    origins.sort_by_key(|(_, flights)| std::cmp::Reverse(*flights));
    println!("most flights: {:?}", &origins[..origins.len().min(3)]);
    let mut workers: Vec<_> = results.workers.iter().collect();
    workers.sort();
    println!("done by: {workers:?} (the first was ended half way)");
    if certain && counted < flights.len() {
        return Err(format!("{} flights are missing", flights.len() - counted).into());
    }
    Ok(())
}
