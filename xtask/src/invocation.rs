//! One command with a time limit. It prints as text that a shell accepts.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running command is polled: often enough that the delay is not noticed, and seldom
/// enough not to disturb measurements.
const POLL: Duration = Duration::from_millis(50);

/// A command of a step.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    program: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// The folder in which it runs, if that is not the workspace.
    folder: Option<String>,
    limit: Duration,
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    NotStarted(io::Error),
    Ended(ExitStatus),
    TimedOut(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotStarted(error) => write!(f, "could not be started: {error}"),
            Failure::Ended(status) => write!(f, "{status}"),
            Failure::TimedOut(limit) => {
                write!(f, "stopped after its limit of {} s", limit.as_secs())
            }
        }
    }
}

impl Invocation {
    /// `line` is split at white space. An argument that may contain a space is added by
    /// [`arg`](Self::arg).
    pub(crate) fn new(line: &str, limit: Duration) -> Self {
        let mut words = line.split_whitespace().map(str::to_owned);
        Invocation {
            program: words.next().expect("a command has a name"),
            arguments: words.collect(),
            variables: Vec::new(),
            folder: None,
            limit,
        }
    }

    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the folder of the workspace in which it runs.
    pub(crate) fn in_folder(mut self, folder: &str) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Runs it. Its output goes where the output of this process goes.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        self.finish(self.command().spawn().map_err(Failure::NotStarted)?)
    }

    /// Runs it and returns what it wrote to standard output. If `shown`, that is also printed as it
    /// arrives. Its standard error goes where that of this process goes.
    pub(crate) fn output(&self, shown: bool) -> (String, Result<(), Failure>) {
        let mut child = match self.command().stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => return (String::new(), Err(Failure::NotStarted(error))),
        };
        let pipe = child.stdout.take().expect("it was piped");
        self.finish_reading(child, pipe, shown)
    }

    /// Runs it without showing anything. Returns what it wrote to standard output and to standard
    /// error, in the order in which it was written.
    pub(crate) fn run_unseen(&self) -> (String, Result<(), Failure>) {
        let started = io::pipe().and_then(|(reader, writer)| {
            let mut command = self.command();
            command.stdout(writer.try_clone()?).stderr(writer);
            // This drops the command, and with it this process's write ends of the pipe. Only the
            // child's write ends keep it open.
            Ok((reader, command.spawn()?))
        });
        match started {
            Ok((reader, child)) => self.finish_reading(child, reader, false),
            Err(error) => (String::new(), Err(Failure::NotStarted(error))),
        }
    }

    /// Waits until the child ends, and returns what it wrote to this pipe.
    fn finish_reading(
        &self,
        child: Child,
        mut pipe: impl Read + Send + 'static,
        shown: bool,
    ) -> (String, Result<(), Failure>) {
        // A thread reads while this one waits. Otherwise a command that fills the pipe would wait
        // for this process, and this process for the command.
        let reader = thread::spawn(move || copy(&mut pipe, shown));
        let ended = self.finish(child);
        match reader.join().expect("the reader does not panic") {
            Ok(text) => (text, ended),
            Err(error) => (String::new(), ended.and(Err(Failure::NotStarted(error)))),
        }
    }

    /// Runs it without its output, and returns whether it succeeds.
    pub(crate) fn succeeds(&self) -> bool {
        let child = self
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.is_ok_and(|child| self.finish(child).is_ok())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(folder) = &self.folder {
            command.current_dir(Path::new(folder));
        }
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        // `cargo run` describes xtask in these variables. A nested cargo would pass them on to
        // build scripts and examples.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&*name);
            }
        }
        #[cfg(unix)]
        if own_group() {
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        command
    }

    fn finish(&self, mut child: Child) -> Result<(), Failure> {
        let started = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(Failure::Ended(status)),
                Ok(None) if started.elapsed() >= self.limit => {
                    kill(&mut child);
                    return Err(Failure::TimedOut(self.limit));
                }
                Ok(None) => thread::sleep(POLL),
                Err(error) => return Err(Failure::NotStarted(error)),
            }
        }
    }
}

/// Whether a command gets a process group of its own, so that a time limit also ends the processes
/// that it started: cargo's tests do not die with cargo. At a terminal the command stays in the
/// group of this process, where Ctrl-C reaches it.
fn own_group() -> bool {
    cfg!(unix) && !std::io::stdin().is_terminal()
}

fn kill(child: &mut Child) {
    if own_group() {
        // std cannot signal a group. Every Unix has a shell that can.
        let signal = format!("kill -KILL -{}", child.id());
        let _ = Command::new("sh")
            .args(["-c", &signal])
            .stdin(Stdio::null())
            .status();
    }
    // The process may have ended already. Then there is nothing to do.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads to the end. If `shown`, writes what it reads to standard output as it arrives.
fn copy(from: &mut impl Read, shown: bool) -> io::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(String::from_utf8_lossy(&text).into_owned()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        text.extend(&buffer[..count]);
        if shown {
            let mut ours = io::stdout().lock();
            ours.write_all(&buffer[..count])?;
            ours.flush()?;
        }
    }
}

/// Prints the command line that runs it again.
impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(folder) = &self.folder {
            write!(f, "cd {} && ", quoted(folder))?;
        }
        for (name, value) in &self.variables {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&self.program)?;
        for argument in &self.arguments {
            write!(f, " {}", quoted(argument))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./,:@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, Invocation};
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn it_prints_itself_as_a_shell_takes_it() {
        let command = Invocation::new("cargo test -p x", MINUTE)
            .env("RUSTFLAGS", "--cfg y")
            .arg("it's");
        assert_eq!(
            command.to_string(),
            r"RUSTFLAGS='--cfg y' cargo test -p x 'it'\''s'"
        );
    }

    #[test]
    fn a_program_that_is_missing_is_a_failure() {
        let command = Invocation::new("fanfeed-there-is-no-such-program", MINUTE);
        assert!(matches!(command.run(), Err(Failure::NotStarted(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_command_that_hangs_is_stopped_at_its_limit() {
        let command = Invocation::new("sleep 600", Duration::from_millis(100));
        assert!(matches!(command.run(), Err(Failure::TimedOut(_))));
    }

    #[cfg(unix)]
    #[test]
    fn its_status_and_its_output_are_told() {
        assert!(matches!(
            Invocation::new("false", MINUTE).run(),
            Err(Failure::Ended(_))
        ));
        let (text, ended) = Invocation::new("echo a b", MINUTE).output(false);
        assert!(ended.is_ok() && text == "a b\n", "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn what_it_writes_unseen_is_told_in_order() {
        let command = Invocation::new("sh -c", MINUTE).arg("echo a; echo b >&2; echo c; exit 3");
        let (text, ended) = command.run_unseen();
        assert_eq!(text, "a\nb\nc\n");
        assert!(matches!(ended, Err(Failure::Ended(status)) if status.code() == Some(3)));
    }

    #[cfg(unix)]
    #[test]
    fn a_command_runs_in_its_folder() {
        let command = Invocation::new("pwd", MINUTE).in_folder("/");
        assert_eq!(command.output(false).0, "/\n");
        assert_eq!(command.to_string(), "cd / && pwd");
    }
}
