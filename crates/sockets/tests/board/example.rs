//! The example as a process.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use fanfeed_testkit::server::free_port;
use fanfeed_testkit::wait_until;

/// Some 150 messages a second on the 20 busiest channels, and a tenth of that on six.
pub(crate) const SPEED: &str = "20000";

/// The running example. It is killed on drop.
pub(crate) struct Board {
    port: u16,
    arguments: Vec<String>,
    child: Child,
}

/// The example with these arguments, as it is built beside the tests.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut program: PathBuf = env::current_exe().expect("a test knows its own path");
    program.pop();
    program.pop();
    program.extend(["examples", "board"]);
    program.set_extension(env::consts::EXE_EXTENSION);
    assert!(
        program.exists(),
        "not built: {}; cargo build -p fanfeed-sockets --example board",
        program.display()
    );
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

impl Board {
    /// Starts it on a free port, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&one| one.to_owned()).collect();
        let port = free_port();
        Self {
            port,
            child: launch(port, &arguments),
            arguments,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://{}/{rest}", self.address())
    }

    /// Ends it with SIGKILL: it says no farewell to its clients.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it with SIGTERM, and waits until it has ended well.
    pub(crate) fn stop(&mut self) {
        let signal = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(
            signal.is_ok_and(|status| status.success()),
            "no signal sent"
        );
        let mut ended = None;
        wait_until("the board ends", || {
            ended = self.child.try_wait().expect("it is a child");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }

    /// Starts it again on the same port.
    pub(crate) fn start_again(&mut self) {
        self.child = launch(self.port, &self.arguments);
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(port: u16, arguments: &[String]) -> Child {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&arguments)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    out.read_line(&mut line).expect("its output is UTF-8");
    if !line.contains("http://") {
        let mut errors = String::new();
        let mut stderr = child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut errors).expect("UTF-8");
        panic!("the board did not start: {line}{errors}");
    }
    child
}
