//! An order service in two processes, which are two codebases with types of their own: the service
//! of `cargo run -p fanfeed-bus --example order_service`, with its payments elsewhere.
//!
//! ```text
//! cd crates/examples
//! cargo run --bin shop -- billing redis://localhost:6379
//! cargo run --bin shop -- orders redis://localhost:6379 20
//! cargo run --bin shop -- orders redis://localhost:6379 20 v1  # an older release
//! ```
//!
//! `nats://localhost:4222` and `kafka://localhost:9092` work too. `goevent:localhost:6379`
//! exchanges events with Go services, and `pubsub:localhost:6379` with programs that read the
//! envelope in `fanfeed_bus::docs::envelope`.
//!
//! `orders` waits for the payment of each order, because the answer depends on it. It does not wait
//! for the mails and the analytics. The bus collects the errors, and the program shows them. A
//! feature flag unregisters the analytics while orders are placed.
//!
//! Several `billing` processes share the orders, as a group, unless the broker has no groups
//! (pub/sub): there each bills all. If one is killed, the others get what it had not finished,
//! where the broker keeps events: over Redis after 15 s, over NATS after 30 s (`?heartbeat=1s`,
//! `?ack_wait=2s`).
//!
//! `billing` ends at SIGTERM. It then has two seconds to finish what it has taken; other processes
//! of the group get the rest.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use fanfeed_bus::{BusOptions, EventBus, GoEvent, RedisConfig, RemoteOptions, Wire};
use fanfeed_examples::connect;

mod billing;
mod orders;

/// How long a process may take to end.
const GRACE: Duration = Duration::from_secs(2);
/// How long the server, or a payment, may be waited for. Over Redis it takes 15 s until a member
/// that was killed counts as dead.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the bank and the mail server take to answer.
const QUICK: Duration = Duration::from_millis(1);
const STUCK: Duration = Duration::from_secs(3600);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["orders", url, count] => orders::run(&open(url)?, count.parse()?, false, QUICK),
        ["orders", url, count, "v1"] => orders::run(&open(url)?, count.parse()?, true, QUICK),
        ["orders", url, count, "stuck"] => orders::run(&open(url)?, count.parse()?, false, STUCK),
        ["billing", url] => billing::run(&open(url)?, QUICK),
        ["billing", url, "stuck"] => billing::run(&open(url)?, STUCK),
        _ => Err("shop orders URL COUNT [v1|stuck], or shop billing URL [stuck]".into()),
    }
}

/// The bus of a URL.
fn open(url: &str) -> Result<EventBus, Failure> {
    let local = BusOptions::new().logger(|event| eprintln!("{event}"));
    let options = RemoteOptions::new().bus(local);
    let redis = |address: &str, wire| {
        let config = RedisConfig::new().address(address).wire(wire);
        let config = config.dial_timeout(PATIENCE);
        EventBus::from_config(config.options(options.clone()))
    };
    Ok(match url.split_once(':') {
        Some(("pubsub", address)) => redis(address, Wire::PubSub)?,
        Some(("goevent", address)) => redis(address, Wire::GoEvent(GoEvent::new()))?,
        _ => options.over(connect(url)?),
    })
}
