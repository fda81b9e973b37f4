use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::envelope::{Change, Entry};
use super::super::events::NodeEvent;
use super::{Effects, Remote, SWEEPS};

const INTERVAL: Duration = Duration::from_secs(1);

fn entry(client: &str) -> Entry {
    Entry {
        client: client.into(),
        channel: "room".into(),
        user: String::new(),
        app: String::new(),
        expires: None,
    }
}

fn told(effects: &Effects) -> Vec<String> {
    let each = effects.events.iter();
    each.map(|event| match event {
        NodeEvent::Joined(at) => format!("+{}", at.client_id),
        NodeEvent::Left(at) => format!("-{}", at.client_id),
        NodeEvent::NodeUp(node) => format!("up {node}"),
        NodeEvent::NodeLeft(node) => format!("left {node}"),
        NodeEvent::NodeSilent(node) => format!("silent {node}"),
        other => panic!("{other}"),
    })
    .collect()
}

fn start() -> (Remote, Instant) {
    let now = Instant::now();
    (Remote::new(Arc::from("own"), INTERVAL, now), now)
}

fn join(client: &str) -> Vec<Change> {
    vec![Change::Join(entry(client))]
}

#[test]
fn changes_follow_one_another() {
    let (mut remote, now) = start();
    assert_eq!(
        told(&remote.changes("b", (0, 1), join("x"), now)),
        ["up b", "+x"]
    );
    assert_eq!(told(&remote.changes("b", (1, 2), join("y"), now)), ["+y"]);
    let leave = vec![Change::Leave("x".into())];
    assert_eq!(told(&remote.changes("b", (2, 3), leave, now)), ["-x"]);
    assert_eq!(remote.node_of("y").as_deref(), Some("b"));
    assert_eq!(remote.members("room").len(), 1);
    // One that comes again changes nothing.
    let again = remote.changes("b", (1, 2), join("x"), now);
    assert!(told(&again).is_empty() && !again.wants_snapshot);
}

#[test]
fn what_was_lost_is_repaired_by_a_snapshot() {
    let (mut remote, now) = start();
    remote.changes("b", (0, 1), join("x"), now);
    let late = remote.changes("b", (2, 3), join("z"), now);
    assert!(told(&late).is_empty() && late.wants_snapshot);
    // It is not asked for again at once.
    assert!(!remote.beat("b", 1000, 3, now).wants_snapshot);
    assert!(remote.beat("b", 1000, 3, now + INTERVAL).wants_snapshot);
    let first = remote.snapshot("b", 1000, 3, (0, 2), vec![entry("y")], now);
    assert!(told(&first).is_empty());
    let second = remote.snapshot("b", 1000, 3, (1, 2), vec![entry("z")], now);
    assert_eq!(told(&second), ["-x", "+y", "+z"]);
    assert_eq!(told(&remote.changes("b", (3, 4), join("w"), now)), ["+w"]);
    // A snapshot that is older than what is known is ignored, and so is one without its beginning.
    assert!(told(&remote.snapshot("b", 1000, 3, (0, 1), vec![], now)).is_empty());
    assert!(told(&remote.snapshot("b", 1000, 9, (1, 2), vec![], now)).is_empty());
    assert_eq!(remote.members_count(), 3);
}

/// Sweeps as often as a node does, from `from` to `to` quarters of an interval after `start`.
/// Returns what is told.
fn sweep(remote: &mut Remote, start: Instant, from: u32, to: u32) -> Vec<String> {
    (from..=to)
        .flat_map(|quarter| told(&remote.sweep(start + quarter * INTERVAL / SWEEPS)))
        .collect()
}

#[test]
fn a_node_that_is_silent_for_three_intervals_is_dead_and_may_come_back() {
    let (mut remote, now) = start();
    remote.beat("b", 1000, 0, now);
    remote.changes("b", (0, 1), join("x"), now);
    assert!(sweep(&mut remote, now, 1, 12).is_empty());
    assert_eq!(sweep(&mut remote, now, 13, 13), ["-x", "silent b"]);
    assert!(!remote.has_channel("room"));
    let back = remote.beat("b", 1000, 1, now + 5 * INTERVAL);
    assert_eq!(told(&back), ["up b"]);
    assert!(back.wants_snapshot);
}

#[test]
fn a_node_that_sends_anything_lives() {
    let (mut remote, now) = start();
    remote.beat("b", 1000, 0, now);
    assert!(sweep(&mut remote, now, 1, 10).is_empty());
    remote.lives("b", now + 10 * INTERVAL / SWEEPS);
    assert!(sweep(&mut remote, now, 11, 22).is_empty());
    assert_eq!(sweep(&mut remote, now, 23, 23), ["silent b"]);
    // That alone makes no node known.
    remote.lives("b", now + 6 * INTERVAL);
    assert!(!remote.knows("b"));
}

#[test]
fn a_node_that_was_stopped_itself_takes_nobody_for_dead() {
    let (mut remote, now) = start();
    remote.beat("b", 1000, 0, now);
    assert!(told(&remote.sweep(now + 60 * INTERVAL)).is_empty());
    // It was stopped for all but a quarter of an interval.
    assert!(sweep(&mut remote, now, 241, 251).is_empty());
    assert_eq!(sweep(&mut remote, now, 252, 252), ["silent b"]);
}

#[test]
fn a_node_that_is_stopped_for_short_times_takes_nobody_for_dead() {
    for stops in [&[12, 31][..], &[19, 38, 57], &[6, 12, 18, 24, 30, 36]] {
        let (mut remote, now) = start();
        remote.beat("b", 1000, 0, now);
        for tenth in stops {
            let effects = remote.sweep(now + *tenth * INTERVAL / 10);
            assert!(told(&effects).is_empty(), "{stops:?} at {tenth}");
        }
    }
}

#[test]
fn a_node_that_said_goodbye_stays_away() {
    let (mut remote, now) = start();
    remote.changes("b", (0, 1), join("x"), now);
    assert_eq!(told(&remote.bye("b")), ["-x", "left b"]);
    assert!(told(&remote.beat("b", 1000, 1, now)).is_empty());
    assert!(told(&remote.bye("b")).is_empty());
    assert!(told(&remote.beat("own", 1000, 1, now)).is_empty());
}
