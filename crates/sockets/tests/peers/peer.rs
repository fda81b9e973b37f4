//! A peer in another language, and what happened to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fanfeed_testkit::Program;
use serde_json::{Value, json};

/// The libraries that are tried.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Library {
    /// `websockets`, on Python.
    Websockets,
    /// `ws`, on Node.js.
    Ws,
}

pub(crate) const LIBRARIES: [Library; 2] = [Library::Websockets, Library::Ws];

/// A client or a server.
pub(crate) struct Peer {
    program: Program,
    /// What was looked past while another event was waited for.
    passed: Vec<Value>,
}

impl Library {
    fn start(self, arguments: &[&str]) -> Peer {
        let program = match self {
            Library::Websockets => Program::python(&script("peer.py"), arguments),
            Library::Ws => Program::node(&script("peer.mjs"), arguments),
        };
        Peer {
            program,
            passed: Vec::new(),
        }
    }

    /// A client that opens this URL, with these headers.
    pub(crate) fn client(self, url: &str, headers: &[(&str, &str)]) -> Peer {
        let pairs = headers.iter().flat_map(|(name, value)| [*name, *value]);
        let arguments: Vec<&str> = ["client", url].into_iter().chain(pairs).collect();
        self.start(&arguments)
    }

    /// A server on a free port, and its address.
    pub(crate) fn server(self) -> (Peer, SocketAddr) {
        let mut server = self.start(&["server"]);
        let port = server.expect("listening")["port"].as_u64().expect("a port");
        (server, SocketAddr::from(([127, 0, 0, 1], port as u16)))
    }
}

impl Peer {
    /// Waits for the next event of this name, and keeps those before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, event: &str) -> Value {
        if let Some(at) = self.passed.iter().position(|seen| seen["event"] == event) {
            return self.passed.remove(at);
        }
        loop {
            let line = self.program.line();
            let seen: Value = serde_json::from_str(&line).expect("the peer tells JSON");
            if seen["event"] == event {
                return seen;
            }
            assert!(
                !matches!(seen["event"].as_str(), Some("closed" | "refused")),
                "expected {event}, and got {seen}"
            );
            self.passed.push(seen);
        }
    }

    /// The JSON of the next text message.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Value {
        let text = self.expect("text");
        let text = text["data"].as_str().expect("a text");
        serde_json::from_str(text).unwrap_or_else(|error| panic!("`{text}`: {error}"))
    }

    pub(crate) fn act(&mut self, command: Value) {
        self.program.say(&command.to_string());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.act(json!({"do": "text", "data": text}));
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        self.act(json!({"do": "close", "code": code, "reason": reason}));
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers")
        .join(name)
}
