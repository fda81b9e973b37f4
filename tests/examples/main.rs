//! The short examples print what they promise. `flights` has its own tests.

mod flights;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// An example that runs for longer than this hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// What each example prints.
const OUTPUTS: &[(&str, &str)] = &[
    (
        "acknowledged",
        "\
1: [(\"double\", 2), (\"square\", 1), (\"successor\", 2)]
2: [(\"double\", 4), (\"square\", 4), (\"successor\", 3)]
3: [(\"double\", 6), (\"square\", 9), (\"successor\", 4)]
",
    ),
    (
        "join",
        "\
indoors [0, 1, 2]
outdoors [0, 1]
the subscription's producer failed: the outer sensor has lost its battery
indoors has ended too: true
3 of 3 have ended
",
    ),
    (
        "mux",
        "\
joined reached: [Ok(2), Ok(2)]
said reached: Ok(1)
42 reached: Ok(0)
after stop: Err(Closed(..))
joined: 2
mux  | Ada is here
mux  | Kurt is here
mux  | Ada: It has no pretensions.
feed | Ada is here
feed | Ada: Much better.
",
    ),
    (
        "resubscribe",
        "\
attempt 1
attempt 2, because the subscription's producer failed: the server is busy
attempt 3, because the subscription's producer failed: the server is busy
attempt 4, because the subscription's producer failed: the line broke
failed: false
received [30, 40, 41]
",
    ),
    (
        "ring",
        "\
sum 500500
sum 500500
last Some(1000)
every price accounted for: true
channels reached: 2
readers informed: 1000
archived: Ok(\"harvest is in\")
the ring has ended: true
",
    ),
    (
        "scope",
        "\
twos [2, 4, 6, 8]
sevens [7, 14, 21, 28]
2 subscriptions
1 subscription
the other has ended: true
nothing more of it: true
a new one is refused: true
",
    ),
    (
        "select",
        "\
last price: Some(1190)
headlines: [\"harvest is late\", \"harvest is in\"]
",
    ),
    (
        "source",
        "\
[\"gold 1\", \"zinc 2\", \"iron 4\"]
gold has ended: true, after 1
metals: the subscription's producer failed: the line broke
line 1, None
line 2, Some(\"the subscription's producer failed: the line broke\")
resubscription has ended: true
",
    ),
    (
        "spawn",
        "\
from the endless one: [0, 1, 2, 3, 4]
unsubscribed, and nobody sends: true
from the failing one: [0, 1, 2]
the subscription's producer failed: there is no 3
from the short one: [0, 1, 2, 3]
it has ended well
",
    ),
    (
        "stages",
        "\
stopped at order Some(600), to go on at position 600
went on with Ok((600, 601))
stopped at order Some(1000)
values before the engine: 0
written 1000
written 1000
",
    ),
    (
        "static_feed",
        "\
reached after the end: 0
all: [3, 7, 5]
highest: Some(7)
",
    ),
    (
        "sync_async",
        "\
deliveries: 300
sum in the thread: 5050
sum in the stream: 5050
sum behind tokio's channel: 5050
",
    ),
];

/// Examples that are tested elsewhere.
const ELSEWHERE: &[&str] = &["flights"];

/// Examples that are built with a feature only, and whether it is on.
const WITH_FEATURE: &[(&str, bool)] = &[("sync_async", cfg!(feature = "tokio"))];

#[test]
fn every_example_is_tested() {
    let known = OUTPUTS.iter().map(|(name, _)| *name);
    let known: BTreeSet<_> = known.chain(ELSEWHERE.iter().copied()).collect();
    let there = in_folder();
    let there: BTreeSet<_> = there.iter().map(String::as_str).collect();
    assert!(
        there.is_subset(&known),
        "without a test: {:?}; say here what they print",
        there.difference(&known)
    );
    assert!(
        known.is_subset(&there),
        "there is no {:?} among the examples",
        known.difference(&there)
    );
}

#[test]
fn every_example_prints_what_it_is_to() {
    let is_built = |name: &str| {
        let switch = WITH_FEATURE.iter().find(|(other, _)| *other == name);
        switch.is_none_or(|(_, is_on)| *is_on)
    };
    let mut failures = String::new();
    for (name, expected) in OUTPUTS.iter().filter(|(name, _)| is_built(name)) {
        match run(name) {
            Ok(printed) if printed == *expected => {}
            Ok(printed) => {
                failures += &format!("\n`{name}` printed\n{printed}instead of\n{expected}");
            }
            Err(failure) => failures += &format!("\n`{name}` {failure}\n"),
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// The examples by name: `examples/*.rs` and `examples/*/main.rs`.
fn in_folder() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    fs::read_dir(folder)
        .expect("there are examples")
        .map(|entry| entry.expect("a folder can be read").path())
        .filter(|path| {
            path.extension().is_some_and(|is| is == "rs") || path.join("main.rs").is_file()
        })
        .map(|path| {
            path.file_stem()
                .expect("an entry has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Cargo builds the examples before it runs all tests, beside them; it does not where a test is
/// chosen.
fn program(name: &str) -> PathBuf {
    let mut program = env::current_exe().expect("a test knows its own path");
    program.pop();
    program.pop();
    program.extend(["examples", name]);
    program.set_extension(env::consts::EXE_EXTENSION);
    program
}

/// Runs an example without arguments or input. Gives what it printed, or what went wrong.
fn run(name: &str) -> Result<String, String> {
    let program = program(name);
    if !program.exists() {
        return Err(
            "is not built: run the whole of `cargo test`, or `cargo build --examples`".into(),
        );
    }
    let mut child = Command::new(&program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("does not start: {error}"))?;
    let began = Instant::now();
    // A few lines fit into a pipe, so they are read when it has ended.
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if began.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("has not ended after {DEADLINE:?}"));
        }
        thread::sleep(Duration::from_millis(2));
    };
    let mut printed = String::new();
    let mut complaints = String::new();
    let stdout = child.stdout.as_mut().expect("it is piped");
    let stderr = child.stderr.as_mut().expect("it is piped");
    stdout
        .read_to_string(&mut printed)
        .map_err(|error| error.to_string())?;
    stderr
        .read_to_string(&mut complaints)
        .map_err(|error| error.to_string())?;
    if status.success() && complaints.is_empty() {
        Ok(printed)
    } else {
        Err(format!(
            "ended with {status}, and printed\n{printed}{complaints}"
        ))
    }
}
