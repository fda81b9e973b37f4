//! Reading what is ready, many streams in one pipeline.

use std::collections::HashMap;

use fanfeed_broker::driver::LinkError;
use redis::Value;

use super::opening::Stream;
use super::{RedisInbound, refused};
use crate::command::Commands;
use crate::fault::Fault;
use crate::outbound::link;
use crate::position::Position;
use crate::reply::{RawEntry, streams};
use crate::subscription::{Delivered, Role};
use crate::wire::accepted;

/// How many subscriptions one pipeline reads.
const STREAMS: usize = 256;
/// How many entries one pipeline asks for, if they are small.
const ENTRIES: usize = 4096;
/// How many bytes one pipeline should bring, by the entries seen lately.
const BYTES: usize = 8 << 20;
/// How many entries of one stream a pipeline asks for.
const OF_ONE: usize = 512;

/// One read of a round.
struct Read {
    id: u64,
    asked: usize,
    /// Whether an XINFO precedes it.
    looks: bool,
}

impl RedisInbound {
    /// Reads up to [`STREAMS`] of the ready subscriptions, and returns whether anything was delivered.
    pub(super) fn round(&mut self) -> Result<bool, LinkError> {
        let (commands, reads) = self.plan();
        if reads.is_empty() {
            return Ok(false);
        }
        let answers = self.wire.run(&commands).map_err(refused)?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        // Everything that came is delivered before a fault is told: a member's entries are its own by now.
        let mut taken = Vec::with_capacity(reads.len());
        for read in reads {
            let look = read.looks.then(&mut next);
            taken.push((read, look, next()));
        }
        let mut delivered = false;
        for (read, look, answer) in taken {
            delivered |= self.finish_read(&read, look, answer)?;
        }
        Ok(delivered)
    }

    fn plan(&mut self) -> (Commands, Vec<Read>) {
        let mut commands = Commands::new();
        let mut reads = Vec::new();
        let mut left = (BYTES / self.largest).clamp(1, ENTRIES);
        while reads.len() < STREAMS && left > 0 {
            let Some(id) = self.work.ready.pop_first() else {
                break;
            };
            let Some(subscription) = self.kept.subscriptions.get(&id) else {
                continue;
            };
            if subscription.is_closed() || subscription.sink.is_closed() {
                continue;
            }
            let room = subscription.sink.room();
            if room == 0 {
                self.work.full.insert(id);
                continue;
            }
            let asked = room.min(OF_ONE).min(left);
            left -= asked;
            // A direct wait goes on behind what the group has given out, which only the stream can tell. The
            // look comes first: what is appended between the two is then waited for, and found.
            let looks = self.direct && subscription.member().is_some();
            if looks {
                commands.push(&[b"XINFO", b"STREAM", &subscription.stream]);
            }
            subscription.read(&mut commands, asked);
            reads.push(Read { id, asked, looks });
        }
        (commands, reads)
    }

    fn finish_read(
        &mut self,
        read: &Read,
        look: Option<Value>,
        answer: Value,
    ) -> Result<bool, LinkError> {
        let entries = match accepted(answer).map(streams) {
            Ok(Some(mut found)) => found.pop().map_or_else(Vec::new, |stream| stream.entries),
            Ok(None) => return Err(link(&Fault::confused("a read"))),
            Err(fault) if fault.is("NOGROUP") => {
                self.group_vanished(read.id)?;
                return Ok(false);
            }
            Err(fault) if fault.is_passing() => return Err(link(&fault)),
            Err(fault) => {
                let Some(subscription) = self.kept.subscriptions.get(&read.id) else {
                    return Ok(false);
                };
                subscription
                    .sink
                    .fail(self.shared.config.redact(&fault.to_string()));
                return Ok(true);
            }
        };
        let count = entries.len();
        let recovering = self
            .kept
            .subscriptions
            .get(&read.id)
            .and_then(|subscription| subscription.member())
            .is_some_and(|member| member.recover.is_some());
        let delivered = self.deliver(read.id, entries, &HashMap::new());
        let Some(subscription) = self.kept.subscriptions.get_mut(&read.id) else {
            return Ok(delivered.count > 0);
        };
        if recovering
            && count == 0
            && let Some(member) = subscription.member_mut()
        {
            member.recover = None;
        }
        if delivered.full {
            self.work.full.insert(read.id);
        } else if recovering || count == read.asked {
            self.work.ready.insert(read.id);
        } else if let Some(look) = look
            && let Ok(stream) = Stream::read(look)
            && let Some(member) = subscription.member_mut()
        {
            // Fewer than asked for: all that was there at the look has been given to somebody.
            member.watch = member.watch.max(stream.last);
        }
        Ok(delivered.count > 0)
    }

    /// Delivers entries of a subscription, and settles those that no handler can have.
    pub(super) fn deliver(
        &mut self,
        id: u64,
        entries: Vec<RawEntry>,
        attempts: &HashMap<Position, u32>,
    ) -> Delivered {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return Delivered::default();
        };
        let bytes = |entry: &RawEntry| -> usize {
            let fields = entry.fields.iter();
            fields.map(|(name, value)| name.len() + value.len()).sum()
        };
        // It shrinks slowly, so that one large entry bounds the next few rounds.
        let largest = entries.iter().map(bytes).max().unwrap_or(0);
        self.largest = largest.max(self.largest - self.largest / 8).max(64);
        let delivered = subscription.deliver(entries, attempts, self.shared.config.max_message);
        if !delivered.gone.is_empty() {
            subscription.sink.gap(Some(delivered.gone.len() as u64));
        }
        for position in &delivered.gone {
            self.kept.settled.acknowledge(id, *position);
        }
        for position in &delivered.poison {
            self.kept.settled.bury(id, *position);
        }
        delivered
    }

    /// The server does not have the group any more. This makes it again, from the oldest entry that is left, and reports the gap.
    fn group_vanished(&mut self, id: u64) -> Result<(), LinkError> {
        if self.create_group(id, b"0").map_err(refused)?
            && let Some(subscription) = self.kept.subscriptions.get(&id)
        {
            subscription.sink.gap(None);
        }
        self.work.ready.insert(id);
        Ok(())
    }

    /// Compares the places of some plain readers with what their streams say: what was trimmed before it was read is
    /// reported.
    pub(super) fn check_places(&mut self) -> Result<(), LinkError> {
        let count = self.work.places.len().min(STREAMS);
        let mut ids = Vec::with_capacity(count);
        let mut commands = Commands::new();
        for id in self.work.places.drain(..count) {
            if let Some(subscription) = self.kept.subscriptions.get(&id) {
                commands.push(&[b"XINFO", b"STREAM", &subscription.stream]);
                ids.push(id);
            }
        }
        if commands.is_empty() {
            return Ok(());
        }
        let answers = self.wire.run(&commands).map_err(refused)?;
        for (id, answer) in ids.into_iter().zip(answers) {
            let Ok(stream) = Stream::read(answer) else {
                continue;
            };
            if let Some(subscription) = self.kept.subscriptions.get_mut(&id)
                && let Role::Plain(plain) = &mut subscription.role
                && let Some(missed) = plain.check(&stream)
            {
                subscription.sink.gap(missed);
            }
        }
        Ok(())
    }
}
