//! Rounds: each reads many ready streams in one pipeline.

use std::collections::{HashMap, HashSet};

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
/// How many bytes one pipeline should return, estimated from recent entries.
const BYTES: usize = 8 << 20;
/// How many entries of one stream a pipeline asks for.
const OF_ONE: usize = 512;

/// How many subscriptions of a round are reserved for a sweep, however many others are ready.
const SWEPT: usize = STREAMS / 4;

/// One command of a round.
struct Read {
    /// The subscriptions whose streams it reads. There are several only if all are plain.
    ids: Vec<u64>,
    asked: usize,
    /// Whether an XINFO precedes it.
    looks: bool,
}

impl RedisInbound {
    /// Reads up to [`STREAMS`] of the ready subscriptions, and returns whether anything was
    /// delivered.
    pub(super) fn round(&mut self) -> Result<bool, LinkError> {
        let (commands, reads) = self.plan();
        if reads.is_empty() {
            return Ok(false);
        }
        let answers = self.wire.run(&commands).map_err(refused)?;
        let mut answers = answers.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        let mut delivered = false;
        let mut lost = None;
        for read in reads {
            let look = read.looks.then(&mut next);
            // All entries that arrived are delivered before a fault is returned, because a member's
            // entries already belong to it.
            match self.finish_read(&read, look, next()) {
                Ok(some) => delivered |= some,
                Err(error) => lost = Some(error),
            }
        }
        lost.map_or(Ok(delivered), Err)
    }

    fn plan(&mut self) -> (Commands, Vec<Read>) {
        let chosen = self.choose();
        let mut commands = Commands::new();
        let mut reads = Vec::new();
        if chosen.is_empty() {
            return (commands, reads);
        }
        // Each stream gets its share. A stream with more entries is ready again at once.
        let entries = (BYTES / self.largest).clamp(1, ENTRIES);
        let share = (entries / chosen.len()).clamp(1, OF_ONE);
        let mut together = Vec::new();
        for (id, room) in chosen {
            let subscription = &self.kept.subscriptions[&id];
            let apart = self.work.apart.remove(&id);
            // Several readers of one stream use separate commands, because one answer would not
            // distinguish their entries.
            let alone = || {
                self.by_key
                    .get(&subscription.escaped)
                    .is_none_or(|ids| ids.len() == 1)
            };
            if subscription.member().is_none() && !apart && room >= share && alone() {
                together.push(id);
                continue;
            }
            let asked = room.min(share);
            // A direct wait begins after the entries that the group has given out, which only the
            // stream can tell. XINFO comes first, so that the wait finds entries that are appended
            // between the two commands.
            let looks = self.direct && subscription.member().is_some();
            if looks {
                commands.push(&[b"XINFO", b"STREAM", &subscription.stream]);
            }
            subscription.read(&mut commands, asked);
            reads.push(Read {
                ids: vec![id],
                asked,
                looks,
            });
        }
        if !together.is_empty() {
            let readers = together.iter().map(|id| &self.kept.subscriptions[id]);
            let places = readers.filter_map(|subscription| match &subscription.role {
                Role::Plain(plain) => Some((&subscription.stream[..], plain.cursor)),
                Role::Member(_) => None,
            });
            commands.xread(share, None, places);
            reads.push(Read {
                ids: together,
                asked: share,
                looks: false,
            });
        }
        (commands, reads)
    }

    /// The subscriptions of the next round, with the room in their sinks.
    fn choose(&mut self) -> Vec<(u64, usize)> {
        let mut chosen = Vec::new();
        let mut seen = HashSet::new();
        let reserved = if self.work.swept.is_empty() { 0 } else { SWEPT };
        while chosen.len() < STREAMS {
            let ready = match chosen.len() < STREAMS - reserved {
                true => self.work.ready.pop(),
                false => None,
            };
            let Some(id) = ready.or_else(|| self.work.swept.pop()) else {
                break;
            };
            let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
                continue;
            };
            if subscription.is_closed() || subscription.sink.is_closed() || !seen.insert(id) {
                continue;
            }
            match subscription.room() {
                0 if subscription.sink.room() == 0 => {
                    self.work.full.insert(id);
                }
                0 => {
                    self.work.ahead.insert(id);
                }
                room => chosen.push((id, room)),
            }
        }
        chosen
    }

    fn finish_read(
        &mut self,
        read: &Read,
        look: Option<Value>,
        answer: Value,
    ) -> Result<bool, LinkError> {
        let found = match accepted(answer).map(streams) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(link(&Fault::confused("a read"))),
            Err(fault) => return self.read_refused(read, &fault),
        };
        // The server leaves out the streams without new entries, and keeps the order of the others.
        let mut found = found.into_iter().peekable();
        let mut look = look.and_then(|look| Stream::read(look).ok());
        let mut delivered = false;
        for id in &read.ids {
            let Some(subscription) = self.kept.subscriptions.get(id) else {
                continue;
            };
            let answered = found.next_if(|stream| stream.stream == subscription.stream);
            let entries = answered.map_or_else(Vec::new, |stream| stream.entries);
            delivered |= self.take_read(*id, read.asked, look.take(), entries);
        }
        Ok(delivered)
    }

    fn read_refused(&mut self, read: &Read, fault: &Fault) -> Result<bool, LinkError> {
        if fault.is_passing() {
            return Err(link(fault));
        }
        let [id] = read.ids[..] else {
            // Reading each stream by itself shows which one was refused.
            self.work.apart.extend(&read.ids);
            read.ids.iter().for_each(|id| self.work.ready.push(*id));
            return Ok(false);
        };
        if fault.is("NOGROUP") {
            self.group_vanished(id)?;
            return Ok(false);
        }
        self.fail(id, fault);
        Ok(true)
    }

    /// Handles the answer for one subscription.
    fn take_read(
        &mut self,
        id: u64,
        asked: usize,
        look: Option<Stream>,
        entries: Vec<RawEntry>,
    ) -> bool {
        let count = entries.len();
        let member = self
            .kept
            .subscriptions
            .get(&id)
            .and_then(|all| all.member());
        let recovering = member.is_some_and(|member| member.recover.is_some());
        if count == 0 && member.is_none() {
            return false;
        }
        let plain = member.is_none();
        let delivered = self.deliver(id, entries, &HashMap::new());
        if plain && !self.direct {
            self.warm(id);
        }
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return delivered.count > 0;
        };
        if recovering
            && count == 0
            && let Some(member) = subscription.member_mut()
        {
            member.recover = None;
        }
        if delivered.full {
            self.work.full.insert(id);
            return delivered.count > 0;
        }
        if recovering || count == asked {
            self.work.ready.push(id);
            return delivered.count > 0;
        }
        // A direct wait had left it out.
        self.stale |= self.work.ahead.remove(&id) && self.direct;
        if let Some(look) = look
            && let Some(member) = subscription.member_mut()
        {
            // Fewer than asked for: the group has given out all entries that XINFO saw.
            member.watch = member.watch.max(look.last);
        }
        delivered.count > 0
    }

    /// Delivers entries of a subscription, and settles the entries that no handler can get.
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
        // The size shrinks slowly, so that one large entry limits the next few rounds.
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

    /// Called when the server no longer has the group. Makes it again, from the oldest remaining
    /// entry, and reports the gap.
    fn group_vanished(&mut self, id: u64) -> Result<(), LinkError> {
        if self.create_group(id, b"0").map_err(refused)?
            && let Some(subscription) = self.kept.subscriptions.get(&id)
        {
            subscription.sink.gap(None);
        }
        self.work.ready.push(id);
        Ok(())
    }

    /// Compares the places of some plain readers with their streams, and reports entries that were
    /// trimmed before they were read.
    pub(super) fn check_places(&mut self) -> Result<(), LinkError> {
        let mut ids = Vec::new();
        let mut commands = Commands::new();
        while ids.len() < STREAMS
            && let Some(id) = self.work.places.pop()
        {
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
