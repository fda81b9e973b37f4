//! The receiving side, in the mode of pub/sub.
//!
//! The [`listener`] has the subscribed connection, and a thread that delivers the messages that
//! arrive over it. That thread only waits for the server, so this side wakes it through the server:
//! it publishes a number on a channel to which only its own listener is subscribed. Once a second,
//! such a number also checks the connection.
//!
//! INVARIANT: a subscription is in the listener's table before the server confirms its channel, and
//! `open` returns after that. So each message that is published after `open` returned is delivered,
//! or is lost with the connection. After such a loss, each subscription that is opened again
//! reports a gap.

mod listener;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Inbound, LinkError, Sink, SinkError, Verdict};
use redis::Value;

use crate::fault::Fault;
use crate::outbound::link;
use crate::shared::Shared;
use crate::wire::Wire;

use listener::{Listener, Note, Task};

/// How often the connection of the listener is checked.
const CHECK: Duration = Duration::from_secs(1);

pub(crate) struct PubSubInbound {
    shared: Arc<Shared>,
    wire: Wire,
    listener: Listener,
    inbox: Receiver<Note>,
    nudge: Sender<Note>,
    /// The channel that wakes the listener.
    wake: String,
    /// The last number that was published on it, and the last number that came back.
    called: u64,
    answered: u64,
    /// The time at which the oldest unanswered number was published, or the last number if all were
    /// answered.
    since: Instant,
}

impl PubSubInbound {
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Self, ConnectError> {
        let wire = Wire::open(&shared.config)?;
        let wake = shared.names.wake(&shared.member);
        let (nudge, inbox) = unbounded();
        let listener = Listener::start(&shared.config, wake.as_bytes(), nudge.clone())?;
        Ok(PubSubInbound {
            shared,
            wire,
            listener,
            inbox,
            nudge,
            wake,
            called: 0,
            answered: 0,
            since: Instant::now(),
        })
    }

    /// Wakes the listener.
    fn call(&mut self) -> Result<(), Fault> {
        if self.called == self.answered {
            self.since = Instant::now();
        }
        self.called += 1;
        let number = self.called.to_string();
        let heard = self
            .wire
            .ask(&[b"PUBLISH", self.wake.as_bytes(), number.as_bytes()])?;
        match heard {
            Value::Int(0) => Err(Fault::Lost(
                "the server has dropped the connection that listens".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    fn is_silent(&self) -> bool {
        self.called != self.answered && self.since.elapsed() > self.shared.config.read
    }

    /// Subscribes the connection to a channel, and waits until the server has confirmed it.
    fn enter(&mut self, channel: Vec<u8>) -> Result<(), Fault> {
        self.listener.tell(Task::Enter(channel.clone()));
        self.call()?;
        let deadline = Instant::now() + self.shared.config.read;
        let mut nudged = false;
        let entered = loop {
            match self.inbox.recv_deadline(deadline) {
                Ok(Note::Entered(entered)) if entered == channel => break Ok(()),
                Ok(Note::Refused(fault) | Note::Lost(fault)) => break Err(fault),
                Ok(note) => nudged |= self.take(note).is_ok_and(|word| word),
                Err(_) => {
                    break Err(Fault::Lost(
                        "the server did not confirm a channel in time".to_owned(),
                    ));
                }
            }
        };
        if nudged {
            // The engine's nudge still has to end `pump`.
            let _ = self.nudge.send(Note::Nudge);
        }
        entered
    }

    /// Handles one note. Returns whether it ends the engine's `pump`.
    fn take(&mut self, note: Note) -> Result<bool, LinkError> {
        match note {
            Note::Nudge => return Ok(true),
            Note::Called(number) => {
                self.answered = number;
                self.since = Instant::now();
            }
            // Confirmed too late for `enter`, which has given up the connection.
            Note::Entered(_) => {}
            Note::Refused(fault) | Note::Lost(fault) => return Err(link(&fault)),
        }
        Ok(false)
    }
}

impl Inbound for PubSubInbound {
    fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
        let channel = self.shared.names.channel(sink.key().as_str()).into_bytes();
        if self.listener.add(&channel, sink)
            && let Err(fault) = self.enter(channel.clone())
        {
            self.listener.remove(&channel, sink);
            return Err(match fault {
                Fault::Lost(_) => SinkError::Link(link(&fault)),
                Fault::Refused { .. } => {
                    let reason = self.shared.config.redact(&fault.to_string());
                    SinkError::Refused(reason.into())
                }
            });
        }
        // Messages that were published since the connection was lost are lost.
        match sink.position() {
            Some(_) => sink.gap(None),
            None => sink.set_position("live"),
        }
        Ok(())
    }

    fn close(&mut self, sink: &Sink) {
        let channel = self.shared.names.channel(sink.key().as_str()).into_bytes();
        if self.listener.remove(&channel, sink) {
            // The listener unsubscribes when it wakes. Before that, it ignores messages for this
            // subscription.
            self.listener.tell(Task::Leave(channel));
        }
    }

    fn settle(&mut self, _sink: &Sink, _tag: u64, _verdict: Verdict) {}

    fn pump(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let deadline = Instant::now() + timeout;
        loop {
            if self.is_silent() {
                let reason = "the server did not pass on a message in time";
                return Err(LinkError::new(reason));
            }
            let mut next = self.since + CHECK;
            if self.called != self.answered {
                next = self.since + self.shared.config.read;
            } else if Instant::now() >= next {
                self.call().map_err(|fault| link(&fault))?;
                continue;
            }
            match self.inbox.recv_deadline(deadline.min(next)) {
                Ok(note) => {
                    if self.take(note)? {
                        return Ok(());
                    }
                }
                Err(_) if Instant::now() >= deadline => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let nudge = self.nudge.clone();
        Arc::new(move || {
            let _ = nudge.send(Note::Nudge);
        })
    }
}

impl Drop for PubSubInbound {
    fn drop(&mut self) {
        self.listener.end();
        // If the listener cannot be woken, it ends by its own timeout.
        let _ = self.call();
    }
}

impl fmt::Debug for PubSubInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubInbound").finish_non_exhaustive()
    }
}
