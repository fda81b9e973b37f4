//! The ring, its readers, and their model.

use fanfeed::{PositionError, ring};

use super::program::{Begin, Kind, Manner, Program};
use super::reader::Reader;
use super::sender::Sender;
use super::track::Track;
use crate::trace::{ensure, expect};
use crate::value::{self, Value};

const NAME: &str = "named";
const MOST: usize = 8;

pub(crate) struct World {
    pub(crate) sender: Sender,
    pub(crate) handle: ring::Handle<Value>,
    pub(crate) track: Track,
    pub(crate) readers: Vec<Reader>,
    pub(crate) number: u64,
    /// The most readers that do not block there have been at one time: so many segments there are
    /// besides the ring's own.
    most_lossy: usize,
    /// Writers that panicked have left values in slots up to this position.
    pub(crate) leftover: u64,
}

impl World {
    pub(crate) fn new(program: &Program) -> Self {
        let requested = program.capacity.get();
        let mut sender = Sender::new(program.is_exclusive, requested);
        let handle = sender.handle().expect("there is a sender at first");
        let capacity = requested.next_power_of_two() as u64;
        Self {
            sender,
            handle,
            track: Track::new(capacity),
            readers: Vec::new(),
            number: 0,
            most_lossy: 0,
            leftover: 0,
        }
    }

    pub(crate) fn join(
        &mut self,
        kind: Kind,
        manner: Manner,
        begin: Begin,
        named: bool,
        after: [Option<u8>; 2],
    ) {
        if self.readers.len() >= MOST {
            return;
        }
        let leaders = after.into_iter().flatten();
        let leaders = leaders.filter_map(|who| Some(&self.readers[self.choose(who)?]));
        let leaders: Vec<&Reader> = leaders.collect();
        let cursors: Vec<_> = leaders.iter().map(|one| one.receiver.cursor()).collect();
        // One that came late is nobody's leader, whatever it was to be.
        let may_miss = |one: &&Reader| one.kind != Kind::Strict && !one.came_late;
        let is_refused = leaders.iter().any(may_miss);
        let leaders: Vec<_> = leaders.iter().map(|one| one.id).collect();
        let name = named.then_some(NAME);
        let options = self
            .handle
            .subscriber()
            .overflow(kind.into())
            .wait_strategy(manner.into());
        let options = match name {
            Some(name) => options.name(name),
            None => options,
        };
        let options = options.after(&cursors);
        expect("refused leaders", &options.is_err(), &is_refused);
        let Ok(options) = options else {
            return;
        };
        let came_late = self.track.is_closed;
        let next = self.track.next();
        let (receiver, from) = match begin {
            Begin::History(history) => {
                // Few ask for the whole ring, and more is worth asking for.
                let history = u64::from(history % 48);
                let receiver = options.history(history).subscribe();
                if !came_late {
                    let most = history.min(next).min(self.track.capacity);
                    let least = most.min(self.kept());
                    let lag = receiver.lag();
                    ensure((least..=most).contains(&lag), || {
                        format!("history: expected {least} to {most}, saw {lag}")
                    });
                }
                (receiver, None)
            }
            Begin::Before(values) => {
                let position = next.saturating_sub(u64::from(values % 48));
                match self.judge(kind, position, options.from(position).subscribe()) {
                    Some(receiver) => (receiver, Some(position)),
                    None => return,
                }
            }
            Begin::After(values) => {
                let position = next + u64::from(values % 4);
                match self.judge(kind, position, options.from(position).subscribe()) {
                    Some(receiver) => (receiver, Some(position)),
                    None => return,
                }
            }
        };
        let lag = receiver.lag();
        if came_late {
            expect("lag of one that came late", &lag, &0);
        } else if let Some(position) = from {
            expect("where it begins", &receiver.position(), &position);
        }
        self.readers.push(Reader {
            id: receiver.subscription().id(),
            leaders,
            passed: None,
            receiver,
            handle: None,
            name,
            kind,
            start: next - lag,
            position: next - lag,
            told: 0,
            skipped: 0,
            cancelled: None,
            is_overflowed: false,
            came_late,
        });
        let lossy = |one: &&Reader| one.kind != Kind::Strict && !one.came_late;
        let lossy = self.readers.iter().filter(lossy).count();
        self.most_lossy = self.most_lossy.max(lossy);
    }

    /// Looks up to where the leaders of that reader have passed the ring.
    pub(crate) fn follow(&mut self, index: usize) {
        let leaders = &self.readers[index].leaders;
        let leads = |one: &&Reader| leaders.contains(&one.id) && !one.is_cut();
        let leading = self.readers.iter().filter(leads);
        self.readers[index].passed = leading.map(|one| one.position).min();
    }

    /// How many of the last values are kept at least, if there are as many.
    fn kept(&self) -> u64 {
        let capacity = self.track.capacity;
        let safe = if capacity < 8 {
            capacity - 1
        } else {
            capacity / 8 * 7
        };
        // After a claim that panicked the sender has made room far ahead.
        let reached = self.track.next().saturating_sub(self.track.may_be_gone());
        safe.min(reached)
    }

    /// Compares with the model what a reader was told that was to begin at that position.
    fn judge(
        &self,
        kind: Kind,
        position: u64,
        subscribed: Result<ring::Receiver<Value>, PositionError>,
    ) -> Option<ring::Receiver<Value>> {
        let next = self.track.next();
        match subscribed {
            Ok(receiver) => {
                let oldest = next.saturating_sub(self.track.capacity);
                ensure(
                    self.track.is_closed || (oldest..=next).contains(&position),
                    || format!("a reader begins at {position}, with {next} values sent"),
                );
                Some(receiver)
            }
            Err(PositionError::Ahead { next: told }) => {
                expect("the next position", &told, &next);
                ensure(position > next, || {
                    format!("{position} is said to be ahead")
                });
                None
            }
            Err(PositionError::Gone { oldest }) => {
                // Without threads no reader meets a sender that is looking.
                let slowest = match kind {
                    Kind::Strict => self.slowest().unwrap_or(u64::MAX),
                    Kind::Lossy | Kind::Fragile => u64::MAX,
                };
                let kept = next.saturating_sub(self.kept()).min(slowest);
                ensure(position < oldest && position < kept, || {
                    format!("{position} is said to be gone, and {kept} is kept; oldest: {oldest}")
                });
                ensure(oldest <= next, || {
                    format!("the oldest is {oldest} of {next}")
                });
                None
            }
        }
    }

    pub(crate) fn choose(&self, who: u8) -> Option<usize> {
        usize::from(who).checked_rem(self.readers.len())
    }

    /// How many values there is room for, as far as strict readers go.
    pub(crate) fn room(&self) -> u64 {
        let next = self.track.next();
        let strict = self
            .readers
            .iter()
            .filter(|one| one.kind == Kind::Strict && one.cancelled.is_none());
        let behind = strict
            .map(|one| one.receiver.lag())
            .max()
            .unwrap_or(0)
            .min(next);
        self.track.capacity - behind.min(self.track.capacity)
    }

    /// Where the slowest strict reader is.
    pub(crate) fn slowest(&self) -> Option<u64> {
        self.readers
            .iter()
            .filter(|one| one.kind == Kind::Strict && one.is_live(&self.track))
            .map(|one| one.position)
            .min()
    }

    pub(crate) fn close(&mut self) {
        self.track.is_closed = true;
    }

    /// Compares everything that can be seen from outside with the model.
    pub(crate) fn check(&mut self) {
        let track = &self.track;
        for reader in &mut self.readers {
            reader.check(track);
        }
        let live = self.readers.iter().filter(|one| one.is_live(track)).count();
        expect("subscribers", &self.handle.subscriber_count(), &live);
        expect("is_closed", &self.handle.is_closed(), &track.is_closed);
        if let Some(figures) = self.sender.figures() {
            expect(
                "figures",
                &figures,
                &(track.capacity, track.next(), live, track.is_closed),
            );
        }
        // A slot that was filled stays so, but for those of an eighth that the ring went on
        // without.
        let least = track
            .next()
            .min(track.capacity)
            .saturating_sub(track.eighth);
        let filled = track.next().max(self.leftover);
        let most = filled.min(track.capacity) + self.most_lossy as u64 * track.eighth;
        // All values of a closed ring go with its last reader.
        let is_over = track.is_closed && self.readers.iter().all(|one| one.came_late);
        let (least, most) = if is_over {
            (0, 0)
        } else {
            (least as i64, most as i64)
        };
        let seen = value::live();
        ensure((least..=most).contains(&seen), || {
            format!("live values: expected {least} to {most}, saw {seen}")
        });
    }
}
