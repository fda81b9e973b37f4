//! How long a broadcast takes to reach its members, with and without one that does not read.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::Scale;
use crate::figures::Rounds;
use crate::fleet::Fleet;
use crate::own::{self, Own};

const PACE: Duration = Duration::from_millis(20);

/// The 99th percentile with one slow member among the others, beside that without one.
pub(crate) async fn run(scale: &Scale) {
    let mut fleet = Fleet::start();
    let own = Own::with_slow_members().await;
    fleet.join(
        "quick",
        "channel",
        scale.members,
        own.address(),
        "/ws/quick",
    );
    fleet.join(
        "mixed",
        "channel",
        scale.members - 1,
        own.address(),
        "/ws/mixed",
    );
    fleet.ask(&format!("stall slow {} /ws/mixed", own.address()));
    own.wait_for_members("mixed", scale.members).await;
    // Until the queue of the slow member is full. The others read what is sent before more is.
    let mut sent = [0, 0];
    while own.dropped() == 0 {
        own.broadcast("mixed", &own::news(16 * 1024));
        sent[1] += 1;
        fleet.wait_for("mixed", sent[1]);
    }
    fleet.latency("mixed");
    let (mut with, mut without, mut ratios) = <(Rounds, Rounds, Rounds)>::default();
    for round in 0..=scale.rounds {
        let mut figures = [0.0; 2];
        for (at, group) in ["quick", "mixed"].into_iter().enumerate() {
            let mut pace = interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for _ in 0..scale.paced {
                pace.tick().await;
                own.broadcast(group, &own::news(200));
            }
            sent[at] += scale.paced as u64;
            fleet.wait_for(group, sent[at]);
            figures[at] = fleet.latency(group).p99;
        }
        if round > 0 {
            without.push(figures[0]);
            with.push(figures[1]);
            ratios.push(figures[1] / figures[0]);
        }
    }
    // Each missed broadcast was that of the slow member.
    own.wait_for_members("mixed", scale.members).await;
    println!(
        "99th percentile of a broadcast to {} members, µs",
        scale.members
    );
    println!("  {:<34} {:>28}", "all read", without.told());
    println!(
        "  {:<34} {:>28} {:>8.2}",
        "one does not read",
        with.told(),
        ratios.median()
    );
    own.stop().await;
}
