//! The thread that waits for the server, so that the receiving side can do other work in the
//! meantime.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use fanfeed_broker::ConnectError;
use redis::Value;

use crate::command::Commands;
use crate::config::Config;
use crate::fault::Fault;
use crate::wire::{Wire, accepted};

/// The longest time of one wait. If the server does not allow a wait to be ended early, a new wait
/// can begin this much later.
pub(crate) const LONGEST: Duration = Duration::from_millis(1000);

/// Notes to the receiving side from other threads.
#[derive(Debug)]
pub(crate) enum Note {
    /// The answer that the waiter received.
    Heard(Result<Value, Fault>),
    /// The engine has a task.
    Nudge,
}

/// A connection and a thread of its own, which run one blocking read at a time.
#[derive(Debug)]
pub(crate) struct Waiter {
    jobs: Sender<Commands>,
    client: u64,
    /// Whether an answer is outstanding.
    pub(crate) waits: bool,
}

impl Waiter {
    /// Connects, and starts the thread, which ends after its last wait when this is dropped.
    pub(crate) fn start(config: &Config, inbox: Sender<Note>) -> Result<Self, ConnectError> {
        let wire = Wire::open(config)?.patient(config, LONGEST)?;
        let client = wire.client();
        let (jobs, todo) = bounded(1);
        thread::Builder::new()
            .name("fanfeed-redis-wait".to_owned())
            .spawn(move || work(wire, &todo, &inbox))
            .map_err(|error| {
                ConnectError::Failed(format!("a thread could not be started: {error}").into())
            })?;
        Ok(Waiter {
            jobs,
            client,
            waits: false,
        })
    }

    /// Begins a wait. There must be no current wait.
    pub(crate) fn wait(&mut self, command: Commands) {
        debug_assert!(!self.waits, "one wait at a time");
        // The thread ends only after a fault, which it reports to the receiving side.
        self.waits = self.jobs.send(command).is_ok();
    }

    /// The number that the server gave the connection, for CLIENT UNBLOCK.
    pub(crate) fn client(&self) -> u64 {
        self.client
    }
}

fn work(mut wire: Wire, jobs: &Receiver<Commands>, inbox: &Sender<Note>) {
    for command in jobs {
        let sent = wire.send(&command);
        let heard = sent.and_then(|()| wire.receive()).and_then(accepted);
        let over = matches!(heard, Err(Fault::Lost(_)));
        if inbox.send(Note::Heard(heard)).is_err() || over {
            return;
        }
    }
}
