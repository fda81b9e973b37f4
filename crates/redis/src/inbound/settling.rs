//! Acknowledges entries, gives them back, and stores dead letters.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use fanfeed_broker::driver::{LinkError, Verdict};
use redis::Value;

use super::{Kept, RedisInbound, first, lasting, refused};
use crate::bell::{self, Ring};
use crate::command::Commands;
use crate::fault::Fault;
use crate::outbound::link;
use crate::position::Position;
use crate::reply::entries;
use crate::subscription::{Held, Subscription};

/// The consumer of the entries that members gave back. It never counts as alive, and any member may
/// take its entries.
pub(super) const NOBODY: &[u8] = b"handover";

/// The idle time, in milliseconds, with which an entry is given back. A member takes such an entry
/// only if it has been idle for [`TAKEN_AFTER`], and taking it resets the idle time. So if two
/// members try, only one gets it.
const GIVEN: &[u8] = b"86400000";
pub(super) const TAKEN_AFTER: &[u8] = b"43200000";

/// About how many entries the stream `handover` keeps.
const KEPT: &[u8] = b"1024";

/// Outcomes to send to the server. They outlive a connection.
#[derive(Debug, Default)]
pub(super) struct Settled {
    acknowledged: HashMap<u64, Vec<Position>>,
    /// Entries to give back, by subscription, and by the number of deliveries that the server
    /// should record, if that differs from its own count.
    given: HashMap<(u64, Option<u32>), Vec<Position>>,
    buried: VecDeque<(u64, Position)>,
    /// Dead letters that the server refused to store. They stay pending until a sweep tries again.
    unburied: Vec<(u64, Position)>,
}

impl Settled {
    pub(super) fn acknowledge(&mut self, id: u64, position: Position) {
        self.acknowledged.entry(id).or_default().push(position);
    }

    pub(super) fn give(&mut self, id: u64, position: Position, attempts: Option<u32>) {
        let given = self.given.entry((id, attempts)).or_default();
        given.push(position);
    }

    pub(super) fn bury(&mut self, id: u64, position: Position) {
        self.buried.push_back((id, position));
    }

    pub(super) fn try_again(&mut self) {
        for (id, position) in std::mem::take(&mut self.unburied) {
            self.bury(id, position);
        }
    }

    fn is_empty(&self) -> bool {
        self.acknowledged.is_empty() && self.given.is_empty() && self.buried.is_empty()
    }
}

impl RedisInbound {
    pub(super) fn settle_tag(&mut self, id: u64, tag: u64, verdict: Verdict) {
        let Some(member) = self.kept.member_mut(id) else {
            return;
        };
        let Some(Held { position, attempt }) = member.held.remove(&tag) else {
            return;
        };
        member.pace.settle(Instant::now());
        match verdict {
            Verdict::GivenUp => self.kept.settled.bury(id, position),
            Verdict::Requeued => self.kept.settled.give(id, position, None),
            // Most likely no handler has begun with it, so this delivery does not count.
            Verdict::Abandoned => self.kept.settled.give(id, position, Some(attempt - 1)),
            // An unknown verdict of a later engine counts as handled. Otherwise the message would
            // never be settled.
            _ => self.kept.settled.acknowledge(id, position),
        }
        self.look_for_work(id);
    }

    pub(super) fn close_sink(&mut self, id: u64) {
        match self.kept.member_mut(id) {
            // `settle_all` removes the member when its handlers hold no more messages.
            Some(member) => {
                member.closed = true;
                self.kept.closing.insert(id);
            }
            None => self.forget(id),
        }
        self.work.drop(id);
        self.stale |= self.direct;
    }

    /// Sends all outcomes to the server. After a fault they are sent again on the next connection,
    /// because each of the commands may be repeated.
    pub(super) fn settle_all(&mut self) -> Result<(), LinkError> {
        if !self.kept.settled.is_empty() {
            self.bury_all()?;
            let (commands, ids) = self.settlements();
            if !commands.is_empty() {
                let answers = self.wire.run(&commands).map_err(refused)?;
                // The answer to the ring is ignored: a sweep finds the entries if the ring is lost.
                for (id, answer) in ids.into_iter().zip(answers) {
                    match lasting(answer)? {
                        // The entries stay pending, and go to other members when this one has
                        // ended.
                        Err(fault) if !fault.is_vanished() => self.fail(id, &fault),
                        _ => {}
                    }
                }
            }
            self.kept.settled.acknowledged.clear();
            self.kept.settled.given.clear();
        }
        self.forget_closed()
    }

    /// The commands, and the subscription of each. A ring may follow them.
    fn settlements(&self) -> (Commands, Vec<u64>) {
        let mut commands = Commands::new();
        let mut ids = Vec::new();
        let known = |id| self.kept.subscriptions.contains_key(id);
        for (id, positions) in &self.kept.settled.acknowledged {
            if !known(id) {
                continue;
            }
            self.of_member(&mut commands, *id, b"XACK", &[], positions, &[]);
            ids.push(*id);
        }
        let mut rung = Vec::new();
        for ((id, attempts), positions) in &self.kept.settled.given {
            if !known(id) {
                continue;
            }
            ids.push(*id);
            self.give(&mut commands, *id, *attempts, positions);
            if let Some(subscription) = self.kept.subscriptions.get(id) {
                rung.push(&subscription.escaped[..]);
            }
        }
        if !rung.is_empty() {
            let stream = self.shared.names.handover();
            let ring = Ring::of(rung.into_iter());
            commands.push(&[
                b"XADD",
                stream.as_bytes(),
                b"MAXLEN",
                b"~",
                KEPT,
                b"*",
                bell::FIELD,
                ring.as_bytes(),
            ]);
        }
        (commands, ids)
    }

    /// Adds the command that gives entries back, with the number of deliveries that the server
    /// should record for them.
    fn give(&self, commands: &mut Commands, id: u64, attempts: Option<u32>, all: &[Position]) {
        let attempts = attempts.map(|attempts| attempts.to_string());
        let mut tail = vec![&b"IDLE"[..], GIVEN, b"JUSTID"];
        if let Some(attempts) = &attempts {
            tail.extend([&b"RETRYCOUNT"[..], attempts.as_bytes()]);
        }
        self.of_member(commands, id, b"XCLAIM", &[NOBODY, b"0"], all, &tail);
    }

    /// Adds a command on entries of a member's group.
    fn of_member(
        &self,
        commands: &mut Commands,
        id: u64,
        name: &[u8],
        before: &[&[u8]],
        positions: &[Position],
        after: &[&[u8]],
    ) {
        let Some(subscription) = self.kept.subscriptions.get(&id) else {
            return;
        };
        let Some(member) = subscription.member() else {
            return;
        };
        commands.begin(3 + before.len() + positions.len() + after.len());
        for part in [name, &subscription.stream, &member.group] {
            commands.part(part);
        }
        for part in before {
            commands.part(part);
        }
        for position in positions {
            commands.part(position.to_string().as_bytes());
        }
        for part in after {
            commands.part(part);
        }
    }

    /// Copies the entries that were given up to the stream of dead letters, and acknowledges them.
    fn bury_all(&mut self) -> Result<(), LinkError> {
        while let Some(&(id, position)) = self.kept.settled.buried.front() {
            match self.bury(id, position)? {
                true => self.kept.settled.acknowledge(id, position),
                false => self.kept.settled.unburied.push((id, position)),
            }
            self.kept.settled.buried.pop_front();
            self.keep_alive()?;
        }
        Ok(())
    }

    /// Copies one entry. Returns false if the server refused it.
    fn bury(&mut self, id: u64, position: Position) -> Result<bool, LinkError> {
        let Some(subscription) = self.kept.subscriptions.get(&id) else {
            return Ok(true);
        };
        let Some(member) = subscription.member() else {
            return Ok(true);
        };
        let place = position.to_string();
        let place = place.as_bytes();
        let found = Commands::one(&[b"XRANGE", &subscription.stream, place, place]);
        let found = match first(&mut self.wire, &found)? {
            Ok(found) => entries(found).ok_or_else(|| link(&Fault::confused("XRANGE")))?,
            Err(fault) if fault.is_vanished() => return Ok(true),
            Err(fault) => {
                self.fail(id, &fault);
                return Ok(false);
            }
        };
        let Some(entry) = found.into_iter().next() else {
            // The entry was trimmed in the meantime.
            return Ok(true);
        };
        let dead = self.shared.names.dead(&subscription.escaped);
        let kept = self.shared.config.max_entries.map(|kept| kept.to_string());
        let mut parts: Vec<&[u8]> = vec![b"XADD", dead.as_bytes()];
        if let Some(kept) = &kept {
            parts.extend([&b"MAXLEN"[..], b"~", kept.as_bytes()]);
        }
        parts.extend([&b"*"[..], b"group", &member.group, b"position", place]);
        for (name, value) in &entry.fields {
            parts.extend([&name[..], &value[..]]);
        }
        match self.wire.ask(&parts) {
            Ok(_) => Ok(true),
            Err(fault) if fault.is_passing() => Err(refused(fault)),
            Err(fault) => {
                // The server may have memory again.
                if !fault.is("OOM") {
                    self.fail(id, &fault);
                }
                Ok(false)
            }
        }
    }

    /// Gives back the entries of closed members that no handler has, and removes the members whose
    /// handlers have none either.
    fn forget_closed(&mut self) -> Result<(), LinkError> {
        let Kept {
            closing,
            subscriptions,
            ..
        } = &self.kept;
        let due = closing.iter().copied().filter(|id| {
            let member = subscriptions.get(id).and_then(Subscription::member);
            member.is_none_or(|member| member.held.is_empty() || !member.handed_on)
        });
        let due: Vec<u64> = due.collect();
        for id in due {
            if !self.give_rest(id)? {
                self.kept.closing.remove(&id);
                self.kept.stuck.insert(id);
                continue;
            }
            match self.kept.member_mut(id) {
                Some(member) if !member.held.is_empty() => member.handed_on = true,
                Some(member) => {
                    let (group, consumer) = (member.group.clone(), member.consumer.clone());
                    let stream = self.kept.subscriptions[&id].stream.clone();
                    self.bury_member(&stream, &group, &consumer)?;
                    self.forget(id);
                }
                None => self.forget(id),
            }
        }
        Ok(())
    }

    /// Gives back the pending entries of a member that no handler has. Returns false if the server
    /// refused that.
    fn give_rest(&mut self, id: u64) -> Result<bool, LinkError> {
        let Some(subscription) = self.kept.subscriptions.get(&id) else {
            return Ok(true);
        };
        let Some(member) = subscription.member() else {
            return Ok(true);
        };
        let held: HashSet<Position> = member.held.values().map(|held| held.position).collect();
        let mut from = "-".to_owned();
        loop {
            let pending = Commands::one(&[
                b"XPENDING",
                &subscription.stream,
                &member.group,
                from.as_bytes(),
                b"+",
                b"1000",
                &member.consumer,
            ]);
            let left = match first(&mut self.wire, &pending)? {
                Ok(Value::Array(listed)) if listed.is_empty() => return Ok(true),
                Ok(listed) => super::claims::pending_entries(&listed),
                Err(fault) => return Ok(fault.is_vanished()),
            };
            let Some((last, _)) = left.last() else {
                return Err(link(&Fault::confused("XPENDING")));
            };
            from = last.next().to_string();
            // No handler has begun with these, so their delivery to this member does not count.
            let mut given: HashMap<u32, Vec<Position>> = HashMap::new();
            for (position, times) in left {
                if !held.contains(&position) {
                    let attempts = times.saturating_sub(1);
                    given.entry(attempts).or_default().push(position);
                }
            }
            if given.is_empty() {
                continue;
            }
            let mut commands = Commands::new();
            for (attempts, positions) in &given {
                self.give(&mut commands, id, Some(*attempts), positions);
            }
            let handover = self.shared.names.handover();
            let escaped = subscription.escaped.as_bytes();
            commands.push(&[
                b"XADD",
                handover.as_bytes(),
                b"MAXLEN",
                b"~",
                KEPT,
                b"*",
                bell::FIELD,
                escaped,
            ]);
            if let Err(fault) = first(&mut self.wire, &commands)? {
                return Ok(fault.is_vanished());
            }
        }
    }
}
