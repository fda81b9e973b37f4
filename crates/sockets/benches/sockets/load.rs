//! 5,000 connections on one machine, which come and go; and hostile clients, beside others that
//! must not notice.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::Scale;
use crate::figures::resident;
use crate::fleet::{Fleet, Latency};
use crate::hostile;
use crate::own::{self, Own};

const CONNECTIONS: usize = 5000;
/// What an idle connection may take.
const LIMIT: u64 = 24 * 1024;
/// Members whose latency is watched.
const OTHERS: usize = 100;
const PACE: Duration = Duration::from_millis(20);
/// No machine is so slow that a broadcast to a hundred members takes longer, unless something holds
/// them back.
const NEVER: f64 = 2e6;

pub(crate) async fn run(scale: &Scale) {
    let mut fleet = Fleet::start();
    let own = Own::start().await;
    // What the first connections allocate for all.
    fleet.join("others", "channel", OTHERS, own.address(), "/ws/others");
    own.wait_for_members("others", OTHERS).await;
    idle(&mut fleet, &own).await;
    let count = Duration::from_millis(scale.load).as_micros() / PACE.as_micros();
    let mut attackers = Fleet::start();
    let mut watch = Watch {
        own: &own,
        attackers: &mut attackers,
        group: "others",
        count: count as usize,
        sent: 0,
    };
    println!("  µs of a broadcast to {OTHERS} others, beside");
    println!(
        "  {:<34} {:>10} {:>10} {:>10}",
        "", "median", "p99", "longest"
    );
    watch
        .during(&mut fleet, "5,000 idle connections", None)
        .await;
    let churn = format!("churn {} {} /ws/churn", scale.load, own.address());
    let answer = watch
        .during(&mut fleet, "and others that come and go", Some(&churn))
        .await;
    println!("  {:<34} {answer} joined and left", "");
    own.wait_for_members("churn", 0).await;
    assert_eq!(own.connections(), CONNECTIONS + OTHERS);
    attacks(&mut fleet, scale.attackers, count as usize).await;
    fleet.ask("leave idle");
    own.wait_for_connections(OTHERS).await;
    own.stop().await;
}

/// Hostile clients of each kind, beside members that must not notice.
async fn attacks(fleet: &mut Fleet, number: usize, count: usize) {
    let own = Own::under_attack().await;
    let address = own.address();
    fleet.join("watched", "channel", OTHERS, address, "/ws/others");
    own.wait_for_members("others", OTHERS).await;
    let mut attackers = Fleet::start();
    let mut watch = Watch {
        own: &own,
        attackers: &mut attackers,
        group: "watched",
        count,
        sent: 0,
    };
    watch.during(fleet, "nothing", None).await;
    for kind in hostile::KINDS {
        let command = format!("hostile {kind} {number} {address} /ws/hostile");
        let outcome = watch.during(fleet, kind, Some(&command)).await;
        println!("  {:<34} {outcome}", "");
        hostile::check(kind, number, &outcome);
    }
    own.wait_for_connections(OTHERS).await;
    own.stop().await;
}

/// Opens the connections, and states what each of them takes of the server's memory.
async fn idle(fleet: &mut Fleet, own: &Own) {
    let (before, started) = (resident(), Instant::now());
    // 10 channels, with a member of each that does nothing.
    for channel in 0..10 {
        let command = format!(
            "hold idle {} {} /ws/idle{channel}",
            CONNECTIONS / 10,
            own.address()
        );
        fleet.ask(&command);
    }
    own.wait_for_connections(CONNECTIONS + OTHERS).await;
    let took = started.elapsed();
    let each = resident().saturating_sub(before) / CONNECTIONS as u64;
    println!(
        "{CONNECTIONS} connections in {:.1} s, {:.1} KiB of memory for each that is idle",
        took.as_secs_f64(),
        each as f64 / 1024.0
    );
    assert!(each <= LIMIT, "an idle connection takes {each} bytes");
}

/// Broadcasts at a pace to members whose latency is watched.
struct Watch<'a> {
    own: &'a Own,
    /// Other clients, in a process of their own: the members are not to share its thread.
    attackers: &'a mut Fleet,
    group: &'a str,
    /// How many broadcasts at least.
    count: usize,
    sent: u64,
}

impl Watch<'_> {
    /// Broadcasts until the command has ended, and prints what the others felt. Returns the answer
    /// to the command.
    async fn during(&mut self, fleet: &mut Fleet, beside: &str, command: Option<&str>) -> String {
        let attackers = &mut *self.attackers;
        if let Some(command) = command {
            attackers.begin(command);
        }
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut answer, mut sent) = (None, 0);
        while sent < self.count || (command.is_some() && answer.is_none()) {
            pace.tick().await;
            self.own.broadcast("others", &own::news(200));
            sent += 1;
            answer = answer.or_else(|| command.and_then(|_| attackers.poll_answer()));
        }
        self.sent += sent as u64;
        fleet.wait_for(self.group, self.sent);
        let Latency {
            median,
            p99,
            longest,
            ..
        } = fleet.latency(self.group);
        println!("  {beside:<34} {median:>10.0} {p99:>10.0} {longest:>10.0}");
        assert!(
            p99 < NEVER,
            "{beside}: 99 of 100 broadcasts took up to {p99} µs"
        );
        answer.unwrap_or_default()
    }
}
