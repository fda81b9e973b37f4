//! The receiving side.
//!
//! The engine's thread does all work over one connection: reading without waiting, acknowledging,
//! opening, heartbeats. Only the [`Waiter`] waits. It has a connection and a thread of its own and
//! sends its answers to the inbox. There are two ways to wait:
//!
//! - **directly**, for at most [`DIRECT`] streams. The wait names the streams themselves.
//! - **at the doorbells** ([`bell`](crate::bell)): The wait names the doorbells, and the stream of
//!   each key that they list is read.
//!
//! INVARIANT: every entry that is appended to a stream after [`open`](RedisInbound::open) returned
//! is read. The subscription's cursor was set from the server's answer. The stream is read again
//! when a batch that ended after that answer rang for it (a doorbell is read from its position at
//! the time when this side was opened), when the last read may have left entries ([`Work::ready`]),
//! at each sweep, and after a reconnect. Ready streams are read in turn ([`Turns`]), so that a
//! subscription that is always ready does not delay the others.

mod claims;
mod opening;
mod rounds;
mod settling;
mod turns;
mod waiting;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{Inbound, LinkError, Sink, SinkError, Verdict};
use redis::Value;

use crate::command::Commands;
use crate::fault::Fault;
use crate::names::BELLS;
use crate::outbound::link;
use crate::position::Position;
use crate::shared::Shared;
use crate::subscription::{Member, Subscription};
use crate::waiter::{Note, Waiter};
use crate::wire::{Wire, accepted};

use settling::Settled;
use turns::Turns;

/// The most streams of a direct wait.
const DIRECT: usize = 16;

/// The size of an entry, in bytes, that the first rounds assume.
const LARGE: usize = 1 << 16;

/// The state that outlives a connection.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    subscriptions: HashMap<u64, Subscription>,
    /// Closed members. Each is removed when its handlers hold no more messages.
    closing: HashSet<u64>,
    /// Closed members whose entries the server refused to hand on. The entries stay pending until a
    /// sweep tries again.
    stuck: HashSet<u64>,
    settled: Settled,
}

impl Kept {
    fn member_mut(&mut self, id: u64) -> Option<&mut Member> {
        self.subscriptions.get_mut(&id)?.member_mut()
    }
}

/// The streams to read.
#[derive(Debug, Default)]
struct Work {
    /// Subscriptions whose streams have, or may have, new entries.
    ready: Turns,
    /// Subscriptions whose streams a sweep has not read yet.
    swept: Turns,
    /// Subscriptions whose next read is a command of its own, because a read of several streams was
    /// refused.
    apart: HashSet<u64>,
    /// Subscriptions that would be ready if their sinks had room.
    full: HashSet<u64>,
    /// Members that have as many entries as they should ([`Pace`](crate::pace::Pace)), and whose
    /// streams may have more. They read again when their handlers have settled some. No direct wait
    /// names their streams for them before a read has shown that the stream has no more.
    ahead: HashSet<u64>,
    /// Members of groups that have to look for entries that other members left behind.
    claims: Turns,
    /// Members that found more such entries than they had room for. They look again when there is
    /// room.
    short: HashSet<u64>,
    /// Plain readers whose places have to be checked.
    places: Turns,
}

impl Work {
    fn is_done(&self) -> bool {
        let Work {
            ready,
            swept,
            claims,
            places,
            ..
        } = self;
        [ready, swept, claims, places]
            .iter()
            .all(|turns| turns.is_empty())
    }

    /// Stops reading for this subscription.
    fn drop(&mut self, id: u64) {
        for turns in [
            &mut self.ready,
            &mut self.swept,
            &mut self.claims,
            &mut self.places,
        ] {
            turns.remove(id);
        }
        for set in [
            &mut self.apart,
            &mut self.full,
            &mut self.ahead,
            &mut self.short,
        ] {
            set.remove(&id);
        }
    }
}

pub(crate) struct RedisInbound {
    shared: Arc<Shared>,
    wire: Wire,
    waiter: Waiter,
    inbox: Receiver<Note>,
    interrupt: Interrupt,
    kept: Kept,
    /// The subscriptions of each key, by its escape.
    by_key: HashMap<String, Vec<u64>>,
    work: Work,
    /// Whether the current wait no longer fits the subscriptions.
    stale: bool,
    direct: bool,
    /// How many entries of each stream the current wait asks for.
    brought: usize,
    /// Plain subscriptions for which a doorbell rang lately, the last one first.
    hot: VecDeque<u64>,
    /// The last entry that was read of each doorbell.
    bells: [Position; BELLS],
    handover: Position,
    connected: Instant,
    /// Whether a heartbeat of the member was sent on this connection.
    alive: bool,
    beat: Instant,
    swept: Instant,
    /// The largest entry seen lately, in bytes, which limits a round.
    largest: usize,
}

/// Ends a [`pump`](Inbound::pump).
#[derive(Clone)]
struct Interrupt {
    inbox: Sender<Note>,
    /// Whether a nudge is in the inbox, so that there is at most one.
    pending: Arc<AtomicBool>,
}

impl Interrupt {
    fn nudge(&self) {
        // ORDERING: pairs with the swap in `RedisInbound::take`. After the engine's thread has
        // taken the nudge, it sees everything that was done before this call, even if a nudge was
        // already pending.
        if !self.pending.swap(true, Ordering::AcqRel) {
            let _ = self.inbox.send(Note::Nudge);
        }
    }
}

impl RedisInbound {
    pub(crate) fn open(shared: Arc<Shared>) -> Result<Self, ConnectError> {
        let wire = Wire::open(&shared.config)?;
        let (sender, inbox) = unbounded();
        let waiter = Waiter::start(&shared.config, sender.clone())?;
        let now = Instant::now();
        let kept = std::mem::take(&mut *shared.kept.lock());
        let mut inbound = RedisInbound {
            kept,
            wire,
            waiter,
            inbox,
            interrupt: Interrupt {
                inbox: sender,
                pending: Arc::default(),
            },
            by_key: HashMap::new(),
            work: Work::default(),
            stale: false,
            direct: true,
            brought: 1,
            hot: VecDeque::new(),
            bells: [Position::START; BELLS],
            handover: Position::START,
            connected: now,
            alive: false,
            beat: now,
            swept: now,
            // Entries may be large until the first ones are seen. The number falls quickly.
            largest: shared.config.max_message.min(LARGE),
            shared,
        };
        match inbound.find_bells() {
            Ok(()) => Ok(inbound),
            Err(fault) if fault.is("NOPERM") => Err(ConnectError::Denied(fault.to_string().into())),
            Err(fault) => Err(ConnectError::Failed(fault.to_string().into())),
        }
    }

    /// Handles one note. Returns whether it ends the engine's `pump`.
    fn take(&mut self, note: Note) -> Result<bool, LinkError> {
        match note {
            Note::Nudge => {
                // ORDERING: pairs with the swap in `Interrupt::nudge`.
                self.interrupt.pending.swap(false, Ordering::AcqRel);
                self.look_for_room();
                Ok(true)
            }
            Note::Heard(heard) => {
                self.waiter.waits = false;
                self.hear(heard)?;
                Ok(false)
            }
        }
    }

    fn look_for_room(&mut self) {
        let RedisInbound { work, kept, .. } = self;
        let mut found = false;
        // The engine signals room when half of the buffer is free. Other nudges come earlier, and a
        // few entries are not worth a round.
        let is_full = |sink: &Sink| 2 * sink.room() < sink.buffer();
        work.full.retain(|id| {
            let Some(subscription) = kept.subscriptions.get(id) else {
                return false;
            };
            let full = is_full(&subscription.sink);
            if !full {
                work.ready.push(*id);
                found = true;
            }
            full
        });
        // A direct wait leaves out the subscriptions that had no room.
        self.stale |= found && self.direct;
        work.short.retain(|id| {
            let Some(subscription) = kept.subscriptions.get(id) else {
                return false;
            };
            let low = subscription
                .member()
                .is_some_and(|member| member.pace.is_low(member.held.len()));
            let short = !low || is_full(&subscription.sink);
            if !short {
                work.claims.push(*id);
            }
            short
        });
    }

    /// Called when a member has settled entries.
    fn look_for_work(&mut self, id: u64) {
        let Some(subscription) = self.kept.subscriptions.get(&id) else {
            return;
        };
        let Some(member) = subscription.member() else {
            return;
        };
        if !member.pace.is_low(member.held.len()) {
            return;
        }
        if self.work.ahead.contains(&id) {
            self.work.ready.push(id);
        }
        if subscription.sink.room() > 0 && self.work.short.remove(&id) {
            self.work.claims.push(id);
        }
    }

    /// Ends a subscription for which the server refused a command. If it is a member, its entries
    /// go to other members.
    fn fail(&self, id: u64, fault: &Fault) {
        if let Some(subscription) = self.kept.subscriptions.get(&id) {
            let reason = self.shared.config.redact(&fault.to_string());
            subscription.sink.fail(reason);
        }
    }

    fn forget(&mut self, id: u64) {
        if let Some(gone) = self.kept.subscriptions.remove(&id)
            && let Some(ids) = self.by_key.get_mut(&gone.escaped)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_key.remove(&gone.escaped);
            }
        }
        self.kept.closing.remove(&id);
        self.work.drop(id);
        self.stale |= self.direct;
    }
}

impl Inbound for RedisInbound {
    fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
        self.open_sink(sink)
    }

    fn close(&mut self, sink: &Sink) {
        self.close_sink(sink.id());
    }

    fn settle(&mut self, sink: &Sink, tag: u64, verdict: Verdict) {
        self.settle_tag(sink.id(), tag, verdict);
    }

    fn pump(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut word = false;
            while let Ok(note) = self.inbox.try_recv() {
                word |= self.take(note)?;
            }
            self.keep_time()?;
            self.settle_all()?;
            // First, so that a backlog of new entries does not keep a member from entries that
            // others left behind.
            self.claim_some()?;
            word |= self.round()?;
            self.check_places()?;
            self.wait_again()?;
            if word {
                return Ok(());
            }
            if !self.work.is_done() {
                continue;
            }
            let until = deadline.min(self.next_chore());
            match self.inbox.recv_deadline(until) {
                Ok(note) => {
                    if self.take(note)? {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("this side has a sender itself")
                }
            }
        }
    }

    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let interrupt = self.interrupt.clone();
        Arc::new(move || interrupt.nudge())
    }

    fn finish(&mut self) {
        // The side ends. If this cannot be sent, other members find out from the missing heartbeat.
        let _ = self.settle_all();
        let _ = self.leave();
    }
}

impl Drop for RedisInbound {
    fn drop(&mut self) {
        *self.shared.kept.lock() = std::mem::take(&mut self.kept);
    }
}

impl fmt::Debug for RedisInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisInbound").finish_non_exhaustive()
    }
}

/// Turns any fault into a lost connection, for commands whose refusal cannot be handled here.
fn refused(fault: Fault) -> LinkError {
    link(&fault)
}

/// Returns the answer to the first of these commands.
fn first(wire: &mut Wire, commands: &Commands) -> Result<Result<Value, Fault>, LinkError> {
    let answers = wire.run(commands).map_err(refused)?;
    lasting(answers.into_iter().next().unwrap_or(Value::Nil))
}

/// Turns a temporary refusal into a lost connection: the engine connects again after its pause.
fn lasting(answer: Value) -> Result<Result<Value, Fault>, LinkError> {
    match accepted(answer) {
        Err(fault) if fault.is_passing() => Err(link(&fault)),
        answer => Ok(answer),
    }
}

/// Reads a value as each kind of answer that only this side reads.
#[cfg(fuzzing)]
pub(crate) fn fuzz_answers(value: &redis::Value) {
    let _ = opening::Stream::read(value.clone());
    let _ = claims::pending_entries(value);
}
