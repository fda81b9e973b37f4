//! The cases of the Autobahn test suite, run by `kosoku`: of frames, fragments, UTF-8 and closing.
//!
//! A case expects its messages back, which a server of channels does not do: it answers them with error messages. So the
//! messages of a case are not compared. Everything else is: pings and pongs in their order, which side closes or fails the
//! connection, the close code, and whether the connection ends as it should. Cases that go on only when their message is
//! back are given up by `kosoku`, and tell nothing here.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfeed_sockets::{Client, JoinOptions};
use fanfeed_testkit::{Folder, Program};
use serde_json::Value;

use crate::room::Room;

/// Cases that are not run: of performance, whose messages are larger than a channel's; and of compression, which is not
/// negotiated.
const LEFT_OUT: [&str; 3] = ["9.*", "12.*", "13.*"];
/// All others.
const CASES: usize = 247;
/// Those of them that do not wait for a message.
const JUDGED: usize = 166;

const LONG: Duration = Duration::from_secs(300);

fn arguments<'a>(mode: &'a str, at: &'a str, folder: &'a Path) -> Vec<&'a str> {
    let folder = folder.to_str().expect("it is UTF-8");
    let left_out = LEFT_OUT.iter().flat_map(|cases| ["-x", cases]);
    let given = ["-m", mode, "-o", folder, "-p", "16", at];
    left_out.chain(given).collect()
}

/// Runs the cases against a server.
#[track_caller]
fn against_server(url: &str, folder: &Path) {
    let mut program = Program::kosoku(&arguments("fuzzingclient", url, folder));
    // It fails if a case does, and all do by its own judgement.
    program.wait(LONG);
    judge(folder);
}

/// Serves the cases to the client.
#[track_caller]
fn against_client(folder: &Path) {
    let mut program = Program::kosoku(&arguments("fuzzingserver", "127.0.0.1:0", folder));
    let line = program.wait_for_error("listening on ws://");
    let (_, address) = line.split_once("ws://").expect("an address");
    let host = format!("ws://{address}");
    let next = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let client = Client::builder().no_reconnect().build_blocking();
                let client = client.expect("a client");
                loop {
                    // ORDERING: each number is taken once.
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case > CASES {
                        break;
                    }
                    let options = JoinOptions::new().param("case", case.to_string());
                    let room = client.join(&host, "runCase", options.param("agent", "fanfeed"));
                    room.expect("joined").over().expect("it runs");
                }
            });
        }
    });
    let client = Client::builder().no_reconnect().build_blocking();
    let options = JoinOptions::new().param("agent", "fanfeed");
    let end = client
        .expect("a client")
        .join(&host, "updateReports", options);
    end.expect("joined").over().expect("it runs");
    program.wait(LONG);
    judge(folder);
}

/// Reads the report, and fails with each case that did not end as it should.
#[track_caller]
fn judge(folder: &Path) {
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
    let (mut judged, mut failed) = (0, Vec::new());
    for (id, entry) in cases {
        let report = read(entry["reportfile"].as_str().expect("a name"));
        if report["failedByMe"] == true && waits_for_message(&report["expected"]) {
            continue;
        }
        judged += 1;
        let closed = matches!(
            report["behaviorClose"].as_str(),
            Some("OK" | "INFORMATIONAL")
        );
        let received = control_frames(&report["received"]);
        let expected = report["expected"].as_object().expect("an object");
        let as_expected = expected
            .values()
            .any(|events| control_frames(events) == received);
        // Cases without an expectation only look at the close.
        if !closed || !(as_expected || expected.is_empty()) {
            failed.push(format!(
                "{id}: {} ({}, code {}); received {received:?}",
                report["behaviorClose"], report["resultClose"], report["remoteCloseCode"]
            ));
        }
    }
    assert_eq!(judged, JUDGED, "cases were judged");
    assert!(
        failed.is_empty(),
        "{} cases failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// What a list of events has beside messages.
fn control_frames(events: &Value) -> Vec<&Value> {
    let events = events.as_array().map(Vec::as_slice).unwrap_or_default();
    events
        .iter()
        .filter(|event| event[0] != "message")
        .collect()
}

/// Whether each of the expectations has a message.
fn waits_for_message(expected: &Value) -> bool {
    let mut expectations = expected.as_object().expect("an object").values();
    expectations.all(|events| control_frames(events).len() < events.as_array().map_or(0, Vec::len))
}

#[test]
fn the_server_closes_and_answers_pings_as_it_should() {
    let room = Room::open();
    let folder = Folder::new("autobahn");
    against_server(&room.url("autobahn"), folder.path());
}

#[test]
fn the_client_closes_and_answers_pings_as_it_should() {
    let folder = Folder::new("autobahn");
    against_client(folder.path());
}
