//! Opens a subscription, for the first time and after a reconnect.

use fanfeed_broker::Start;
use fanfeed_broker::driver::{Sink, SinkError};
use redis::Value;

use super::RedisInbound;
use crate::command::Commands;
use crate::fault::Fault;
use crate::outbound::link;
use crate::position::Position;
use crate::reply::{field, integer};
use crate::subscription::{Plain, Role, Subscription};
use crate::wire::accepted;

/// The answer of XINFO about a stream. A stream that does not exist counts as a stream that never
/// had an entry.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stream {
    /// The position of the first remaining entry.
    pub(super) first: Option<Position>,
    /// The position of the last entry that was ever added.
    pub(super) last: Position,
    /// The number of entries that were ever added.
    pub(super) added: u64,
    /// The number of remaining entries.
    pub(super) length: u64,
}

impl Stream {
    pub(super) fn read(answer: Value) -> Result<Self, Fault> {
        let answer = match accepted(answer) {
            Err(Fault::Refused { text, .. }) if text.contains("no such key") => {
                return Ok(Stream::default());
            }
            other => other?,
        };
        let number = |name| field(&answer, name).and_then(integer);
        let position = |value: &Value| match value {
            Value::BulkString(text) => Position::parse(text),
            _ => None,
        };
        let first = match field(&answer, "first-entry") {
            Some(Value::Array(parts)) => parts.first().and_then(position),
            _ => None,
        };
        let last = field(&answer, "last-generated-id").and_then(position);
        match (last, number("entries-added"), number("length")) {
            (Some(last), Some(added), Some(length)) => Ok(Stream {
                first,
                last,
                added,
                length,
            }),
            _ => Err(Fault::confused("XINFO STREAM")),
        }
    }
}

impl Stream {
    /// Whether entries after this position may have been removed. The position of the last removed
    /// entry is not known, so this is also true for a reader that had read exactly up to that
    /// entry.
    fn has_trimmed_behind(&self, position: Position) -> bool {
        self.added > self.length && position < self.first.unwrap_or(self.last)
    }
}

impl Plain {
    /// Compares the reader's place with the state of the stream. Returns the gap to report, if
    /// there is one, with the number of missed entries if it is known.
    ///
    /// This relies on the server's clock not going back over a restart, so that the entries of a
    /// recreated stream come after the cursor.
    pub(super) fn check(&mut self, stream: &Stream) -> Option<Option<u64>> {
        self.moved = false;
        if stream.last < self.cursor || self.seen.is_some_and(|seen| stream.added < seen) {
            // The server has lost some entries at the end, or all entries. The reader has read the
            // remaining ones up to the cursor.
            self.cursor = match stream.first {
                Some(first) if first > self.cursor => self.cursor,
                Some(_) => self.cursor.min(stream.last),
                None => stream.last,
            };
            self.seen = (self.cursor == stream.last).then_some(stream.added);
            return Some(None);
        }
        if self.cursor == stream.last {
            // A reader at the end has seen all entries, unless the server trimmed some before it
            // read them.
            let seen = self.seen.replace(stream.added).unwrap_or(stream.added);
            return (stream.added > seen).then(|| Some(stream.added - seen));
        }
        // The entries before the first remaining one were removed.
        let removed = stream.added.saturating_sub(stream.length);
        let seen = self.seen?;
        self.seen = Some(seen.max(removed));
        (removed > seen).then(|| Some(removed - seen))
    }
}

impl RedisInbound {
    pub(super) fn open_sink(&mut self, sink: &Sink) -> Result<(), SinkError> {
        self.keep_alive()?;
        let id = sink.id();
        let known = match self.kept.subscriptions.get(&id) {
            // The member has ended, and only settles entries.
            Some(subscription) if subscription.is_closed() => return Ok(()),
            found => found.is_some(),
        };
        if !known {
            let new = Subscription::new(sink.clone(), &self.shared.names, &self.shared.member);
            self.kept.subscriptions.insert(id, new);
        }
        match self.enter(id, known) {
            Ok(()) => {}
            Err(fault) => {
                if !known {
                    // The subscription was never live, and starts from the beginning.
                    self.kept.subscriptions.remove(&id);
                }
                if fault.is_passing() {
                    return Err(link(&fault).into());
                }
                if known {
                    // A member still has to settle the entries that its handlers have, and to hand
                    // on the rest.
                    self.close_sink(id);
                }
                let reason = self.shared.config.redact(&fault.to_string());
                return Err(SinkError::Refused(reason.into()));
            }
        }
        let escaped = self.kept.subscriptions[&id].escaped.clone();
        let readers = self.by_key.entry(escaped).or_default();
        if !readers.contains(&id) {
            readers.push(id);
        }
        // A new plain reader is not ready yet: later entries come with a ring or a direct wait.
        if known || sink.group().is_some() || *sink.start() != Start::New {
            self.work.ready.push(id);
        }
        if sink.group().is_some() {
            self.work.claims.push(id);
        }
        self.stale |= self.direct;
        Ok(())
    }

    fn enter(&mut self, id: u64, known: bool) -> Result<(), Fault> {
        let subscription = &self.kept.subscriptions[&id];
        match subscription.role {
            Role::Plain(_) => self.enter_plain(id, known),
            Role::Member(_) => {
                // The server has to know that the member is alive before an entry is read under its
                // name.
                if !self.alive {
                    match self.say_alive() {
                        // The server's memory is full: continue without a heartbeat until there is
                        // memory again.
                        Err(fault) if known && fault.is("OOM") => {}
                        said => said?,
                    }
                }
                self.enter_group(id, known)
            }
        }
    }

    fn enter_plain(&mut self, id: u64, known: bool) -> Result<(), Fault> {
        let subscription = self
            .kept
            .subscriptions
            .get_mut(&id)
            .expect("it is being opened");
        let answers =
            self.wire
                .run(&Commands::one(&[b"XINFO", b"STREAM", &subscription.stream]))?;
        let stream = Stream::read(answers.into_iter().next().unwrap_or(Value::Nil))?;
        let Role::Plain(plain) = &mut subscription.role else {
            unreachable!("it is a plain one");
        };
        if known {
            if let Some(missed) = plain.check(&stream) {
                subscription.sink.gap(missed);
            }
            return Ok(());
        }
        (plain.cursor, plain.seen) = match subscription.sink.start() {
            Start::Earliest => (
                Position::START,
                Some(stream.added.saturating_sub(stream.length)),
            ),
            Start::After(text) => {
                let position = after(text)?;
                if stream.has_trimmed_behind(position) {
                    subscription.sink.gap(None);
                }
                (position, None)
            }
            _ => (stream.last, Some(stream.added)),
        };
        Ok(())
    }

    fn enter_group(&mut self, id: u64, known: bool) -> Result<(), Fault> {
        let subscription = &self.kept.subscriptions[&id];
        let from = if known {
            // If the group has vanished, any entry of its stream may be unhandled.
            Position::START.to_string()
        } else {
            match subscription.sink.start() {
                Start::Earliest => Position::START.to_string(),
                Start::After(text) => after(text)?.to_string(),
                _ => "$".to_owned(),
            }
        };
        let mut trimmed = false;
        if !known && let Start::After(text) = subscription.sink.start() {
            let position = after(text)?;
            let name = subscription.stream.clone();
            let answer = self
                .wire
                .run(&Commands::one(&[b"XINFO", b"STREAM", &name]))?;
            let stream = Stream::read(answer.into_iter().next().unwrap_or(Value::Nil))?;
            trimmed = stream.has_trimmed_behind(position);
        }
        let created = match self.create_group(id, from.as_bytes()) {
            // If the group does not exist, the first read returns that.
            Err(fault) if known && fault.is("OOM") => false,
            created => created?,
        };
        let subscription = self
            .kept
            .subscriptions
            .get_mut(&id)
            .expect("it is being opened");
        // A group that existed continues at its position.
        if created && (known || trimmed) {
            subscription.sink.gap(None);
        }
        let member = subscription.member_mut().expect("it is one of a group");
        if known {
            // Entries that were being read when the connection was lost are pending without a
            // handler.
            member.recover = Some(Position::START);
        }
        Ok(())
    }

    /// Makes the group and its stream. Returns whether the group was missing.
    pub(super) fn create_group(&mut self, id: u64, from: &[u8]) -> Result<bool, Fault> {
        let subscription = &self.kept.subscriptions[&id];
        let member = subscription.member().expect("it is one of a group");
        let created = self.wire.ask(&[
            b"XGROUP",
            b"CREATE",
            &subscription.stream,
            &member.group,
            from,
            b"MKSTREAM",
        ]);
        match created {
            Ok(_) => Ok(true),
            Err(fault) if fault.is("BUSYGROUP") => Ok(false),
            Err(fault) => Err(fault),
        }
    }
}

fn after(text: &str) -> Result<Position, Fault> {
    Position::parse(text.as_bytes()).ok_or_else(|| Fault::Refused {
        code: "ERR".to_owned(),
        text: format!("{text:?} is not a position of a stream, which looks like 1700000000000-0"),
    })
}

#[cfg(test)]
mod tests {
    use super::{Plain, Stream};
    use crate::position::Position;

    fn at(milliseconds: u64) -> Position {
        Position {
            milliseconds,
            sequence: 0,
        }
    }

    /// A reader that saw `seen` entries up to `cursor`, and a stream that has `length` of its
    /// `added` entries left.
    fn check(cursor: u64, seen: u64, last: u64, added: u64, length: u64) -> Option<Option<u64>> {
        let mut plain = Plain {
            cursor: at(cursor),
            seen: Some(seen),
            moved: true,
        };
        plain.check(&stream(last, added, length))
    }

    /// A stream that has had an entry in each millisecond up to `last`.
    fn stream(last: u64, added: u64, length: u64) -> Stream {
        Stream {
            first: (length > 0).then(|| at(last + 1 - length)),
            last: at(last),
            added,
            length,
        }
    }

    #[test]
    fn a_reader_that_kept_up_has_missed_nothing() {
        assert_eq!(check(0, 0, 0, 0, 0), None);
        assert_eq!(check(9, 5, 9, 5, 0), None);
        assert_eq!(check(5, 5, 9, 9, 4), None);
        assert_eq!(check(5, 5, 9, 9, 9), None);
    }

    #[test]
    fn what_was_trimmed_before_it_was_read_is_counted() {
        assert_eq!(check(5, 5, 9, 9, 3), Some(Some(1)));
        assert_eq!(check(0, 0, 9, 9, 0), Some(Some(9)));
    }

    #[test]
    fn a_stream_that_began_anew_is_read_from_its_beginning() {
        let mut plain = Plain {
            cursor: at(5),
            seen: Some(5),
            moved: true,
        };
        assert_eq!(plain.check(&stream(8, 3, 3)), Some(None));
        assert_eq!(plain.cursor, at(5));
        assert_eq!(plain.check(&Stream::default()), Some(None));
        assert_eq!(plain.cursor, Position::START);
        assert_eq!(plain.check(&Stream::default()), None);
    }

    #[test]
    fn a_stream_that_lost_its_end_is_read_on() {
        let mut plain = Plain {
            cursor: at(9),
            seen: Some(9),
            moved: true,
        };
        assert_eq!(plain.check(&stream(7, 7, 7)), Some(None));
        assert_eq!(plain.cursor, at(7));
        assert_eq!(plain.check(&stream(7, 7, 7)), None);
    }

    #[test]
    fn after_a_gap_the_next_check_is_quiet() {
        let mut plain = Plain {
            cursor: at(5),
            seen: Some(5),
            moved: true,
        };
        assert_eq!(plain.check(&stream(9, 9, 3)), Some(Some(1)));
        assert_eq!(plain.check(&stream(9, 9, 3)), None);
    }

    #[test]
    fn a_reader_that_was_overtaken_on_the_way_learns_it_at_the_end() {
        let mut plain = Plain {
            cursor: at(9),
            seen: Some(7),
            moved: true,
        };
        assert_eq!(plain.check(&stream(9, 9, 9)), Some(Some(2)));
        assert_eq!(plain.check(&stream(9, 9, 9)), None);
    }

    #[test]
    fn a_reader_at_the_end_learns_all_that_it_missed_at_once() {
        let mut plain = Plain {
            cursor: at(50),
            seen: Some(16),
            moved: true,
        };
        assert_eq!(plain.check(&stream(50, 50, 10)), Some(Some(34)));
        assert_eq!(plain.check(&stream(50, 50, 10)), None);
    }

    #[test]
    fn a_reader_that_began_in_the_middle_counts_from_where_it_caught_up() {
        let mut plain = Plain {
            cursor: at(5),
            seen: None,
            moved: true,
        };
        assert_eq!(plain.check(&stream(9, 100, 3)), None);
        plain.cursor = at(9);
        assert_eq!(plain.check(&stream(9, 100, 3)), None);
        assert_eq!(plain.check(&stream(10, 101, 0)), Some(Some(1)));
    }
}
