//! The listener: the subscribed connection, and the thread that reads from it.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::Sink;
use parking_lot::Mutex;
use redis::Value;

use super::CHECK;
use crate::command::Commands;
use crate::config::Config;
use crate::fault::Fault;
use crate::frame;
use crate::reply::bytes;
use crate::wire::{Wire, accepted};

/// Notes to the receiving side from other threads.
#[derive(Debug)]
pub(super) enum Note {
    /// The number that was published to wake the listener.
    Called(u64),
    /// The server has confirmed the channel.
    Entered(Vec<u8>),
    /// The server has refused a channel.
    Refused(Fault),
    Lost(Fault),
    /// The engine has a task.
    Nudge,
}

/// The tasks that the listener does when it wakes.
#[derive(Debug)]
pub(super) enum Task {
    Enter(Vec<u8>),
    Leave(Vec<u8>),
}

/// The subscriptions of each channel.
type Table = Arc<Mutex<HashMap<Vec<u8>, Vec<Sink>>>>;

#[derive(Debug)]
pub(super) struct Listener {
    table: Table,
    /// `None` after the end.
    tasks: Option<Sender<Task>>,
}

impl Listener {
    /// Connects, subscribes to the channel `wake`, and starts the thread.
    pub(super) fn start(
        config: &Config,
        wake: &[u8],
        inbox: Sender<Note>,
    ) -> Result<Self, ConnectError> {
        let mut wire = Wire::open(config)?.patient(config, CHECK)?;
        wire.ask(&[b"SUBSCRIBE", wake]).map_err(|fault| {
            let text = config.redact(&fault.to_string()).into();
            match fault.is("NOPERM") {
                true => ConnectError::Denied(text),
                false => ConnectError::Failed(text),
            }
        })?;
        let (tasks, todo) = unbounded();
        let table = Table::default();
        let work = Work {
            wire,
            table: Arc::clone(&table),
            todo,
            inbox,
            wake: wake.to_vec(),
            limit: config.max_message,
        };
        thread::Builder::new()
            .name("fanfeed-redis-listen".to_owned())
            .spawn(move || work.run())
            .map_err(|error| {
                ConnectError::Failed(format!("a thread could not be started: {error}").into())
            })?;
        Ok(Listener {
            table,
            tasks: Some(tasks),
        })
    }

    /// Adds a subscription. Returns whether its channel is new.
    pub(super) fn add(&self, channel: &[u8], sink: &Sink) -> bool {
        let mut table = self.table.lock();
        let sinks = table.entry(channel.to_vec()).or_default();
        sinks.push(sink.clone());
        sinks.len() == 1
    }

    /// Removes a subscription. Returns whether its channel has none left.
    pub(super) fn remove(&self, channel: &[u8], sink: &Sink) -> bool {
        let mut table = self.table.lock();
        let Some(sinks) = table.get_mut(channel) else {
            return false;
        };
        sinks.retain(|other| other.id() != sink.id());
        let empty = sinks.is_empty();
        if empty {
            table.remove(channel);
        }
        empty
    }

    /// Gives the thread a task, which it does when it wakes.
    pub(super) fn tell(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The thread ends only after a fault, which it reports to the receiving side.
            let _ = tasks.send(task);
        }
    }

    /// Stops delivering, and makes the thread end when it wakes.
    pub(super) fn end(&mut self) {
        self.table.lock().clear();
        self.tasks = None;
    }
}

/// Runs the thread.
struct Work {
    wire: Wire,
    table: Table,
    todo: Receiver<Task>,
    inbox: Sender<Note>,
    wake: Vec<u8>,
    limit: usize,
}

impl Work {
    fn run(mut self) {
        loop {
            let note = match self.wire.receive() {
                Ok(answer) => self.take(answer),
                Err(fault) => Some(Note::Lost(fault)),
            };
            let lost = matches!(note, Some(Note::Lost(_)));
            if let Some(note) = note {
                let woken = matches!(note, Note::Called(_));
                if self.inbox.send(note).is_err() || lost {
                    return;
                }
                if woken && !self.work() {
                    return;
                }
            }
        }
    }

    /// Does the tasks. Returns false if the thread has to end.
    fn work(&mut self) -> bool {
        let mut commands = Commands::new();
        loop {
            match self.todo.try_recv() {
                Ok(Task::Enter(channel)) => commands.push(&[b"SUBSCRIBE", &channel]),
                Ok(Task::Leave(channel)) => commands.push(&[b"UNSUBSCRIBE", &channel]),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        if commands.is_empty() {
            return true;
        }
        match self.wire.send(&commands) {
            Ok(()) => true,
            Err(fault) => {
                let _ = self.inbox.send(Note::Lost(fault));
                false
            }
        }
    }

    /// Handles one answer of the server: a kind, a channel, and a payload or a count.
    fn take(&mut self, answer: Value) -> Option<Note> {
        let confused = || Some(Note::Lost(Fault::confused("a subscription")));
        let parts = match accepted(answer) {
            Ok(Value::Array(parts)) => parts,
            Ok(_) => return confused(),
            Err(fault) if fault.is_passing() => return Some(Note::Lost(fault)),
            Err(fault) => return Some(Note::Refused(fault)),
        };
        let Ok([kind, channel, last]) = <[Value; 3]>::try_from(parts) else {
            return confused();
        };
        let (Some(kind), Some(channel)) = (bytes(kind), bytes(channel)) else {
            return confused();
        };
        match &kind[..] {
            b"subscribe" => Some(Note::Entered(channel)),
            b"unsubscribe" => None,
            b"message" => {
                let Some(payload) = bytes(last) else {
                    return confused();
                };
                if channel == self.wake {
                    let number = std::str::from_utf8(&payload).ok()?.parse().ok()?;
                    return Some(Note::Called(number));
                }
                self.deliver(&channel, Bytes::from(payload));
                None
            }
            _ => confused(),
        }
    }

    fn deliver(&self, channel: &[u8], payload: Bytes) {
        let table = self.table.lock();
        let Some(sinks) = table.get(channel) else {
            return;
        };
        let Some(first) = sinks.first() else { return };
        match frame::read(first.key(), self.limit, &payload) {
            Ok(message) => {
                for sink in sinks {
                    sink.deliver_or_drop(message.clone(), 0);
                }
            }
            Err(bad) => sinks
                .iter()
                .for_each(|sink| sink.undecodable(bad.to_string(), &payload)),
        }
    }
}
