//! The place where a driver delivers the messages of one subscription.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fanfeed::SubscriptionError;

use crate::arrived::Arrived;
use crate::dispatch::{Arrival, Lane, Member, Offer};
use crate::event::Event;
use crate::key::Key;
use crate::message::Message;
use crate::options::{Start, SubscribeOptions};
use crate::sync::Mutex;

/// The place where a driver delivers the messages of one subscription. A cheap handle, usable from
/// any thread.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
}

struct Shared {
    id: u64,
    lane: Arc<Lane>,
    member: Arc<Member>,
    options: SubscribeOptions,
    position: Mutex<Option<Arc<str>>>,
    closed: AtomicBool,
    /// Whether a side was told to open the subscription. Written and read under the lock of the
    /// engine's tasks.
    tried: AtomicBool,
}

/// The error of a delivery without room. It gives the message back.
pub struct Full(pub Message);

impl fmt::Debug for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Full").field(self.0.id()).finish()
    }
}

/// Messages for one [`Sink`] that arrived together and are put in its buffer together:
/// [`Sink::gather`].
#[derive(Default)]
pub struct Burst {
    arrivals: VecDeque<Arrival>,
    /// The number of further messages for which the burst and the buffer have room.
    room: usize,
}

/// The most messages of a burst.
const BURST: usize = 256;

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burst")
            .field("messages", &self.arrivals.len())
            .finish_non_exhaustive()
    }
}

impl Burst {
    /// Whether the burst has no messages.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }
}

impl Sink {
    pub(crate) fn new(lane: Arc<Lane>, member: Arc<Member>, options: SubscribeOptions) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let position = match &options.start {
            Start::After(position) => Some(Arc::clone(position)),
            Start::New | Start::Earliest => None,
        };
        Self {
            shared: Arc::new(Shared {
                // ORDERING: each number is given out once; nothing else depends on it.
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                lane,
                member,
                options,
                position: Mutex::new(position),
                closed: AtomicBool::new(false),
                tried: AtomicBool::new(false),
            }),
        }
    }

    pub(crate) fn lane(&self) -> &Arc<Lane> {
        &self.shared.lane
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.shared.member
    }

    /// Its number, unique in this process.
    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// The key of the subscription.
    pub fn key(&self) -> &Key {
        self.shared.lane.key()
    }

    /// The group, if it is a member of one.
    pub fn group(&self) -> Option<&str> {
        self.shared.lane.group().map(|group| &**group)
    }

    /// Where to start when the subscription is opened for the first time. After a reconnect, use
    /// [`position`](Self::position).
    pub fn start(&self) -> &Start {
        &self.shared.options.start
    }

    /// The name of the subscription, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.shared.options.name.as_deref()
    }

    /// How many deliveries the buffer holds.
    pub fn buffer(&self) -> usize {
        self.shared.options.buffer
    }

    /// How many messages are handled at a time.
    pub fn concurrency(&self) -> usize {
        self.shared.options.concurrency
    }

    /// How many deliveries fit now. If this returns 0, the engine calls the
    /// [interrupter](crate::driver::Inbound::interrupter) when there is room.
    pub fn room(&self) -> usize {
        self.shared.lane.free()
    }

    /// Delivers a message. The tag comes back in [`settle`](crate::driver::Inbound::settle).
    /// `attempt` is 1, or more if the server says that it has delivered the message before.
    ///
    /// # Errors
    ///
    /// [`Full`] if there is no room or the subscription has ended. If there is no room, the engine
    /// calls the interrupter when there is.
    pub fn deliver(&self, message: Message, tag: u64, attempt: u32) -> Result<(), Full> {
        let arrival = Arrival {
            message,
            tag,
            attempt: attempt.max(1),
        };
        match self.shared.lane.offer_arrived(arrival) {
            Offer::Taken => {
                self.drop_spent();
                Ok(())
            }
            Offer::Full(arrival) | Offer::Dropped(arrival, _) | Offer::Gone(arrival) => {
                Err(Full(arrival.message))
            }
        }
    }

    /// Delivers a message as [`deliver`](Self::deliver) does, but together with others. The message
    /// is kept in `burst` until the burst has 256 messages or fills the buffer, or until
    /// [`deliver_burst`](Self::deliver_burst). So the messages share the costs of the buffer's lock
    /// and of waking a handler.
    ///
    /// A burst belongs to one sink, and only one thread delivers to that sink. That thread calls
    /// `deliver_burst` when no more messages have arrived, before it waits or calls
    /// [`room`](Self::room).
    ///
    /// # Errors
    ///
    /// As [`deliver`](Self::deliver).
    pub fn gather(
        &self,
        burst: &mut Burst,
        message: Message,
        tag: u64,
        attempt: u32,
    ) -> Result<(), Full> {
        if self.shared.lane.hub().is_closing() {
            return Err(Full(message));
        }
        if burst.room == 0 {
            burst.room = self.shared.lane.free().min(BURST);
        }
        if burst.room == 0 {
            return Err(Full(message));
        }
        burst.arrivals.push_back(Arrival {
            message,
            tag,
            attempt: attempt.max(1),
        });
        burst.room -= 1;
        if burst.room == 0 {
            self.deliver_burst(burst);
        }
        Ok(())
    }

    /// Delivers the messages of a burst. If the subscription has ended, they are handed on like the
    /// messages in its buffer.
    pub fn deliver_burst(&self, burst: &mut Burst) {
        burst.room = 0;
        if !burst.is_empty() {
            self.shared.lane.offer_all(&mut burst.arrivals);
            self.drop_spent();
        }
    }

    /// Drops handled messages, on the thread that delivers.
    fn drop_spent(&self) {
        if let Some(spent) = &self.shared.lane.hub().spent {
            spent.drop_many();
        }
    }

    /// Delivers a message at most once. If there is no room, the message is dropped, counted and
    /// reported.
    pub fn deliver_or_drop(&self, message: Message, tag: u64) {
        let arrival = Arrival {
            message,
            tag,
            attempt: 1,
        };
        if matches!(self.shared.lane.offer_arrived(arrival), Offer::Full(_)) {
            self.shared.lane.count_drop();
        }
        self.drop_spent();
    }

    /// Reports that messages were lost on the way, and their number if that is known.
    pub fn gap(&self, missed: Option<u64>) {
        let lane = &self.shared.lane;
        lane.hub().counters.dropped(missed.unwrap_or(1));
        lane.hub().emit(Event::Gap {
            key: lane.key().clone(),
            group: lane.group().cloned(),
            missed,
        });
    }

    /// Reports that a message arrived that cannot be read or is too large. The text must not
    /// contain its content. `arrived` is its payload, or the data that arrived in place of a
    /// payload. The report has its size and its beginning.
    pub fn undecodable(&self, reason: impl Into<Arc<str>>, arrived: &[u8]) {
        let lane = &self.shared.lane;
        lane.hub().emit(Event::Undecodable {
            key: lane.key().clone(),
            error: reason.into(),
            arrived: Arrived::new(arrived),
        });
    }

    /// Reports and counts a message that the group gave up or could not read, and whose dead letter
    /// the server refused. Otherwise as [`undecodable`](Self::undecodable).
    ///
    /// Returns whether observers can learn of it. If not, because the broker has ended, it is not
    /// counted, and the driver leaves the message to another member.
    #[must_use]
    pub fn dead_letter_lost(&self, reason: &str, arrived: &[u8]) -> bool {
        let hub = self.shared.lane.hub();
        let reason = format!("a message that was given up is not kept: {reason}");
        self.undecodable(reason, arrived);
        // Read afterwards: if the broker ended during the report, it may have come too late.
        let is_told = !hub.has_ended();
        if is_told {
            hub.counters.dead_letter_lost();
        }
        is_told
    }

    /// The position that the driver recorded with [`set_position`](Self::set_position). At first it
    /// is the text of [`Start::After`], if the subscription has one. It outlives the connection.
    pub fn position(&self) -> Option<Arc<str>> {
        self.shared.position.lock().clone()
    }

    /// Records how far the subscription has read.
    pub fn set_position(&self, position: impl Into<Arc<str>>) {
        *self.shared.position.lock() = Some(position.into());
    }

    /// Ends the subscription with an error, for example because a permission was taken away.
    pub fn fail(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.shared
            .member
            .end_with(Some(SubscriptionError::failed(error)), false);
    }

    /// Whether the subscription has ended.
    pub fn is_closed(&self) -> bool {
        // ORDERING: pairs with the store in `close`.
        self.shared.closed.load(Ordering::Acquire) || self.shared.member.is_cancelled()
    }

    /// Records that a side is told to open the subscription.
    pub(crate) fn set_tried(&self) {
        // ORDERING: see the field.
        self.shared.tried.store(true, Ordering::Relaxed);
    }

    /// Whether a side may know the subscription.
    pub(crate) fn was_tried(&self) -> bool {
        // ORDERING: see the field.
        self.shared.tried.load(Ordering::Relaxed)
    }

    pub(crate) fn close(&self) {
        // ORDERING: pairs with the load in `is_closed`.
        self.shared.closed.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("id", &self.id())
            .field("key", self.key())
            .field("group", &self.group())
            .finish_non_exhaustive()
    }
}
