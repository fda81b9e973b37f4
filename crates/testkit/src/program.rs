//! Programs in other languages, as child processes that talk in lines.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::packaged;
use crate::wait::{PATIENCE, wait_for};

/// A running program, whose standard input and output are read and written line by line. It is
/// killed on drop.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
}

impl Program {
    /// Starts a Python script with the packages of the tests' virtual environment.
    ///
    /// # Panics
    /// If the environment is not installed, with the command that installs it.
    #[track_caller]
    pub fn python(script: &Path, arguments: &[&str]) -> Self {
        let python = packaged("bin/python3", "websockets");
        Self::start(Command::new(python).arg("-u").arg(script).args(arguments))
    }

    /// Starts a script of Node.js. Its first argument is the file of the library `ws` from Debian's
    /// package.
    ///
    /// # Panics
    /// If Node.js or the package is not installed, with the command that installs it.
    #[track_caller]
    pub fn node(script: &Path, arguments: &[&str]) -> Self {
        let library = Path::new("/usr/share/nodejs/ws/wrapper.mjs");
        assert!(
            library.is_file(),
            "{} is missing; install it with `apt-get install nodejs node-ws`",
            library.display()
        );
        let mut node = Command::new("node");
        Self::start(node.arg(script).arg(library).args(arguments))
    }

    /// Starts `kosoku`, which runs the cases of the Autobahn test suite.
    ///
    /// # Panics
    /// If it is not installed, with the command that installs it.
    #[track_caller]
    pub fn kosoku<S: AsRef<OsStr>>(arguments: &[S]) -> Self {
        Self::start(Command::new(packaged("bin/kosoku", "kosoku")).args(arguments))
    }

    /// Starts another command.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let name = command.get_program().display().to_string();
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let input = child.stdin.take();
        let output = lines(child.stdout.take().expect("it is piped"));
        let errors = lines(child.stderr.take().expect("it is piped"));
        Program {
            name,
            child,
            input,
            output,
            errors,
        }
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// If the program has ended.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        let said = writeln!(input, "{line}").and_then(|()| input.flush());
        if let Err(error) = said {
            panic!("{} does not take `{line}`: {error}", self.name);
        }
    }

    /// Waits for the next line of its standard output.
    ///
    /// # Panics
    /// If the program ends, or after [`PATIENCE`].
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.output.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} says nothing", self.name),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait();
                panic!("{} ended: {status:?}", self.name)
            }
        }
    }

    /// Waits up to `limit` for the next line of its standard output.
    pub fn line_within(&mut self, limit: Duration) -> Option<String> {
        self.output.recv_timeout(limit).ok()
    }

    /// Waits until it writes a line that contains this text to its standard error.
    ///
    /// # Panics
    /// If the program ends, or after [`PATIENCE`].
    #[track_caller]
    pub fn wait_for_error(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.errors.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("{} does not say `{text}`: {error}", self.name),
            }
        }
    }

    /// Waits up to `limit` until it ends.
    ///
    /// # Panics
    /// After `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait_for(limit, "the program ends", || {
            child.try_wait().expect("it is a child of this process")
        })
    }

    /// Closes its standard input, which tells it to end.
    pub fn close_input(&mut self) {
        self.input = None;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let said: Vec<String> = self.errors.iter().collect();
            eprintln!("{} said:\n{}", self.name, said.join("\n"));
        }
    }
}

/// The lines of a pipe, read by a thread, so that the program never waits for a reader.
fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::Program;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn lines_go_both_ways_until_the_input_is_closed() {
        let mut cat = Program::start(&mut Command::new("cat"));
        cat.say("one");
        cat.say("two");
        assert_eq!([cat.line(), cat.line()], ["one", "two"]);
        cat.close_input();
        assert!(cat.wait(Duration::from_secs(60)).success());
        assert_eq!(cat.line_within(Duration::from_millis(1)), None);
    }
}
