//! Runs the example, and reads its output.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A test that waits for longer than this has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// The example while it runs. Dropping it kills it.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: Option<JoinHandle<String>>,
    complaints: Receiver<String>,
    heard: String,
}

/// The example after it has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut program = env::current_exe().expect("a test knows its own path");
    program.pop();
    program.pop();
    program.extend(["examples", "flights"]);
    program.set_extension(env::consts::EXE_EXTENSION);
    assert!(
        program.exists(),
        "not built: {}; cargo build --example flights",
        program.display()
    );
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn start(args: &[&str]) -> Running {
    let mut child = command(args).spawn().expect("the example starts");
    let mut stdout = child.stdout.take().expect("it is piped");
    let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let out = thread::spawn(move || {
        let mut out = String::new();
        stdout
            .read_to_string(&mut out)
            .expect("the tables are UTF-8");
        out
    });
    let (line, complaints) = mpsc::channel();
    thread::spawn(move || {
        for complaint in stderr.lines() {
            let _ = line.send(complaint.expect("complaints are UTF-8"));
        }
    });
    Running {
        child,
        out: Some(out),
        complaints,
        heard: String::new(),
    }
}

pub(crate) fn run(args: &[&str], input: &[u8]) -> Ended {
    let mut running = start(args);
    let mut stdin = running.child.stdin.take().expect("it is piped");
    // An example that does not read its input has gone before it is written.
    let _ = stdin.write_all(input);
    drop(stdin);
    running.end()
}

impl Running {
    /// Waits for a line on standard error that contains this.
    #[cfg(unix)]
    pub(crate) fn hear(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.complaints.recv_timeout(left).unwrap_or_else(|error| {
                panic!(
                    "no {text:?} on standard error ({error}) after:\n{}",
                    self.heard
                )
            });
            self.heard += &format!("{line}\n");
            if line.contains(text) {
                return;
            }
        }
    }

    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-INT", &id])
            .status()
            .expect("kill runs");
        assert!(status.success());
    }

    /// Waits until it ends, as long as it tells of its progress: on a busy machine a replay takes
    /// long.
    pub(crate) fn end(mut self) -> Ended {
        let mut deadline = Instant::now() + DEADLINE;
        let status = loop {
            for line in self.complaints.try_iter() {
                self.heard += &format!("{line}\n");
                deadline = Instant::now() + DEADLINE;
            }
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "it still runs, after:\n{}",
                self.heard
            );
            thread::sleep(Duration::from_millis(2));
        };
        let out = self
            .out
            .take()
            .expect("it ends once")
            .join()
            .expect("the reader does not panic");
        // The channel ends with the pipe, which ends with the process.
        let heard = std::mem::take(&mut self.heard);
        let err = self
            .complaints
            .iter()
            .fold(heard, |err, line| err + &line + "\n");
        Ended {
            code: status.code(),
            out,
            err,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    pub(crate) fn sent(&self) -> u64 {
        let line = self.out.lines().find(|line| line.contains("events sent"));
        number(
            line.unwrap_or_else(|| panic!("{self:#?}"))
                .split_whitespace()
                .next()
                .unwrap(),
        )
    }

    /// The rows of the table under the line that starts with this, as their cells.
    pub(crate) fn table(&self, title: &str) -> Vec<Vec<&str>> {
        let lines = self.out.lines().skip_while(|line| !line.starts_with(title));
        let rows = lines.skip(3).take_while(|line| !line.is_empty());
        rows.map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect()
    }

    /// Name, received, missed, delivered and dropped of the subscribers of the flights.
    pub(crate) fn subscribers(&self) -> Vec<(&str, [u64; 4])> {
        let rows = self.table("Subscribers").into_iter();
        rows.filter(|row| row[0] != "alert reader")
            .map(|row| (row[0], [1, 2, 3, 4].map(|column| number(row[column]))))
            .collect()
    }
}

pub(crate) fn number(cell: &str) -> u64 {
    cell.replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("{cell:?} is not a number"))
}
