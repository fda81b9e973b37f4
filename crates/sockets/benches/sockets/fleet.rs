//! The benchmark's hold on the process of the clients.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use fanfeed_testkit::Program;

/// The process of the clients. It is ended on drop.
#[derive(Debug)]
pub(crate) struct Fleet(Program);

/// What the members of a group have received since they were last asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    /// Microseconds from the broadcast.
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

impl Fleet {
    pub(crate) fn start() -> Self {
        let own = std::env::current_exe().expect("this program has a file");
        Fleet(Program::start(Command::new(own).arg("--clients")))
    }

    /// Sends a command and waits for the answer.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.begin(command);
        self.answer()
    }

    /// Sends a command, whose answer is waited for later.
    pub(crate) fn begin(&mut self, command: &str) {
        self.0.say(command);
    }

    /// The answer, if it is there.
    pub(crate) fn poll_answer(&mut self) -> Option<String> {
        let answer = self.0.line_within(Duration::ZERO)?;
        assert!(!answer.starts_with("failed"), "{answer}");
        Some(answer)
    }

    fn answer(&mut self) -> String {
        let answer = self.0.line();
        assert!(!answer.starts_with("failed"), "{answer}");
        answer
    }

    pub(crate) fn join(
        &mut self,
        group: &str,
        dialect: &str,
        count: usize,
        at: SocketAddr,
        path: &str,
    ) {
        self.ask(&format!("join {group} {dialect} {count} {at} {path}"));
    }

    /// Waits until each member of the group has so many messages.
    pub(crate) fn wait_for(&mut self, group: &str, each: u64) {
        let answer = self.ask(&format!("messages {group} {each}"));
        assert_eq!(
            answer,
            format!("messages {each} {each}"),
            "the fewest and the most of {group}"
        );
    }

    pub(crate) fn latency(&mut self, group: &str) -> Latency {
        let answer = self.ask(&format!("latency {group}"));
        let numbers: Vec<f64> = answer
            .split(' ')
            .map(|word| word.parse().expect("a number"))
            .collect();
        Latency {
            count: numbers[0] as u64,
            median: numbers[1],
            p99: numbers[2],
            longest: numbers[3],
        }
    }
}
