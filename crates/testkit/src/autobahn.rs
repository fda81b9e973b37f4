//! The cases of the Autobahn test suite about frames, fragments, UTF-8 and closing, run by
//! `kosoku`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Program;

/// Cases that are not run.
const LEFT_OUT: [(&str, &str); 3] = [
    (
        "9.*",
        "of performance: their messages are larger than a channel's",
    ),
    (
        "12.*",
        "of compression, which the protocol of the channels does not negotiate",
    ),
    ("13.*", "of compression, too"),
];

/// Cases that a peer which sends only text cannot pass: they expect their binary message back, and
/// the message is not UTF-8 (or is empty). The protocol of the channels accepts binary messages and
/// sends none.
const BINARY: &str = "1.2.";

/// The cases that are run.
pub const CASES: usize = 247;

/// How the messages of a case are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// The peer sends the messages back. The result of `kosoku` counts.
    Echo,
    /// The peer answers with other messages, which are not compared. Everything else is compared:
    /// pings and pongs in their order, which side closes or fails the connection, the close code,
    /// and whether the connection ends as it should. `kosoku` gives up cases that continue only
    /// when their message is back, and these prove nothing.
    Frames,
}

const LONG: Duration = Duration::from_secs(300);

fn start(mode: &str, at: &str, folder: &Path) -> Program {
    let folder = folder.to_str().expect("it is UTF-8");
    let left_out = LEFT_OUT.iter().flat_map(|(cases, _)| ["-x", cases]);
    let given = ["-m", mode, "-o", folder, "-p", "16", at];
    let arguments: Vec<_> = left_out.chain(given).collect();
    Program::kosoku(&arguments)
}

/// Runs the cases against a server, and returns how many of them were judged.
///
/// # Panics
/// If a case did not end as it should. The message names each of them.
#[track_caller]
pub fn against_server(url: &str, folder: &Path, how: Judge) -> usize {
    at_most_twice(folder, how, |folder| {
        // Its exit code is 0 even if cases failed.
        start("fuzzingclient", url, folder).wait(LONG);
    })
}

/// Serves the cases to a client. `run` is called with the host. For each number from 1 to [`CASES`]
/// it joins the channel `runCase` with the parameter `case`, and at the end it joins
/// `updateReports`. Both have the parameter `agent`. Returns how many cases were judged.
///
/// # Panics
/// If a case did not end as it should. The message names each of them.
#[track_caller]
pub fn against_client(folder: &Path, how: Judge, run: impl Fn(&str)) -> usize {
    at_most_twice(folder, how, |folder| {
        let mut program = start("fuzzingserver", "127.0.0.1:0", folder);
        let line = program.wait_for_error("listening on ws://");
        let (_, address) = line.split_once("ws://").expect("an address");
        run(&format!("ws://{address}"));
        program.wait(LONG);
    })
}

/// Runs the cases, and again if some fail: `kosoku` gives its peer a second for each step, which a
/// machine that does other things may take from it. A case that fails again has failed.
#[track_caller]
fn at_most_twice(folder: &Path, how: Judge, run: impl Fn(&Path)) -> usize {
    let runs = ["first", "second"].map(|name| folder.join(name));
    let judged = |folder: &Path| {
        std::fs::create_dir(folder).expect("the folder is new");
        run(folder);
        judge(folder, how)
    };
    let (count, mut failed) = judged(&runs[0]);
    if !failed.is_empty() {
        let (_, again) = judged(&runs[1]);
        failed.retain(|id, _| again.contains_key(id));
    }
    let texts: Vec<_> = failed.into_values().collect();
    assert!(
        texts.is_empty(),
        "{} cases failed:\n{}",
        texts.len(),
        texts.join("\n")
    );
    count
}

/// Reads the report. Returns how many cases were judged, and what is wrong with those that failed.
#[track_caller]
fn judge(folder: &Path, how: Judge) -> (usize, BTreeMap<String, String>) {
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder.join(name));
        let text = text.unwrap_or_else(|error| panic!("the report lacks {name}: {error}"));
        serde_json::from_str(&text).expect("the report is JSON")
    };
    let index = read("index.json");
    let mut agents = index.as_object().expect("an object").values();
    let cases = agents.next().and_then(Value::as_object).expect("an agent");
    assert!(agents.next().is_none(), "there is one agent");
    assert_eq!(cases.len(), CASES, "cases were run");
    let (mut judged, mut failed) = (0, BTreeMap::new());
    for (id, entry) in cases {
        let report = read(entry["reportfile"].as_str().expect("a name"));
        let as_expected = match how {
            Judge::Echo if id.starts_with(BINARY) => continue,
            Judge::Echo => is_good(&entry["behavior"]),
            Judge::Frames => {
                if report["failedByMe"] == true && waits_for_message(&report["expected"]) {
                    continue;
                }
                let received = control_frames(&report["received"]);
                let expected = report["expected"].as_object().expect("an object");
                // Cases without an expectation only check the close.
                expected.is_empty()
                    || expected
                        .values()
                        .any(|events| control_frames(events) == received)
            }
        };
        judged += 1;
        if !as_expected || !is_good(&entry["behaviorClose"]) {
            let text = format!(
                "{id}: {} ({}), close {} ({}, code {}); received {}",
                entry["behavior"],
                report["result"],
                report["behaviorClose"],
                report["resultClose"],
                report["remoteCloseCode"],
                report["received"]
            );
            failed.insert(id.clone(), text);
        }
    }
    (judged, failed)
}

/// `NON-STRICT` is behaviour that the specification allows but does not prefer.
fn is_good(behavior: &Value) -> bool {
    matches!(
        behavior.as_str(),
        Some("OK" | "NON-STRICT" | "INFORMATIONAL")
    )
}

/// Returns the events of a list other than messages.
fn control_frames(events: &Value) -> Vec<&Value> {
    let events = events.as_array().map(Vec::as_slice).unwrap_or_default();
    events
        .iter()
        .filter(|event| event[0] != "message")
        .collect()
}

/// Whether each of the expectations contains a message.
fn waits_for_message(expected: &Value) -> bool {
    let mut expectations = expected.as_object().expect("an object").values();
    expectations.all(|events| control_frames(events).len() < events.as_array().map_or(0, Vec::len))
}
