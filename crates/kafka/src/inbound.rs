//! The receiving side.
//!
//! The engine's thread does all work. It has one consumer for all plain subscriptions ([`plain`]),
//! whose partitions are assigned by hand, a second one for plain subscriptions that fell behind,
//! and one consumer for each group ([`groups`]). A consumer wakes this thread when its queue gets
//! an event. Only the requests that open a subscription wait on threads of their own ([`opening`]).
//!
//! INVARIANT: every record that is appended to a topic after its subscription was reported as open
//! is delivered. By then, a plain subscription knows the end of each partition and is read from
//! there, and for a group, each partition has a committed offset.

mod contact;
mod groups;
mod ledger;
mod opening;
mod plain;
mod trouble;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Inbound, LinkError, Sink, SinkError, Verdict};

use crate::shared::Shared;

use contact::Contact;
use groups::Groups;
use plain::Plain;

/// The longest time of a wait.
const LONGEST: Duration = Duration::from_millis(50);

/// After this many polls without a record, a consumer counts as empty. A poll that serves another
/// event, such as the answer to a commit, returns no record either.
const NOTHING: usize = 16;

/// The state that outlives a connection: consumers with their positions, and the messages that
/// handlers hold.
#[derive(Debug)]
pub(crate) struct Kept {
    plain: Plain,
    groups: Groups,
    wake: Wake,
}

impl Kept {
    /// Leaves the groups, which commits their offsets.
    pub(crate) fn leave(&mut self) {
        self.groups.leave();
    }
}

/// Wakes the receiving thread.
#[derive(Debug, Clone)]
pub(crate) struct Wake {
    sender: Sender<()>,
    receiver: Receiver<()>,
    nudged: Arc<AtomicBool>,
}

impl Wake {
    fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Wake {
            sender,
            receiver,
            nudged: Arc::default(),
        }
    }

    /// A consumer has an event.
    pub(crate) fn ring(&self) {
        // If the channel is full, the thread has already been woken.
        let _ = self.sender.try_send(());
    }

    /// The engine has work for the thread.
    fn nudge(&self) {
        // ORDERING: pairs with the swap in `take_nudge`. After it, the thread sees what the engine
        // wrote before this call.
        self.nudged.store(true, Ordering::Release);
        self.ring();
    }

    fn take_nudge(&self) -> bool {
        // ORDERING: pairs with the store in `nudge`.
        self.nudged.swap(false, Ordering::Acquire)
    }

    fn wait(&self, timeout: Duration) {
        let _ = self.receiver.recv_timeout(timeout);
    }
}

pub(crate) struct KafkaInbound {
    shared: Arc<Shared>,
    /// `None` only while this is dropped.
    kept: Option<Kept>,
    looked: Instant,
}

impl KafkaInbound {
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Self, ConnectError> {
        let kept = shared.kept.lock().take();
        let mut kept = match kept {
            Some(kept) => kept,
            None => {
                let wake = Wake::new();
                let contact = Contact::new(&shared.config, wake.clone());
                Kept {
                    plain: Plain::new(contact.clone())?,
                    groups: Groups::new(contact),
                    wake,
                }
            }
        };
        // Errors that were reported before this connection do not count.
        kept.plain.take_lost();
        kept.groups.take_lost();
        // Their subscriptions are opened again.
        kept.plain.take_opened();
        kept.groups.take_opened();
        Ok(KafkaInbound {
            shared,
            kept: Some(kept),
            looked: Instant::now(),
        })
    }

    fn kept(&mut self) -> &mut Kept {
        self.kept
            .as_mut()
            .expect("it is taken out by the drop alone")
    }
}

impl Inbound for KafkaInbound {
    fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
        let kept = self.kept();
        match sink.group() {
            None => kept.plain.open(sink),
            Some(group) => kept.groups.open(sink, group),
        }
    }

    fn opened(&mut self) -> Vec<(u64, Result<(), SinkError>)> {
        let kept = self.kept();
        let mut opened = kept.plain.take_opened();
        opened.extend(kept.groups.take_opened());
        opened
    }

    fn close(&mut self, sink: &Sink) {
        let kept = self.kept();
        match sink.group() {
            None => kept.plain.close(sink.id()),
            Some(_) => kept.groups.close(sink.id()),
        }
    }

    fn settle(&mut self, sink: &Sink, tag: u64, verdict: Verdict) {
        // Plain subscriptions have nothing to acknowledge.
        if sink.group().is_some() {
            self.kept().groups.settle(sink, tag, verdict);
        }
    }

    fn pump(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let deadline = Instant::now() + timeout;
        let interval = self.shared.config.refresh.min(Duration::from_secs(1));
        loop {
            let look = self.looked.elapsed() >= interval;
            if look {
                self.looked = Instant::now();
            }
            let kept = self.kept();
            let nudged = kept.wake.take_nudge();
            if nudged || look {
                kept.plain.look_for_room(true);
                kept.groups.look_for_room();
            } else if kept.plain.is_due() {
                kept.plain.look_for_room(false);
            }
            if look {
                kept.plain.heed();
                kept.groups.heed();
                kept.plain.refresh(interval);
            }
            let plain = kept.plain.poll();
            let groups = kept.groups.poll();
            if let Some(reason) = kept.plain.take_lost().or_else(|| kept.groups.take_lost()) {
                return Err(LinkError::new(reason));
            }
            let opened = kept.plain.has_opened() || kept.groups.has_opened();
            let now = Instant::now();
            if nudged || opened || now >= deadline {
                return Ok(());
            }
            if !plain && !groups {
                kept.wake.wait(LONGEST.min(deadline - now));
            }
        }
    }

    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let wake = self
            .kept
            .as_ref()
            .expect("it is taken out by the drop alone")
            .wake
            .clone();
        Arc::new(move || wake.nudge())
    }

    fn finish(&mut self) {
        self.kept().leave();
    }
}

impl Drop for KafkaInbound {
    fn drop(&mut self) {
        *self.shared.kept.lock() = self.kept.take();
    }
}

impl fmt::Debug for KafkaInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaInbound").finish_non_exhaustive()
    }
}
