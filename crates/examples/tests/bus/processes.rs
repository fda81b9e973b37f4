//! `shop` as several processes, one of them in Python.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use fanfeed_testkit::{NatsServer, RedisServer, Release};

/// A process that is killed when the test ends.
struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, output }
    }

    fn shop(arguments: &[&str]) -> Self {
        Self::start(Command::new(env!("CARGO_BIN_EXE_shop")).args(arguments))
    }

    /// Starts one that has said that it is ready.
    fn billing(arguments: &[&str]) -> Self {
        let mut billing = Self::shop(&[&["billing"], arguments].concat());
        assert_eq!(billing.line(), "ready");
        billing
    }

    fn python(port: u16, kind: &str, count: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/billing.py");
        let arguments = [script, &port.to_string(), kind, count];
        let mut billing = Self::start(Command::new("python3").args(arguments));
        assert_eq!(billing.line(), "ready");
        billing
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it prints text");
        line.trim_end().to_owned()
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(killed.expect("there is `kill`").success());
    }

    /// What it still prints, and whether it ends well.
    fn end(mut self) -> (String, bool) {
        let mut rest = String::new();
        self.output
            .read_to_string(&mut rest)
            .expect("it prints text");
        let status = self.child.wait().expect("it ends");
        (rest, status.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Places orders in one process and bills them in another, which then ends in good order.
#[track_caller]
pub(crate) fn all_are_paid(url: &str) {
    let billing = Process::billing(&[url]);
    for version in [&[][..], &["v1"]] {
        let orders = Process::shop(&[&["orders", url, "20"], version].concat());
        served(&orders.end(), 20);
    }
    billing.terminate();
    let (printed, is_well) = billing.end();
    assert!(
        printed.ends_with("\ntaken 40, answered 40\n") && is_well,
        "{printed}"
    );
}

/// What the process of the orders has to show: payments that were waited for, mails that were not,
/// errors that were collected, and analytics that were turned off meanwhile.
#[track_caller]
fn served((printed, is_well): &(String, bool), count: usize) {
    let has = |line: String| printed.lines().any(|each| each == line);
    assert!(
        has(format!("{} of {count} paid, 1 refused", count - 1)),
        "{printed}"
    );
    // A shutdown waits for the mails. Of one order the mailbox is full.
    assert!(has(format!("{} mails sent", count - 2)), "{printed}");
    let errors = || printed.lines().filter(|each| each.starts_with("error: "));
    assert_eq!(errors().count(), 2, "{printed}");
    for part in ["order 13: it is above the limit", "the mailbox is full"] {
        assert!(errors().any(|each| each.contains(part)), "{printed}");
    }
    let counted = printed.split_once("\"order.placed.v").map(|(_, rest)| rest);
    let counted = counted.and_then(|rest| rest.split_once("\": ")?.1.split([',', '}']).next());
    let counted: usize = counted.map_or(0, |counted| counted.parse().expect("it counts"));
    assert!(counted < count, "{printed}");
    assert!(
        printed.contains("before they were turned off") && *is_well,
        "{printed}"
    );
}

#[test]
fn orders_and_billing_over_redis_streams() {
    all_are_paid(&RedisServer::start(Release::Old).url());
}

#[test]
fn orders_and_billing_over_pubsub() {
    let server = RedisServer::start(Release::Old);
    all_are_paid(&format!("pubsub:{}", server.address()));
    all_are_paid(&format!("goevent:{}", server.address()));
}

#[test]
fn orders_and_billing_over_jetstream() {
    all_are_paid(&NatsServer::builder(Release::Old).jetstream().start().url());
}

#[test]
fn orders_and_billing_over_nats_core() {
    let server = NatsServer::start(Release::Old);
    all_are_paid(&format!("{}?mode=core", server.url()));
}

/// Two processes share the orders, and one of them is killed while it has some.
#[track_caller]
pub(crate) fn all_are_paid_though_one_is_killed(url: &str) {
    let mut killed = Process::billing(&[url]);
    let other = Process::billing(&[url]);
    let orders = Process::shop(&["orders", url, "300"]);
    assert_eq!(killed.line(), "the first order is here");
    killed.child.kill().expect("it runs");
    let (printed, is_well) = orders.end();
    assert!(
        printed.contains("299 of 300 paid, 1 refused\n") && is_well,
        "{printed}"
    );
    other.terminate();
    let (printed, is_well) = other.end();
    assert!(is_well, "{printed}");
}

#[test]
fn a_billing_process_is_killed_over_redis_streams() {
    let server = RedisServer::start(Release::Old);
    all_are_paid_though_one_is_killed(&format!("{}?heartbeat=300ms&sweep=300ms", server.url()));
}

#[test]
fn a_billing_process_is_killed_over_jetstream() {
    let server = NatsServer::builder(Release::Old).jetstream().start();
    all_are_paid_though_one_is_killed(&format!("{}?ack_wait=2s", server.url()));
}

/// Another language takes part, with only the documents.
#[track_caller]
fn python_bills(scheme: &str, kind: &str) {
    let server = RedisServer::start(Release::Old);
    let billing = Process::python(server.port(), kind, "21");
    let url = format!("{scheme}:{}", server.address());
    served(&Process::shop(&["orders", &url, "21"]).end(), 21);
    assert!(billing.end().1);
}

#[test]
fn python_reads_and_writes_the_envelope() {
    python_bills("pubsub", "envelope");
}

#[test]
fn python_reads_and_writes_the_envelope_of_goevent() {
    python_bills("goevent", "goevent");
}

#[test]
fn a_process_that_is_told_to_end_finishes_what_it_has_taken() {
    let server = RedisServer::start(Release::Old);
    let url = server.url();
    let mut billing = Process::billing(&[&url]);
    let _orders = Process::shop(&["orders", &url, "200"]);
    assert_eq!(billing.line(), "the first order is here");
    billing.terminate();
    let (printed, is_well) = billing.end();
    let counts = printed.trim_end().strip_prefix("taken ");
    let (taken, paid) = counts
        .and_then(|counts| counts.split_once(", answered "))
        .expect("it counts");
    assert!(taken == paid && is_well, "{printed}");
}

#[test]
fn a_process_whose_listeners_are_stuck_ends_at_the_deadline() {
    let server = RedisServer::start(Release::Old);
    let url = server.url();
    let mut billing = Process::billing(&[&url, "stuck"]);
    let _orders = Process::shop(&["orders", &url, "3"]);
    assert_eq!(billing.line(), "the first order is here");
    let begun = Instant::now();
    billing.terminate();
    let printed = billing.line();
    assert!(
        printed.starts_with("taken ") && printed.ends_with(", answered 0"),
        "{printed}"
    );
    let (printed, is_well) = billing.end();
    assert!(
        !is_well && printed.contains("closed at the deadline"),
        "{printed}"
    );
    // Two seconds for the bus and the broker together, and some for a machine under load.
    assert!(begun.elapsed() < Duration::from_secs(4));
}

/// A payment is waited for, a mail is not: its server never answers, and all orders are paid.
#[track_caller]
fn stuck_mails_hold_up_no_order(url: &str) {
    let _billing = Process::billing(&[url]);
    let (printed, is_well) = Process::shop(&["orders", url, "20", "stuck"]).end();
    assert!(
        printed.starts_with("19 of 20 paid, 1 refused\n0 mails sent\n"),
        "{printed}"
    );
    // They are given up at the deadline of the shutdown.
    assert!(
        printed.contains("closed at the deadline") && !is_well,
        "{printed}"
    );
}

#[test]
fn stuck_mails_hold_up_no_order_over_redis() {
    stuck_mails_hold_up_no_order(&RedisServer::start(Release::Old).url());
}

#[test]
fn stuck_mails_hold_up_no_order_over_nats() {
    let server = NatsServer::builder(Release::Old).jetstream().start();
    stuck_mails_hold_up_no_order(&server.url());
}
