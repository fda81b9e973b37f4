//! The mux, its subscriptions, and their model.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{Carrier, Subscription, SubscriptionError, TrySendError, TypeMux, mux};

use super::events::{TYPES, bits, post, read, subscriber};
use super::program::{Channel, Receive};
use super::run::receive;
use crate::trace::{ensure, expect};
use crate::value::{self, panic_on_purpose};

const NAME: &str = "named";
const MOST: usize = 10;
const MOST_WAITS: usize = 3;

/// A carrier that panics at one of its events.
#[derive(Clone)]
struct Panicking {
    sender: crossbeam_channel::Sender<mux::Event>,
    left: Arc<AtomicU64>,
}

impl Carrier<mux::Event> for Panicking {
    fn try_send(&self, event: mux::Event) -> Result<(), TrySendError<mux::Event>> {
        if self.left.fetch_sub(1, Relaxed) == 0 {
            panic_on_purpose();
        }
        Carrier::try_send(&self.sender, event)
    }
}

pub(crate) enum FarEnd {
    Own(mux::Subscription),
    Crossbeam(crossbeam_channel::Receiver<mux::Event>),
    Gone,
}

pub(crate) struct Subscriber {
    pub(crate) far_end: FarEnd,
    pub(crate) handle: Option<Subscription>,
    errors: Option<crossbeam_channel::Receiver<SubscriptionError>>,
    name: Option<&'static str>,
    types: u8,
    capacity: usize,
    /// So many events, and the next one panics.
    until_panic: Option<u8>,
    /// When it was made.
    since: Instant,
    pub(crate) live: bool,
    pub(crate) queue: VecDeque<(usize, u64)>,
    /// What is left in a channel whose far end is gone: some drop it when their senders have gone,
    /// too.
    pub(crate) left: VecDeque<(usize, u64)>,
    delivered: u64,
    dropped: u64,
    blocked: u64,
    has_panicked: bool,
    error_is_taken: bool,
}

impl Subscriber {
    pub(crate) fn subscription(&self) -> Option<&Subscription> {
        match (&self.handle, &self.far_end) {
            (Some(handle), _) => Some(handle),
            (None, FarEnd::Own(own)) => Some(own.subscription()),
            _ => None,
        }
    }

    fn wants(&self, event_type: usize) -> bool {
        self.live && self.types & (1 << event_type) != 0
    }

    /// Whether a post of this type has to wait for it.
    fn holds_up(&self, event_type: usize) -> bool {
        let is_full = self.queue.len() >= self.capacity;
        self.wants(event_type) && is_full && !matches!(self.far_end, FarEnd::Gone)
    }

    /// Waits until a post waits for this one, which is full.
    fn await_post(&mut self) {
        let Some(subscription) = self.subscription() else {
            return;
        };
        let deadline = Instant::now() + Duration::from_secs(8);
        while subscription.stats().blocked == self.blocked {
            ensure(Instant::now() < deadline, || {
                "a post does not wait for one that is full".into()
            });
            thread::yield_now();
        }
        self.blocked += 1;
        if let FarEnd::Own(own) = &self.far_end {
            expect("len of a full channel", &own.len(), &self.capacity);
        }
    }

    /// An event that was received is the next one, and not older than the subscription.
    pub(crate) fn received(&mut self, event: &mux::Event) {
        expect(
            "the next event",
            &Some(read(event)),
            &self.queue.pop_front(),
        );
        ensure(event.time() >= self.since, || {
            "an event is older than its subscription".into()
        });
    }

    /// A channel that says that it has ended has, and there is nothing in it.
    pub(crate) fn nothing(&self, is_closed: bool) {
        expect("an empty channel that has ended", &is_closed, &!self.live);
        ensure(self.queue.is_empty(), || {
            format!("nothing was received of {:?}", self.queue)
        });
    }

    fn offer(&mut self, event_type: usize, number: u64) -> usize {
        if let Some(left) = &mut self.until_panic {
            if *left == 0 {
                self.live = false;
                self.has_panicked = true;
                self.dropped += 1;
                return 0;
            }
            *left -= 1;
        }
        if matches!(self.far_end, FarEnd::Gone) {
            self.live = false;
            return 0;
        }
        self.queue.push_back((event_type, number));
        self.delivered += 1;
        1
    }

    fn check(&mut self) {
        if let FarEnd::Own(own) = &self.far_end {
            expect("len", &own.len(), &self.queue.len());
            expect("is_empty", &own.is_empty(), &self.queue.is_empty());
            expect("capacity", &own.capacity(), &self.capacity);
            expect("receiver's is_closed", &own.is_closed(), &!self.live);
        }
        if let Some(errors) = &self.errors {
            let error = errors.try_recv().map(|error| error.is_panicked());
            let expected = match self.live {
                true => Err(crossbeam_channel::TryRecvError::Empty),
                false if self.has_panicked && !self.error_is_taken => Ok(true),
                false => Err(crossbeam_channel::TryRecvError::Disconnected),
            };
            self.error_is_taken |= expected.is_ok();
            expect("error", &error, &expected);
        }
        let Some(subscription) = self.subscription() else {
            return;
        };
        let stats = subscription.stats();
        let seen = (stats.delivered, stats.dropped, stats.blocked);
        expect(
            "figures",
            &seen,
            &(self.delivered, self.dropped, self.blocked),
        );
        let tells = self.live && matches!(self.far_end, FarEnd::Own(_));
        if tells {
            expect("depth", &stats.depth, &Some(self.queue.len()));
        }
        expect("is_closed", &subscription.is_closed(), &!self.live);
        expect("name", &subscription.name(), &self.name);
    }
}

pub(crate) struct World {
    pub(crate) mux: Option<TypeMux>,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) is_stopped: bool,
    number: u64,
    /// How often a post has had to wait, for which it takes a thread.
    waits: usize,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            mux: Some(TypeMux::new()),
            subscribers: Vec::new(),
            is_stopped: false,
            number: 0,
            waits: 0,
        }
    }

    pub(crate) fn choose(&mut self, who: u8) -> Option<&mut Subscriber> {
        let index = usize::from(who).checked_rem(self.subscribers.len())?;
        self.subscribers.get_mut(index)
    }

    pub(crate) fn subscribe(&mut self, types: u8, channel: Channel, named: bool) {
        let Some(mux) = &self.mux else { return };
        if self.subscribers.len() >= MOST {
            return;
        }
        let name = named.then_some(NAME);
        let mut options = subscriber(mux, types);
        if let Some(name) = name {
            options = options.name(name);
        }
        let small = |capacity: u8| usize::from(capacity % 4) + 1;
        let since = Instant::now();
        let mut until_panic = None;
        let (handle, far_end, capacity) = match channel {
            Channel::Own { capacity } => {
                let own = options.capacity(small(capacity)).channel();
                let own = own.expect("the capacity is small and not 0");
                (None, FarEnd::Own(own), small(capacity))
            }
            Channel::Crossbeam { capacity } => {
                let (sender, receiver) = crossbeam_channel::bounded(small(capacity));
                (
                    Some(options.subscribe(sender)),
                    FarEnd::Crossbeam(receiver),
                    small(capacity),
                )
            }
            Channel::Unbounded => {
                let (sender, receiver) = crossbeam_channel::unbounded();
                (
                    Some(options.subscribe(sender)),
                    FarEnd::Crossbeam(receiver),
                    usize::MAX,
                )
            }
            Channel::Panicking { at } => {
                let (sender, receiver) = crossbeam_channel::unbounded();
                until_panic = Some(at % 8);
                let carrier = Panicking {
                    sender,
                    left: Arc::new(AtomicU64::new(u64::from(at % 8))),
                };
                (
                    Some(options.subscribe(carrier)),
                    FarEnd::Crossbeam(receiver),
                    usize::MAX,
                )
            }
        };
        let mut one = Subscriber {
            far_end,
            handle,
            errors: None,
            name,
            types: bits(types),
            capacity,
            until_panic,
            since,
            live: !self.is_stopped,
            queue: VecDeque::new(),
            left: VecDeque::new(),
            delivered: 0,
            dropped: 0,
            blocked: 0,
            has_panicked: false,
            error_is_taken: false,
        };
        one.errors = one.subscription().map(Subscription::err);
        self.subscribers.push(one);
    }

    /// Posts an event. If the post must wait for full subscribers, they receive one event each once
    /// it waits.
    pub(crate) fn post(&mut self, event_type: u8) {
        let Some(mux) = &self.mux else { return };
        let event_type = usize::from(event_type) % TYPES;
        let subscribers = &mut self.subscribers;
        let full: Vec<usize> = (0..subscribers.len())
            .filter(|index| subscribers[*index].holds_up(event_type))
            .collect();
        // That it waits is seen by the figures alone.
        let is_seen = |index: &usize| subscribers[*index].subscription().is_some();
        if !full.is_empty() && (self.waits == MOST_WAITS || !full.iter().all(is_seen)) {
            return;
        }
        self.number += 1;
        let number = self.number;
        let posted = if full.is_empty() {
            post(mux, event_type, number)
        } else {
            self.waits += 1;
            thread::scope(|scope| {
                let posting = scope.spawn(|| post(mux, event_type, number));
                full.iter()
                    .for_each(|index| subscribers[*index].await_post());
                full.iter()
                    .for_each(|index| receive(&mut subscribers[*index], Receive::Try, 0));
                posting.join().expect("a post does not panic")
            })
        };
        if self.is_stopped {
            return expect("a post after the stop", &posted, &Err(number));
        }
        let mut reached = 0;
        for one in subscribers {
            if one.wants(event_type) {
                reached += one.offer(event_type, number);
            }
        }
        expect("reached", &posted, &Ok(reached));
    }

    pub(crate) fn stopped(&mut self) {
        self.is_stopped = true;
        for one in &mut self.subscribers {
            one.live = false;
        }
    }

    pub(crate) fn check(&mut self) {
        if let Some(mux) = &self.mux {
            expect("is_stopped", &mux.is_stopped(), &self.is_stopped);
        }
        for one in &mut self.subscribers {
            one.check();
        }
        // Events are shared: each is there once, for as long as somebody is to receive it.
        let mut events: Vec<u64> = Vec::new();
        for one in &self.subscribers {
            events.extend(one.queue.iter().map(|(_, number)| *number));
        }
        let count = |events: &mut Vec<u64>| {
            events.sort_unstable();
            events.dedup();
            events.len() as i64
        };
        let least = count(&mut events);
        for one in self.subscribers.iter().filter(|one| one.live) {
            events.extend(one.left.iter().map(|(_, number)| *number));
        }
        let most = count(&mut events);
        let seen = value::live();
        ensure((least..=most).contains(&seen), || {
            format!("live events: expected {least} to {most}, saw {seen}")
        });
    }
}
