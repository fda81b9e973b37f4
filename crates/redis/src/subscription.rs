//! One subscription: its position, and the entries that it delivered.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use fanfeed_broker::driver::{Burst, Sink};

use crate::command::Commands;
use crate::entry;
use crate::names::{Names, escape};
use crate::pace::Pace;
use crate::position::Position;
use crate::reply::RawEntry;

/// A subscription that is open, or a member of a group that still has messages to settle.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) sink: Sink,
    pub(crate) stream: Vec<u8>,
    /// The key as doorbells list it.
    pub(crate) escaped: String,
    pub(crate) role: Role,
}

/// How a subscription reads.
#[derive(Debug)]
pub(crate) enum Role {
    Plain(Plain),
    Member(Member),
}

/// Reads all entries, at its own pace.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// The last entry that was delivered or skipped.
    pub(crate) cursor: Position,
    /// XINFO's count of entries that were ever added, at the time when `cursor` was the last entry.
    /// A reader that began in the middle has `None` until it has caught up.
    pub(crate) seen: Option<u64>,
    /// Whether an entry was read since the reader's place was last checked.
    pub(crate) moved: bool,
}

/// Reads the entries that the group gives to this member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group: Vec<u8>,
    pub(crate) consumer: Vec<u8>,
    /// The entries that handlers have, by tag.
    pub(crate) held: HashMap<u64, Held>,
    next_tag: u64,
    pub(crate) pace: Pace,
    /// After a fault, the position from which it reads its own pending entries again.
    pub(crate) recover: Option<Position>,
    /// The group has given out all entries up to here.
    pub(crate) watch: Position,
    /// Whether it is closed. A closed member takes no more entries, and is removed when it holds
    /// none.
    pub(crate) closed: bool,
    /// Whether it is closed and has given back all entries that its handlers did not have at that
    /// time.
    pub(crate) handed_on: bool,
}

/// A delivered entry that is not settled.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) position: Position,
    /// The number of this delivery, counted over all members.
    pub(crate) attempt: u32,
}

/// The outcome of delivering the entries that were read.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// How many entries the sink took.
    pub(crate) count: usize,
    /// Whether the sink had no room for the rest.
    pub(crate) full: bool,
    /// Deleted entries, which have to be acknowledged although no handler had them.
    pub(crate) gone: Vec<Position>,
    /// Entries that no handler can get, because they are not messages.
    pub(crate) poison: Vec<Position>,
}

impl Subscription {
    pub(crate) fn new(sink: Sink, names: &Names, member: &str) -> Self {
        let key = sink.key().as_str();
        let role = match sink.group() {
            None => Role::Plain(Plain::default()),
            Some(group) => Role::Member(Member {
                group: group.as_bytes().to_vec(),
                consumer: format!("{member}.{}", sink.id()).into_bytes(),
                held: HashMap::new(),
                next_tag: 0,
                pace: Pace::new(sink.concurrency(), sink.buffer()),
                recover: None,
                watch: Position::START,
                closed: false,
                handed_on: false,
            }),
        };
        Subscription {
            stream: names.stream(key).into_bytes(),
            escaped: escape(key),
            role,
            sink,
        }
    }

    pub(crate) fn member(&self) -> Option<&Member> {
        match &self.role {
            Role::Member(member) => Some(member),
            Role::Plain(_) => None,
        }
    }

    pub(crate) fn member_mut(&mut self) -> Option<&mut Member> {
        match &mut self.role {
            Role::Member(member) => Some(member),
            Role::Plain(_) => None,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.member().is_some_and(|member| member.closed)
    }

    /// How many more entries it should have. Also 0 if its sink has no room.
    pub(crate) fn room(&mut self) -> usize {
        let room = self.sink.room();
        match &mut self.role {
            Role::Plain(_) => room,
            Role::Member(member) => {
                let window = member.pace.window(Instant::now());
                room.min(window.saturating_sub(member.held.len()))
            }
        }
    }

    /// Adds the command that reads at most `count` entries without waiting.
    pub(crate) fn read(&self, commands: &mut Commands, count: usize) {
        let stream = &self.stream[..];
        match &self.role {
            Role::Plain(plain) => {
                commands.xread(count, None, std::iter::once((stream, plain.cursor)));
            }
            Role::Member(member) => {
                let count = count.to_string();
                let from = member.recover.map(|position| position.to_string());
                let from = from.as_deref().unwrap_or(">").as_bytes();
                commands.push(&[
                    b"XREADGROUP",
                    b"GROUP",
                    &member.group,
                    &member.consumer,
                    b"COUNT",
                    count.as_bytes(),
                    b"STREAMS",
                    stream,
                    from,
                ]);
            }
        }
    }

    /// Delivers entries in order. `attempts` has the number of earlier deliveries of each, if the
    /// server counted them.
    pub(crate) fn deliver(
        &mut self,
        entries: Vec<RawEntry>,
        attempts: &HashMap<Position, u32>,
        limit: usize,
    ) -> Delivered {
        let (sink, mut burst) = (&self.sink, Burst::default());
        let delivered = match &mut self.role {
            Role::Plain(plain) => plain.deliver(sink, &mut burst, entries, limit),
            Role::Member(member) => member.deliver(sink, &mut burst, entries, attempts, limit),
        };
        sink.deliver_burst(&mut burst);
        delivered
    }
}

impl Plain {
    fn deliver(
        &mut self,
        sink: &Sink,
        burst: &mut Burst,
        entries: Vec<RawEntry>,
        limit: usize,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        for entry in entries {
            let position = entry.position;
            // A wait that began before the last read returns the entries of that read again.
            if position <= self.cursor {
                continue;
            }
            match entry::read(sink.key(), limit, entry) {
                Ok(message) => {
                    if sink.gather(burst, message, 0, 1).is_err() {
                        delivered.full = true;
                        break;
                    }
                    delivered.count += 1;
                }
                Err((bad, payload)) => sink.undecodable(bad.to_string(), &payload),
            }
            self.cursor = position;
            self.seen = self.seen.map(|seen| seen + 1);
            self.moved = true;
        }
        delivered
    }
}

impl Member {
    /// Begins to read its own pending entries again, from this one on.
    pub(crate) fn recover_from(&mut self, position: Position) {
        self.recover = Some(
            self.recover
                .map_or(position, |earlier| earlier.min(position)),
        );
    }

    fn deliver(
        &mut self,
        sink: &Sink,
        burst: &mut Burst,
        entries: Vec<RawEntry>,
        attempts: &HashMap<Position, u32>,
        limit: usize,
    ) -> Delivered {
        let mut delivered = Delivered::default();
        // Only an entry that is read again can already be held.
        let held: HashSet<Position> = match self.recover {
            Some(_) => self.held.values().map(|held| held.position).collect(),
            None => HashSet::new(),
        };
        let mut last = self.recover;
        for entry in entries {
            let position = entry.position;
            if held.contains(&position) {
                last = Some(position);
                continue;
            }
            if entry.fields.is_empty() {
                delivered.gone.push(position);
                last = Some(position);
                continue;
            }
            match entry::read(sink.key(), limit, entry) {
                Ok(message) => {
                    let tag = self.next_tag;
                    let attempt = attempts.get(&position).copied().unwrap_or(0) + 1;
                    if sink.gather(burst, message, tag, attempt).is_err() {
                        delivered.full = true;
                        // The entry already belongs to this member. The rest of the batch is read
                        // again from here.
                        self.recover_from(before(position));
                        return delivered;
                    }
                    self.next_tag += 1;
                    if self.held.is_empty() {
                        self.pace.begin(Instant::now());
                    }
                    self.held.insert(tag, Held { position, attempt });
                    delivered.count += 1;
                }
                Err((bad, payload)) => {
                    sink.undecodable(bad.to_string(), &payload);
                    delivered.poison.push(position);
                }
            }
            last = Some(position);
        }
        if self.recover.is_some() {
            self.recover = last;
        }
        delivered
    }
}

/// Returns the next smaller position.
fn before(position: Position) -> Position {
    match (position.milliseconds, position.sequence) {
        (0, 0) => Position::START,
        (milliseconds, 0) => Position {
            milliseconds: milliseconds - 1,
            sequence: u64::MAX,
        },
        (milliseconds, sequence) => Position {
            milliseconds,
            sequence: sequence - 1,
        },
    }
}
