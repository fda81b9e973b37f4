//! Chooses the streams of each wait, and handles its answer.

use std::collections::HashMap;
use std::time::Duration;

use fanfeed_broker::driver::LinkError;
use redis::Value;

use super::opening::Stream;
use super::{DIRECT, RedisInbound, refused};
use crate::bell;
use crate::command::Commands;
use crate::fault::Fault;
use crate::names::BELLS;
use crate::outbound::link;
use crate::position::Position;
use crate::reply::{RawEntry, streams};
use crate::subscription::{Role, Subscription};
use crate::waiter::LONGEST;

/// How many entries of each stream a direct wait returns, if all its readers are plain and have
/// that much room.
const BROUGHT: usize = 1024;

/// How many bytes of each stream a wait should return, estimated from recent entries.
const BYTES: usize = 4 << 20;

/// How many recently rung streams a wait names besides the doorbells. So a key with frequent
/// messages is read as early as if it were the only one.
const HOT: usize = 4;

/// How long to wait for the waiter's answer after its wait was ended, before ending it again.
const PATIENCE: Duration = Duration::from_millis(1);

impl RedisInbound {
    /// Reads the current ends of the doorbells.
    pub(super) fn find_bells(&mut self) -> Result<(), Fault> {
        let mut commands = Commands::new();
        for number in 0..BELLS {
            commands.push(&[
                b"XINFO",
                b"STREAM",
                self.shared.names.bell(number).as_bytes(),
            ]);
        }
        commands.push(&[b"XINFO", b"STREAM", self.shared.names.handover().as_bytes()]);
        let answers = self.wire.run(&commands)?;
        for (number, answer) in answers.into_iter().enumerate() {
            let last = Stream::read(answer)?.last;
            match self.bells.get_mut(number) {
                Some(bell) => *bell = last,
                None => self.handover = last,
            }
        }
        Ok(())
    }

    /// Starts a wait for the current subscriptions, unless one is running.
    pub(super) fn wait_again(&mut self) -> Result<(), LinkError> {
        let direct = self.by_key.len() <= DIRECT;
        if direct != self.direct {
            self.direct = direct;
            self.stale = true;
            if !direct {
                // No wait named the doorbells before.
                self.find_bells().map_err(refused)?;
                self.sweep();
            }
        }
        if self.stale && self.waiter.waits {
            self.end_wait()?;
        }
        if self.waiter.waits || self.kept.subscriptions.is_empty() {
            return Ok(());
        }
        self.stale = false;
        let command = if self.direct {
            self.wait_directly()
        } else {
            self.wait_at_bells()
        };
        self.waiter.wait(command);
        Ok(())
    }

    /// Ends the current wait, and handles its answer.
    fn end_wait(&mut self) -> Result<(), LinkError> {
        // A wait for the doorbells does not depend on the subscriptions.
        let name = self.waiter.client().to_string();
        let mut nudged = false;
        while self.waiter.waits {
            let ended = self.wire.ask(&[b"CLIENT", b"UNBLOCK", name.as_bytes()]);
            match ended {
                Ok(_) => {}
                Err(Fault::Lost(reason)) => return Err(LinkError::new(reason)),
                // Without the permission, the wait ends by itself a little later.
                Err(_) => break,
            }
            if let Ok(note) = self.inbox.recv_timeout(PATIENCE) {
                nudged |= self.take(note)?;
            }
        }
        if nudged {
            // The engine's nudge still has to end `pump`.
            self.interrupt.nudge();
        }
        Ok(())
    }

    fn wait_directly(&mut self) -> Commands {
        let mut names = vec![self.shared.names.handover().into_bytes()];
        let mut from = vec![self.handover];
        let (mut plain, mut most) = (true, 1);
        for ids in self.by_key.values() {
            // For several readers of one stream, wait at the place of the slowest one.
            let mut earliest: Option<Position> = None;
            for id in ids {
                let Some(subscription) = self.kept.subscriptions.get(id) else {
                    continue;
                };
                if subscription.is_closed()
                    || self.work.full.contains(id)
                    || self.work.ahead.contains(id)
                {
                    continue;
                }
                let room = subscription.sink.room();
                if room == 0 {
                    self.work.full.insert(*id);
                    continue;
                }
                let position = match &subscription.role {
                    Role::Plain(plain) => plain.cursor,
                    Role::Member(member) => {
                        plain = false;
                        member.watch
                    }
                };
                most = most.max(room);
                earliest = Some(earliest.map_or(position, |other| other.min(position)));
                if names.len() == from.len() {
                    names.push(subscription.stream.clone());
                }
            }
            from.extend(earliest);
        }
        // A member's wait only shows that there are entries. Its read returns them again.
        let count = if plain { BROUGHT.min(most) } else { 1 };
        self.brought = count.min(BYTES / self.largest).max(1);
        wait(self.brought, &names, &from)
    }

    fn wait_at_bells(&mut self) -> Commands {
        let mut names = vec![self.shared.names.handover().into_bytes()];
        names.extend((0..BELLS).map(|number| self.shared.names.bell(number).into_bytes()));
        let mut from = vec![self.handover];
        from.extend(self.bells);
        self.brought = bell::READ;
        // Rounds read large entries, because they ask for fewer.
        if self.largest * bell::READ <= BYTES {
            for id in &self.hot {
                if let Some(subscription) = self.kept.subscriptions.get(id)
                    && let Role::Plain(plain) = &subscription.role
                    && subscription.sink.room() > 0
                {
                    names.push(subscription.stream.clone());
                    from.push(plain.cursor);
                }
            }
        }
        wait(bell::READ, &names, &from)
    }

    /// Called when a doorbell led to messages of a plain subscription. Later waits also name its
    /// stream, if it has no other reader.
    pub(super) fn warm(&mut self, id: u64) {
        let alone = self
            .kept
            .subscriptions
            .get(&id)
            .is_some_and(|subscription| {
                let readers = self.by_key.get(&subscription.escaped);
                readers.is_some_and(|ids| ids.len() == 1)
            });
        if alone && !self.hot.contains(&id) {
            self.hot.truncate(HOT - 1);
            self.hot.push_front(id);
        }
    }

    /// Handles the waiter's answer.
    pub(super) fn hear(&mut self, heard: Result<Value, Fault>) -> Result<(), LinkError> {
        let heard = match heard {
            Ok(value) => streams(value).ok_or_else(|| link(&Fault::confused("a wait")))?,
            // The wait was ended, or a stream was deleted in the meantime.
            Err(fault) if fault.is("UNBLOCKED") => return Ok(()),
            Err(fault) => return Err(link(&fault)),
        };
        let handover = self.shared.names.handover();
        for stream in heard {
            if stream.stream == handover.as_bytes() {
                self.hear_handover(&stream.entries);
            } else if let Some(number) = self.bell_number(&stream.stream) {
                self.hear_bell(number, &stream.entries);
            } else {
                self.hear_stream(&stream.stream, stream.entries);
            }
        }
        Ok(())
    }

    fn bell_number(&self, stream: &[u8]) -> Option<usize> {
        (0..BELLS).find(|number| self.shared.names.bell(*number).as_bytes() == stream)
    }

    fn hear_bell(&mut self, number: usize, entries: &[RawEntry]) {
        for entry in entries {
            self.bells[number] = entry.position;
            for key in rung(entry) {
                if let Some(ids) = self.by_key.get(key) {
                    ids.iter().for_each(|id| self.work.ready.push(*id));
                }
            }
        }
        // So many entries may have come that some were trimmed before they were read.
        if entries.len() >= bell::READ {
            self.sweep();
        }
    }

    fn hear_handover(&mut self, entries: &[RawEntry]) {
        for entry in entries {
            self.handover = entry.position;
            for key in rung(entry) {
                for id in self.by_key.get(key).into_iter().flatten() {
                    self.work.claims.push(*id);
                }
            }
        }
    }

    /// Handles entries of a stream that was waited for directly. If a stream has one plain reader,
    /// that reader gets them at once. All other readers read for themselves.
    fn hear_stream(&mut self, stream: &[u8], entries: Vec<RawEntry>) {
        let Some(last) = entries.last().map(|entry| entry.position) else {
            return;
        };
        let escaped = self.shared.names.key_of(stream);
        let ids = escaped.and_then(|escaped| self.by_key.get(escaped));
        let ids = ids.cloned().unwrap_or_default();
        if let [id] = ids[..]
            && matches!(self.kept.subscriptions[&id].role, Role::Plain(_))
        {
            let count = entries.len();
            let full = self.deliver(id, entries, &HashMap::new()).full;
            // A full answer may have left entries, which the next direct wait returns.
            if full || (!self.direct && self.brought <= count) {
                self.work.ready.push(id);
            }
            return;
        }
        for id in ids {
            self.work.ready.push(id);
            let subscription = self.kept.subscriptions.get_mut(&id);
            if let Some(member) = subscription.and_then(Subscription::member_mut) {
                member.watch = member.watch.max(last);
            }
        }
    }
}

fn rung(entry: &RawEntry) -> impl Iterator<Item = &str> {
    let keys = entry.fields.iter().filter(|(name, _)| name == bell::FIELD);
    keys.flat_map(|(_, value)| bell::rung(value))
}

/// Makes an XREAD that waits.
fn wait(count: usize, names: &[Vec<u8>], from: &[Position]) -> Commands {
    let mut commands = Commands::new();
    let places = names.iter().map(Vec::as_slice).zip(from.iter().copied());
    commands.xread(count, Some(LONGEST), places);
    commands
}
