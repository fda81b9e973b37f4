//! The publishing side. It sends one pipeline for each batch. For streams, the pipeline ends with
//! one ring: an entry for a doorbell.

use std::sync::Arc;

use fanfeed_broker::driver::{LinkError, Outbound, Published};
use fanfeed_broker::{ConnectError, Message, Receipt};
use redis::Value;

use crate::bell::{self, Ring};
use crate::command::Commands;
use crate::config::Mode;
use crate::entry;
use crate::fault::Fault;
use crate::frame;
use crate::names::{BELLS, escape};
use crate::shared::Shared;
use crate::wire::{Wire, accepted};

pub(crate) struct RedisOutbound {
    shared: Arc<Shared>,
    wire: Wire,
    commands: Commands,
    /// About how many entries a stream and a doorbell keep, as text.
    kept: Option<Vec<u8>>,
    rings_kept: Vec<u8>,
    bells: Vec<Vec<u8>>,
    /// The doorbell of the next batch. Doorbells take turns.
    next: usize,
}

impl RedisOutbound {
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Self, ConnectError> {
        let wire = Wire::open(&shared.config)?;
        let bells = (0..BELLS).map(|number| shared.names.bell(number).into_bytes());
        Ok(RedisOutbound {
            wire,
            commands: Commands::new(),
            kept: shared
                .config
                .max_entries
                .map(|kept| kept.to_string().into_bytes()),
            rings_kept: bell::KEPT.to_string().into_bytes(),
            bells: bells.collect(),
            next: 0,
            shared,
        })
    }

    fn pack(&mut self, batch: &[Message]) {
        self.commands.clear();
        match self.shared.config.mode {
            Mode::Streams => self.pack_entries(batch),
            Mode::PubSub => self.pack_frames(batch),
        }
    }

    fn pack_frames(&mut self, batch: &[Message]) {
        let (mut channel, mut text) = (String::new(), Vec::new());
        let mut last = None;
        for message in batch {
            let key = message.key();
            if last != Some(key) {
                channel = self.shared.names.channel(key.as_str());
                last = Some(key);
            }
            if self.shared.config.bare {
                text.clear();
                text.extend_from_slice(message.payload());
            } else {
                frame::write(&mut text, message);
            }
            self.commands.push(&[b"PUBLISH", channel.as_bytes(), &text]);
        }
    }

    fn pack_entries(&mut self, batch: &[Message]) {
        let mut touched: Vec<String> = Vec::new();
        let mut stream = String::new();
        let mut last = None;
        for message in batch {
            let key = message.key();
            // Batches on one key are common: make its names only once.
            if last != Some(key) {
                let escaped = escape(key.as_str());
                self.shared.names.write_stream(&mut stream, &escaped);
                touched.push(escaped);
                last = Some(key);
            }
            let (stream, kept) = (stream.as_bytes(), self.kept.as_deref());
            entry::append(&mut self.commands, stream, kept, message);
        }
        let ring = Ring::of(touched.iter().map(String::as_str));
        self.commands.push(&[
            b"XADD",
            &self.bells[self.next],
            b"MAXLEN",
            b"~",
            &self.rings_kept,
            b"*",
            bell::FIELD,
            ring.as_bytes(),
        ]);
        self.next = (self.next + 1) % BELLS;
    }
}

impl Outbound for RedisOutbound {
    fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError> {
        self.pack(batch);
        let mut answers = self
            .wire
            .run(&self.commands)
            .map_err(|fault| link(&fault))?;
        // If the doorbell cannot be rung, readers find the messages at their next sweep.
        answers.truncate(batch.len());
        let mut passing = None;
        let mut results = Vec::with_capacity(batch.len());
        for (message, answer) in batch.iter().zip(answers) {
            results.push(match accepted(answer) {
                Ok(Value::BulkString(position)) => {
                    let position = String::from_utf8_lossy(&position);
                    Published::Done(Receipt::new(message.id().clone(), Some(position.into())))
                }
                // The number of connections that PUBLISH reached.
                Ok(Value::Int(_)) => Published::Done(Receipt::new(message.id().clone(), None)),
                Ok(_) => return Err(link(&Fault::confused("a published message"))),
                Err(fault) if fault.is_passing() => {
                    passing = Some(fault);
                    Published::Unsent
                }
                Err(fault) => {
                    Published::Refused(self.shared.config.redact(&fault.to_string()).into())
                }
            });
        }
        // If no message was accepted, the engine has to wait longer and longer between its
        // attempts, as after a lost connection. The server may have changed its role, so that a new
        // connection is needed.
        match passing {
            Some(fault)
                if results
                    .iter()
                    .all(|result| matches!(result, Published::Unsent)) =>
            {
                Err(link(&fault))
            }
            _ => Ok(results),
        }
    }

    fn idle(&mut self) -> Result<(), LinkError> {
        self.wire
            .ask(&[b"PING"])
            .map(drop)
            .map_err(|fault| link(&fault))
    }
}

pub(crate) fn link(fault: &Fault) -> LinkError {
    LinkError::new(fault.to_string())
}
