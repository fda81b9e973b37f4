//! 200 broadcasts a second to 1,000 members for a minute: nothing is dropped.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::Scale;
use crate::figures::processor;
use crate::fleet::Fleet;
use crate::own::{self, Own};

const PACE: Duration = Duration::from_millis(5);

pub(crate) async fn run(scale: &Scale) {
    let mut fleet = Fleet::start();
    let own = Own::start().await;
    fleet.join("room", "channel", scale.members, own.address(), "/ws/room");
    own.wait_for_members("room", scale.members).await;
    let (began, started) = (processor(), Instant::now());
    let mut pace = interval(PACE);
    // What a stall of this machine holds back is sent after it, so that the number comes out.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = scale.seconds * 200;
    for _ in 0..count {
        pace.tick().await;
        own.broadcast("room", &own::news(200));
    }
    let took = started.elapsed();
    fleet.wait_for("room", count);
    let latency = fleet.latency("room");
    assert_eq!(latency.count, count * scale.members as u64);
    assert_eq!(own.dropped(), 0, "the server dropped messages");
    println!(
        "{count} broadcasts in {:.1} s to {} members: {} messages arrived, 0 were dropped",
        took.as_secs_f64(),
        scale.members,
        latency.count
    );
    println!(
        "  µs from the broadcast: median {:.0}, p99 {:.0}, longest {:.0}; the server took {:.0} % of a core",
        latency.median,
        latency.p99,
        latency.longest,
        (processor() - began) as f64 / took.as_nanos() as f64 * 100.0
    );
    own.stop().await;
}
