//! Heartbeats, sweeps, and taking over the entries that members of groups left behind.
//!
//! At each [`heartbeat`](crate::Config::heartbeat), a member sets a string that expires after three
//! heartbeats. Other members take over the entries of a member without that string. While its
//! string exists, a member keeps its entries, however long a handler takes.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use fanfeed_broker::driver::LinkError;
use redis::Value;

use super::settling::{NOBODY, TAKEN_AFTER};
use super::{RedisInbound, first, lasting, refused};
use crate::command::Commands;
use crate::fault::Fault;
use crate::outbound::link;
use crate::position::Position;
use crate::reply::{RawEntry, bytes, entries, integer, pending};
use crate::subscription::Role;

/// The number of intervals without a heartbeat after which a member counts as dead.
const SILENCE: u32 = 3;
/// How many members look for entries of others in one pipeline.
const LOOKS: usize = 256;
/// How many entries one member takes at a time.
const TAKEN: usize = 256;

impl RedisInbound {
    /// Returns the time of the next heartbeat or sweep.
    pub(super) fn next_chore(&self) -> Instant {
        let config = &self.shared.config;
        (self.beat + config.heartbeat).min(self.swept + config.sweep)
    }

    /// Does the heartbeat and the sweep that are due.
    pub(super) fn keep_time(&mut self) -> Result<(), LinkError> {
        self.keep_alive()?;
        if self.swept.elapsed() >= self.shared.config.sweep {
            self.swept = Instant::now();
            self.kept.settled.try_again();
            self.kept.closing.extend(self.kept.stuck.drain());
            // A sweep may take longer than its interval. The next one does not begin before it has
            // ended.
            if self.work.swept.is_empty() {
                self.sweep();
            }
        }
        Ok(())
    }

    /// Sends the heartbeat if it is due. Work that takes many round trips calls this in between.
    pub(super) fn keep_alive(&mut self) -> Result<(), LinkError> {
        if self.beat.elapsed() >= self.shared.config.heartbeat {
            self.beat = Instant::now();
            if self.has_members() {
                match self.say_alive() {
                    // The next heartbeat tries again. If no attempt succeeds, other members take
                    // over.
                    Err(fault) if fault.is("OOM") => {}
                    said => said.map_err(refused)?,
                }
            }
        }
        Ok(())
    }

    /// Marks all streams to be read, and looks for entries that other members left behind.
    pub(super) fn sweep(&mut self) {
        for (id, subscription) in &self.kept.subscriptions {
            self.work.swept.push(*id);
            match &subscription.role {
                Role::Plain(plain) if plain.moved => self.work.places.push(*id),
                Role::Member(_) => self.work.claims.push(*id),
                Role::Plain(_) => {}
            }
        }
    }

    fn has_members(&self) -> bool {
        let mut all = self.kept.subscriptions.values();
        all.any(|subscription| subscription.member().is_some())
    }

    pub(super) fn say_alive(&mut self) -> Result<(), Fault> {
        let name = self.shared.names.member(&self.shared.member);
        let time = self.shared.config.heartbeat * SILENCE;
        let time = time.as_millis().to_string();
        // A server with full memory refuses SET, but not PEXPIRE.
        let kept = self
            .wire
            .ask(&[b"PEXPIRE", name.as_bytes(), time.as_bytes()])?;
        if kept != Value::Int(1) {
            self.wire
                .ask(&[b"SET", name.as_bytes(), b"alive", b"PX", time.as_bytes()])?;
        }
        self.alive = true;
        Ok(())
    }

    /// Removes the member's heartbeat from the server, if it had one.
    pub(super) fn leave(&mut self) -> Result<(), Fault> {
        let name = self.shared.names.member(&self.shared.member);
        self.wire.ask(&[b"DEL", name.as_bytes()]).map(drop)
    }

    /// For some of the members in `claims`, checks whether other members have left entries behind,
    /// and takes these entries.
    pub(super) fn claim_some(&mut self) -> Result<(), LinkError> {
        let mut looks = Vec::new();
        let mut commands = Commands::new();
        while looks.len() < LOOKS
            && let Some(id) = self.work.claims.pop()
        {
            if let Some(subscription) = self.kept.subscriptions.get(&id)
                && let Some(member) = subscription.member()
                && !member.closed
            {
                commands.push(&[b"XPENDING", &subscription.stream, &member.group]);
                looks.push(id);
            }
        }
        if looks.is_empty() {
            return Ok(());
        }
        let answers = self.wire.run(&commands).map_err(refused)?;
        let mut others = Vec::new();
        for (id, answer) in looks.into_iter().zip(answers) {
            let Some(answer) = self.accepted_for(id, lasting(answer)?) else {
                continue;
            };
            for (consumer, _) in pending(&answer).unwrap_or_default() {
                if self.is_foreign(&consumer) {
                    others.push((id, consumer));
                }
            }
        }
        let dead = self.dead(&others)?;
        for (id, consumer) in others {
            if consumer == NOBODY {
                self.claim(id, &consumer, TAKEN_AFTER)?;
            } else if dead.contains(life(&consumer)) {
                // Its last heartbeat was three intervals ago, and its last read at most one later.
                let idle = self.shared.config.heartbeat.as_millis().to_string();
                self.claim(id, &consumer, idle.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Returns the answer. A refusal ends the subscription, because it could not take over entries.
    /// The next read makes a vanished group again.
    fn accepted_for(&self, id: u64, answer: Result<Value, Fault>) -> Option<Value> {
        match answer {
            Ok(answer) => return Some(answer),
            Err(fault) if fault.is_vanished() => {}
            Err(fault) => self.fail(id, &fault),
        }
        None
    }

    fn is_foreign(&self, consumer: &[u8]) -> bool {
        life(consumer) != self.shared.member.as_bytes()
    }

    /// Returns the consumers whose members are dead. Shortly after this side has connected, none
    /// counts as dead, because the other members may be about to come back after the same fault.
    fn dead(&mut self, consumers: &[(u64, Vec<u8>)]) -> Result<HashSet<Vec<u8>>, LinkError> {
        let grace: Duration = self.shared.config.heartbeat * SILENCE;
        if self.connected.elapsed() < grace {
            return Ok(HashSet::new());
        }
        let others = consumers.iter().filter(|(_, consumer)| consumer != NOBODY);
        let members: HashSet<&[u8]> = others.map(|(_, consumer)| life(consumer)).collect();
        let members: Vec<&[u8]> = members.into_iter().collect();
        let mut commands = Commands::new();
        for member in &members {
            let name = self.shared.names.member(&String::from_utf8_lossy(member));
            commands.push(&[b"EXISTS", name.as_bytes()]);
        }
        if commands.is_empty() {
            return Ok(HashSet::new());
        }
        let answers = self.wire.run(&commands).map_err(refused)?;
        let mut dead = HashSet::new();
        for (member, answer) in members.into_iter().zip(answers) {
            match lasting(answer)? {
                Ok(Value::Int(0)) => {
                    dead.insert(member.to_vec());
                }
                Ok(_) => {}
                Err(fault) => consumers.iter().for_each(|(id, _)| self.fail(*id, &fault)),
            }
        }
        Ok(dead)
    }

    /// Takes over as many entries of another consumer as there is room for.
    fn claim(&mut self, id: u64, consumer: &[u8], idle: &[u8]) -> Result<(), LinkError> {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return Ok(());
        };
        let room = subscription.room().min(TAKEN);
        let Some(member) = subscription.member() else {
            return Ok(());
        };
        if room == 0 {
            self.work.short.insert(id);
            return Ok(());
        }
        let (stream, group) = (subscription.stream.clone(), member.group.clone());
        let own = member.consumer.clone();
        let count = room.to_string();
        let found = first(
            &mut self.wire,
            &Commands::one(&[
                b"XPENDING",
                &stream,
                &group,
                b"IDLE",
                idle,
                b"-",
                b"+",
                count.as_bytes(),
                consumer,
            ]),
        )?;
        let Some(answer) = self.accepted_for(id, found) else {
            return Ok(());
        };
        let found = pending_entries(&answer);
        if found.is_empty() {
            return Ok(());
        }
        let mut commands = Commands::new();
        commands.begin(5 + found.len());
        for part in [b"XCLAIM", &stream[..], &group, &own, idle] {
            commands.part(part);
        }
        for (position, _) in &found {
            commands.part(position.to_string().as_bytes());
        }
        let answer = first(&mut self.wire, &commands)?;
        let Some(answer) = self.accepted_for(id, answer) else {
            return Ok(());
        };
        // The entries already belong to this member, and are read again on the next connection.
        let taken = entries(answer).ok_or_else(|| link(&Fault::confused("XCLAIM")))?;
        let attempts: HashMap<Position, u32> = found.iter().copied().collect();
        let more = found.len() == room;
        self.take_over(id, taken, &attempts);
        if more {
            self.work.claims.push(id);
        } else if consumer != NOBODY {
            self.bury_member(&stream, &group, consumer)?;
        }
        Ok(())
    }

    /// Delivers entries of another consumer. A member that is reading its own pending entries
    /// continues at its position.
    fn take_over(&mut self, id: u64, taken: Vec<RawEntry>, attempts: &HashMap<Position, u32>) {
        let member = self.kept.member_mut(id);
        let recover = member.and_then(|member| member.recover.take());
        if self.deliver(id, taken, attempts).full {
            self.work.full.insert(id);
        }
        if let Some(recover) = recover
            && let Some(member) = self.kept.member_mut(id)
        {
            member.recover_from(recover);
        }
    }

    /// Removes a dead or closed member if it has no entries left, because the server would drop its
    /// entries.
    pub(super) fn bury_member(
        &mut self,
        stream: &[u8],
        group: &[u8],
        consumer: &[u8],
    ) -> Result<(), LinkError> {
        let left = Commands::one(&[b"XPENDING", stream, group, b"-", b"+", b"1", consumer]);
        let answer = self.wire.run(&left).map_err(refused)?.pop();
        if answer == Some(Value::Array(Vec::new())) {
            let commands = Commands::one(&[b"XGROUP", b"DELCONSUMER", stream, group, consumer]);
            self.wire.run(&commands).map_err(refused)?;
        }
        Ok(())
    }
}

/// Returns the member of a consumer. The consumer's name is the member's name, a period, and a
/// number.
fn life(consumer: &[u8]) -> &[u8] {
    let end = consumer.iter().rposition(|byte| *byte == b'.');
    &consumer[..end.unwrap_or(consumer.len())]
}

/// Returns the entries that XPENDING lists, with the number of deliveries of each.
pub(super) fn pending_entries(answer: &Value) -> Vec<(Position, u32)> {
    let Value::Array(listed) = answer else {
        return Vec::new();
    };
    let one = |entry: &Value| match entry {
        Value::Array(parts) if parts.len() == 4 => {
            let position = Position::parse(&bytes(parts[0].clone())?)?;
            let times = integer(&parts[3])?;
            Some((position, u32::try_from(times).unwrap_or(u32::MAX - 1)))
        }
        _ => None,
    };
    listed.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{life, pending_entries};
    use redis::parse_redis_value;

    #[test]
    fn a_consumer_lives_as_long_as_its_member() {
        assert_eq!(life(b"12-ab.7"), b"12-ab");
        assert_eq!(life(b"foreign"), b"foreign");
    }

    #[test]
    fn pending_entries_are_read() {
        let text = "*1 *4 $3 1-0 $1 m :7 :2 ".replace(' ', "\r\n");
        let value = parse_redis_value(text.as_bytes()).unwrap();
        let entries = pending_entries(&value);
        assert_eq!((entries[0].0.milliseconds, entries[0].1), (1, 2));
        assert!(pending_entries(&redis::Value::Nil).is_empty());
    }
}
