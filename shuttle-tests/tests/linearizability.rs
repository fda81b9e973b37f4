//! Feeds and rings, compared with sequential programs.
//!
//! **A feed, as one of its subscribers sees it.** The values of a feed have no single order: those
//! of several threads come to each subscriber in a different order. A subscriber's results are as
//! if it were the only one, and as if each call that concerns it took effect at one moment:
//!
//! - *subscribe* makes an empty queue;
//! - *send* puts the value into the queue. If the queue is full, it waits for room
//!   ([`Overflow::Block`]), or pushes the oldest value out, which adds one to the gap in front of
//!   the queue ([`Overflow::DropOldest`]), or adds one to the gap behind the queue
//!   ([`Overflow::DropNewest`]) and reaches no subscriber. Before a subscribe and after an
//!   unsubscribe it reaches no subscriber and changes nothing;
//! - *unsubscribe*, or a close, ends the queue;
//! - *receive* reports the gap if that comes first, or takes the value if that does, or says that
//!   there is none, or that there will be none.
//!
//! Where the documentation leaves freedom, a call takes effect at two moments instead of one:
//!
//! - an *unsubscribe* ends the queue for sends that begin first, then for those under way, and then
//!   for the receiver, which may find it empty in between;
//! - a *send* finds the subscriber first, and puts its value into the queue then: in between
//!   another send may find no subscriber;
//! - a *send* that is refused finds the queue full first, and counts itself then: receives in
//!   between do not report it;
//! - a *send* takes its place first, and then fills it: beside other sends the queue may be found
//!   empty in between;
//! - a *send* that pushes the oldest value out does that first; if the end comes then, it reaches
//!   no subscriber.
//!
//! **A ring** has one order for all readers: a send's position is the number of values sent before
//! it, and each reader gets the value at its own position. A send takes effect when there is room:
//! every blocking reader is less than a capacity behind. While one send is under way, other sends
//! may find the ring full because of it, or may have claimed a later position and returned, and
//! readers may still find the ring empty. So the order must explain `Full` and `Empty` where one
//! thread sends, and need not where several do.
//!
//! ```text
//! RUSTFLAGS="--cfg fanfeed_shuttle" cargo test -p fanfeed-shuttle-tests --release --test linearizability
//! ```
#![cfg(fanfeed_shuttle)]

use std::collections::VecDeque;

use fanfeed::{Feed, Overflow, RingFeed, TryRecvError};
use fanfeed_shuttle_tests::Schedules;
use fanfeed_shuttle_tests::linearizability::{History, Specification};
use shuttle::thread;

type Received = Result<u32, TryRecvError>;

/// What one subscriber has of a feed.
struct Channel {
    capacity: usize,
    overflow: Overflow,
    several_send: bool,
}

#[derive(Debug)]
enum Call {
    Subscribe,
    /// A send finds the subscriber.
    Found,
    /// A value that was put into the queue.
    Put(u32),
    /// A value that was not: what became of the others for it.
    Refused(u32),
    /// It is counted.
    Counted(u32),
    Receive(Received),
    /// Of an unsubscribe, or of a close.
    EndForNewSends,
    EndForSends,
    EndForReceiver,
}

/// An unsubscribe, or a close.
const END: [Call; 3] = [
    Call::EndForNewSends,
    Call::EndForSends,
    Call::EndForReceiver,
];

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Queue {
    /// For sends that begin.
    is_live: bool,
    /// For sends under way.
    is_open: bool,
    /// For the receiver.
    has_ended: bool,
    /// The values, each with the gap in front of it.
    values: VecDeque<(u64, u32)>,
    /// The gap behind them.
    gap: u64,
    /// Values that were refused, and by how much each is to add to the gap.
    refused: Vec<(u32, u64)>,
    /// Values that were refused by the end, after their sender had found the queue full, and is to
    /// push out the oldest.
    late: Vec<u32>,
}

impl Queue {
    fn push_out(&mut self) {
        if let Some((before, _)) = self.values.pop_front() {
            let gap = self
                .values
                .front_mut()
                .map_or(&mut self.gap, |(gap, _)| gap);
            *gap += before + 1;
        }
    }

    fn receive(&mut self, received: &Received) -> bool {
        match (self.values.front_mut(), received) {
            (Some((0, value)), Ok(taken)) => {
                let is_it = value == taken;
                self.values.pop_front();
                is_it
            }
            (Some((gap, _)), Err(TryRecvError::Lagged(told))) => std::mem::take(gap) == *told,
            (None, Err(TryRecvError::Empty)) => !self.has_ended,
            (None, Err(TryRecvError::Lagged(told))) => {
                *told != 0 && std::mem::take(&mut self.gap) == *told
            }
            (None, Err(TryRecvError::Closed)) => self.has_ended && self.gap == 0,
            _ => false,
        }
    }
}

impl Specification for Channel {
    type Operation = Call;
    type State = Queue;

    fn begin(&self) -> Queue {
        Queue::default()
    }

    fn step(&self, before: &Queue, call: &Call) -> Vec<Queue> {
        let mut queue = before.clone();
        let is_full = queue.values.len() == self.capacity;
        let is_allowed = match call {
            Call::Receive(Err(TryRecvError::Empty)) if self.several_send => !queue.has_ended,
            Call::Subscribe => {
                (queue.is_live, queue.is_open) = (true, true);
                true
            }
            Call::Found => queue.is_live,
            Call::Put(value) => {
                if is_full && self.overflow == Overflow::DropOldest {
                    queue.push_out();
                }
                let gap = std::mem::take(&mut queue.gap);
                queue.values.push_back((gap, *value));
                queue.is_open && queue.values.len() <= self.capacity
            }
            Call::Refused(value) => {
                let refused_for = |count| {
                    let mut queue = queue.clone();
                    queue.refused.push((*value, count));
                    queue.refused.sort_unstable();
                    queue
                };
                let mut outcomes = Vec::new();
                if !queue.is_live {
                    outcomes.push(refused_for(0));
                }
                if queue.is_open && is_full {
                    match self.overflow {
                        Overflow::DropNewest => outcomes.push(refused_for(1)),
                        Overflow::DropOldest => {
                            // It pushes out the oldest at once, or only when it counts.
                            let (mut now, mut late) = (refused_for(0), refused_for(0));
                            now.push_out();
                            late.late.push(*value);
                            late.late.sort_unstable();
                            outcomes.extend([now, late]);
                        }
                        _ => {}
                    }
                }
                return outcomes;
            }
            Call::Counted(value) => {
                let index = queue
                    .refused
                    .iter()
                    .position(|(refused, _)| refused == value);
                let count = index.map(|index| queue.refused.remove(index).1);
                if let Some(late) = queue.late.iter().position(|late| late == value) {
                    queue.late.remove(late);
                    if is_full {
                        queue.push_out();
                    }
                }
                queue.gap += count.unwrap_or(0);
                let has_ended = !queue.is_live;
                match count {
                    Some(1) => true,
                    Some(_) => has_ended,
                    None => false,
                }
            }
            Call::Receive(received) => queue.receive(received),
            Call::EndForNewSends => {
                queue.is_live = false;
                true
            }
            Call::EndForSends => {
                queue.is_open = false;
                true
            }
            Call::EndForReceiver => {
                queue.has_ended = true;
                !queue.is_open
            }
        };
        if is_allowed { vec![queue] } else { Vec::new() }
    }
}

/// Threads that send; one subscribes meanwhile, receives and unsubscribes; and one may close the
/// feed.
fn a_subscriber(capacity: usize, overflow: Overflow, senders: u32, closes: bool) {
    let history = History::new();
    let feed = Feed::new();
    let mut threads: Vec<_> = (0..senders)
        .map(|sender| {
            let (feed, history) = (feed.clone(), history.clone());
            thread::spawn(move || {
                for value in 10 * sender..10 * sender + 4 - senders.min(2) {
                    history.record_steps(|| match feed.send(value) {
                        0 => vec![Call::Refused(value), Call::Counted(value)],
                        _ => vec![Call::Found, Call::Put(value)],
                    });
                }
            })
        })
        .collect();
    if closes {
        let (feed, history) = (feed.clone(), history.clone());
        threads.push(thread::spawn(move || {
            history.record_steps(|| {
                feed.close();
                END.into()
            });
        }));
    }
    let mut receiver = None;
    history.record(|| {
        let options = feed.subscriber().capacity(capacity).overflow(overflow);
        receiver = Some(options.channel().unwrap());
        Call::Subscribe
    });
    let mut receiver = receiver.unwrap();
    for _ in 0..2 {
        history.record(|| Call::Receive(receiver.try_recv()));
    }
    history.record_steps(|| {
        receiver.subscription().unsubscribe();
        END.into()
    });
    let mut is_at_end = false;
    while !is_at_end {
        history.record(|| {
            let received = receiver.try_recv();
            is_at_end = received == Err(TryRecvError::Closed);
            Call::Receive(received)
        });
    }
    for thread in threads {
        thread.join().unwrap();
    }
    history.assert_is_allowed_by(&Channel {
        capacity,
        overflow,
        several_send: senders > 1,
    });
}

/// A ring whose readers all block, and were there before the first send.
struct Ring {
    capacity: usize,
    readers: usize,
    several_send: bool,
}

#[derive(Debug)]
enum RingCall {
    Send { value: u32, position: u64 },
    Full,
    Refused,
    Receive { reader: usize, received: Received },
    Close,
    Leave(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Log {
    values: Vec<u32>,
    /// `None` once it has left.
    positions: Vec<Option<usize>>,
    is_closed: bool,
}

impl Ring {
    fn has_room(&self, log: &Log) -> bool {
        let slowest = log.positions.iter().flatten().min();
        slowest.is_none_or(|slowest| log.values.len() - slowest < self.capacity)
    }
}

impl Specification for Ring {
    type Operation = RingCall;
    type State = Log;

    fn begin(&self) -> Log {
        Log {
            values: Vec::new(),
            positions: vec![Some(0); self.readers],
            is_closed: false,
        }
    }

    fn step(&self, log: &Log, call: &RingCall) -> Vec<Log> {
        let mut log = log.clone();
        let is_allowed = match call {
            RingCall::Send { value, position } => {
                let is_allowed =
                    !log.is_closed && self.has_room(&log) && *position == log.values.len() as u64;
                log.values.push(*value);
                is_allowed
            }
            RingCall::Full => !log.is_closed && (self.several_send || !self.has_room(&log)),
            RingCall::Refused => log.is_closed,
            RingCall::Close => {
                log.is_closed = true;
                true
            }
            RingCall::Leave(reader) => log.positions[*reader].take().is_some(),
            RingCall::Receive { reader, received } => {
                let Some(position) = &mut log.positions[*reader] else {
                    return Vec::new();
                };
                match (log.values.get(*position), received) {
                    (Some(value), Ok(taken)) => {
                        *position += 1;
                        value == taken
                    }
                    (next, Err(TryRecvError::Empty)) => {
                        self.several_send || (next.is_none() && !log.is_closed)
                    }
                    (None, Err(TryRecvError::Closed)) => log.is_closed,
                    _ => false,
                }
            }
        };
        if is_allowed { vec![log] } else { Vec::new() }
    }
}

/// Senders, of which one does not wait, and a close; and two readers, of which one leaves.
fn a_ring(capacity: usize, senders: u32) {
    let history = History::new();
    let ring = RingFeed::new(capacity).unwrap();
    let mut threads: Vec<_> = (0..2)
        .map(|reader| {
            let (mut receiver, history) = (ring.subscribe(), history.clone());
            thread::spawn(move || {
                for _ in 0..3 {
                    history.record(|| RingCall::Receive {
                        reader,
                        received: receiver.try_recv(),
                    });
                }
                history.record(|| {
                    drop(receiver);
                    RingCall::Leave(reader)
                });
            })
        })
        .collect();
    threads.extend((0..senders).map(|sender| {
        let (ring, history) = (ring.clone(), history.clone());
        thread::spawn(move || {
            for value in 10 * sender..10 * sender + 3 {
                history.record(|| match ring.try_send(value) {
                    Ok(position) => RingCall::Send { value, position },
                    Err(error) if error.is_full() => RingCall::Full,
                    Err(_) => RingCall::Refused,
                });
            }
        })
    }));
    history.record(|| RingCall::Send {
        value: 99,
        position: ring.send(99),
    });
    for thread in threads {
        thread.join().unwrap();
    }
    history.record(|| {
        ring.close();
        RingCall::Close
    });
    history.assert_is_allowed_by(&Ring {
        capacity,
        readers: 2,
        several_send: senders != 0,
    });
}

#[test]
fn one_that_blocks_has_a_queue() {
    Schedules::new().hold(|| a_subscriber(1, Overflow::Block, 2, false));
}

#[test]
fn one_that_blocks_has_a_queue_until_a_close() {
    Schedules::new().hold(|| a_subscriber(2, Overflow::Block, 3, true));
}

#[test]
fn one_that_drops_the_newest_has_a_queue() {
    Schedules::new().hold(|| a_subscriber(1, Overflow::DropNewest, 2, false));
}

#[test]
fn one_that_drops_the_newest_has_a_queue_until_a_close() {
    Schedules::new().hold(|| a_subscriber(2, Overflow::DropNewest, 3, true));
}

#[test]
fn one_that_drops_the_oldest_has_a_queue() {
    Schedules::new().hold(|| a_subscriber(1, Overflow::DropOldest, 2, false));
}

#[test]
fn one_that_drops_the_oldest_has_a_queue_until_a_close() {
    Schedules::new().hold(|| a_subscriber(2, Overflow::DropOldest, 3, true));
}

#[test]
fn a_ring_of_one_sender_has_one_order() {
    Schedules::new().hold(|| a_ring(2, 0));
}

#[test]
fn a_ring_of_one_place_has_one_order() {
    Schedules::new().hold(|| a_ring(1, 2));
}

#[test]
fn a_ring_has_one_order() {
    Schedules::new().hold(|| a_ring(4, 2));
}

/// The history of calls that did not overlap.
fn one_by_one<C>(calls: impl IntoIterator<Item = C>) -> History<C> {
    let history = History::new();
    for call in calls {
        history.record(|| call);
    }
    history
}

fn received(reader: usize, received: Received) -> RingCall {
    RingCall::Receive { reader, received }
}

#[test]
#[should_panic(expected = "not linearizable")]
fn two_orders_in_one_ring_are_noticed() {
    let [one, other] = [(1, 0), (2, 1)].map(|(value, position)| RingCall::Send { value, position });
    let history = one_by_one([one, other, received(0, Ok(1)), received(1, Ok(2))]);
    history.assert_is_allowed_by(&Ring {
        capacity: 2,
        readers: 2,
        several_send: true,
    });
}

#[test]
#[should_panic(expected = "not linearizable")]
fn a_send_that_begins_while_another_finds_no_subscriber_is_noticed() {
    let [new, sends, receiver] = END;
    let history = one_by_one([
        Call::Subscribe,
        new,
        Call::Found,
        Call::Put(1),
        sends,
        receiver,
    ]);
    history.assert_is_allowed_by(&Channel {
        capacity: 2,
        overflow: Overflow::Block,
        several_send: true,
    });
}

#[test]
#[should_panic(expected = "not linearizable")]
fn a_value_that_comes_after_an_unsubscribe_is_noticed() {
    let [new, sends, receiver] = END;
    let history = one_by_one([
        Call::Subscribe,
        Call::Found,
        new,
        sends,
        receiver,
        Call::Put(1),
    ]);
    history.assert_is_allowed_by(&Channel {
        capacity: 2,
        overflow: Overflow::Block,
        several_send: true,
    });
}
