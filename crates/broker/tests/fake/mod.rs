//! A server that is a struct: a log for each key, a cursor for each group.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use fanfeed_broker::driver::{
    Burst, Inbound, LinkError, Outbound, Published, Sink, SinkError, Transport, Verdict,
};
use fanfeed_broker::{
    Capabilities, ConnectError, Delivery, Message, Receipt, Start, WithoutMember,
};

const CAPABILITIES: Capabilities = Capabilities::new("fake")
    .plain(Delivery::AtLeastOnce)
    .group(Delivery::AtLeastOnce, WithoutMember::Kept)
    .replay()
    .durable();

#[derive(Default)]
pub(crate) struct FakeServer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    up: bool,
    /// Counts the starts: a connection to an earlier one is lost.
    epoch: u64,
    logs: HashMap<String, Vec<Message>>,
    groups: HashMap<(String, String), Group>,
    batches: u64,
    /// The most bytes of payloads that came in one batch.
    largest: usize,
    panics: bool,
    /// The names of the threads that told of their end.
    ended: Vec<String>,
    /// The tags that were settled, with what was said of them.
    settled: Vec<(u64, Verdict)>,
    /// The sinks that were closed.
    closed: Vec<u64>,
    /// The next subscription is not opened: the connection is lost.
    loses_open: bool,
    /// A subscription gets a message while it is opened, and the answer does not come before this
    /// is false.
    holds_open: bool,
    /// Subscriptions to keys that begin with [`LATE`] are opened when this is false.
    delays_open: bool,
}

#[derive(Default)]
struct Group {
    next: usize,
    /// What is to be delivered again, and how often it was.
    again: VecDeque<(usize, u32)>,
    attempts: HashMap<usize, u32>,
}

impl FakeServer {
    pub(crate) fn started() -> Arc<Self> {
        let server = Arc::new(Self::default());
        server.start();
        server
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn start(&self) {
        let mut state = self.lock();
        state.up = true;
        state.epoch += 1;
        self.changed.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.lock().up = false;
        self.changed.notify_all();
    }

    pub(crate) fn panic_once(&self) {
        self.lock().panics = true;
    }

    pub(crate) fn settled(&self) -> Vec<(u64, Verdict)> {
        self.lock().settled.clone()
    }

    pub(crate) fn largest_batch(&self) -> usize {
        self.lock().largest
    }

    pub(crate) fn closed(&self) -> usize {
        self.lock().closed.len()
    }

    pub(crate) fn lose_open_once(&self) {
        self.lock().loses_open = true;
    }

    pub(crate) fn hold_open(&self, holds: bool) {
        self.lock().holds_open = holds;
        self.changed.notify_all();
    }

    pub(crate) fn delay_open(&self, delays: bool) {
        self.lock().delays_open = delays;
        self.changed.notify_all();
    }

    pub(crate) fn ended(&self) -> Vec<String> {
        self.lock().ended.clone()
    }

    pub(crate) fn log(&self, key: &str) -> Vec<Message> {
        self.lock().logs.get(key).cloned().unwrap_or_default()
    }

    fn connected(&self, epoch: u64) -> Result<MutexGuard<'_, State>, LinkError> {
        let state = self.lock();
        match state.up && state.epoch == epoch {
            true => Ok(state),
            false => Err(LinkError::new("the fake server is gone")),
        }
    }

    fn connect(&self) -> Result<u64, ConnectError> {
        let state = self.lock();
        match state.up {
            true => Ok(state.epoch),
            false => Err(ConnectError::Unreachable {
                address: "fake".into(),
                reason: "it is stopped".into(),
            }),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) server: Arc<FakeServer>,
    /// What the connections of one broker go through.
    pub(crate) line: Arc<FakeLine>,
    /// Whether a batch whose connection was lost is published again.
    pub(crate) again: bool,
}

/// A key whose messages and subscriptions the server refuses.
pub(crate) const REFUSED: &str = "refused";

/// The beginning of the keys of subscriptions that are opened later.
pub(crate) const LATE: &str = "late.";

impl Fake {
    pub(crate) fn new(server: &Arc<FakeServer>) -> Self {
        Self {
            server: Arc::clone(server),
            line: Arc::default(),
            again: true,
        }
    }

    fn place(&self) -> Result<Place, ConnectError> {
        let epoch = self.server.connect()?;
        if self.line.refuses.load(Ordering::SeqCst) {
            return Err(ConnectError::Unreachable {
                address: "fake".into(),
                reason: "the line refuses it".into(),
            });
        }
        Ok(Place {
            fake: self.clone(),
            epoch,
            cuts: self.line.cuts.load(Ordering::SeqCst),
        })
    }
}

/// A line that is cut, stalled or closed. A delay is nothing to it.
#[derive(Default)]
pub(crate) struct FakeLine {
    cuts: AtomicU64,
    stalls: AtomicBool,
    /// Whether the receiving side has stalled.
    pub(crate) stalls_inbound: AtomicBool,
    refuses: AtomicBool,
}

impl fanfeed_broker::conformance::Line for FakeLine {
    fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::SeqCst);
    }

    fn half_close(&self, _: fanfeed_broker::conformance::Way) {
        self.cut();
    }

    fn delay(&self, _: Duration) {}

    fn stall(&self, stalls: bool) {
        self.stalls.store(stalls, Ordering::SeqCst);
    }

    fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

/// One side of a connection.
struct Place {
    fake: Fake,
    epoch: u64,
    cuts: u64,
}

impl Place {
    fn connected(&self) -> Result<MutexGuard<'_, State>, LinkError> {
        let line = &self.fake.line;
        while line.stalls.load(Ordering::SeqCst) {
            if std::thread::current().name() == Some("fanfeed-inbound") {
                line.stalls_inbound.store(true, Ordering::SeqCst);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if line.cuts.load(Ordering::SeqCst) != self.cuts {
            return Err(LinkError::new("the line was cut"));
        }
        self.fake.server.connected(self.epoch)
    }
}

impl Transport for Fake {
    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn open_outbound(&self) -> Result<Box<dyn Outbound>, ConnectError> {
        let place = self.place()?;
        let pending = Vec::new();
        Ok(Box::new(Out { place, pending }))
    }

    fn open_inbound(&self) -> Result<Box<dyn Inbound>, ConnectError> {
        let place = self.place()?;
        Ok(Box::new(In {
            server: Arc::clone(&self.server),
            place,
            sinks: Vec::new(),
            late: Vec::new(),
            interrupted: Arc::default(),
            taken: Mutex::default(),
        }))
    }

    fn publishes_again(&self) -> bool {
        self.again
    }

    fn ended(&self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.server.lock().ended.push(name);
    }
}

struct Out {
    place: Place,
    /// The outcomes of the messages with which the next batch begins.
    pending: Vec<(Message, Published)>,
}

impl Outbound for Out {
    fn publish(&mut self, batch: &[Message]) -> Result<Vec<Published>, LinkError> {
        let mut state = self.place.connected()?;
        assert!(
            !std::mem::take(&mut state.panics),
            "a panic that the test wants"
        );
        state.batches += 1;
        let bytes = batch.iter().map(|message| message.payload().len()).sum();
        state.largest = state.largest.max(bytes);
        let known = self.pending.len();
        let (before, mut published): (Vec<Message>, Vec<Published>) =
            self.pending.drain(..).unzip();
        let begins = before.iter().map(Message::id);
        assert!(
            begins.eq(batch.iter().take(known).map(Message::id)),
            "the batch begins with the messages whose outcomes are not known"
        );
        // Sometimes a part is not sent, as when a socket takes no more.
        let sent = match state.batches % 5 {
            0 => known + (batch.len() - known).div_ceil(2),
            _ => batch.len(),
        };
        for message in &batch[known..sent] {
            if message.key().as_str() == REFUSED {
                published.push(Published::Refused("it is a key that nobody may use".into()));
                continue;
            }
            let log = state.logs.entry(message.key().to_string()).or_default();
            log.push(message.clone());
            let position = (log.len() - 1).to_string();
            published.push(Published::Done(Receipt::new(
                message.id().clone(),
                Some(position.into()),
            )));
        }
        self.place.fake.server.changed.notify_all();
        // Sometimes outcomes come later, but never without new messages.
        if known < batch.len() && state.batches % 3 == 0 && state.batches % 5 != 0 {
            let late = published.split_off(published.len() / 2);
            let messages = batch[published.len()..].iter().cloned();
            published.extend(late.iter().map(|_| Published::Pending));
            self.pending = messages.zip(late).collect();
        }
        Ok(published)
    }

    fn idle(&mut self) -> Result<(), LinkError> {
        self.place.connected().map(drop)
    }
}

struct In {
    server: Arc<FakeServer>,
    place: Place,
    sinks: Vec<Sink>,
    /// What is opened later.
    late: Vec<Sink>,
    interrupted: Arc<AtomicBool>,
    /// What groups gave to it, and it has not settled.
    taken: Mutex<HashSet<((String, String), usize)>>,
}

impl Drop for In {
    /// What it has not settled goes to others, as when a server finds that a client is gone.
    fn drop(&mut self) {
        let mut state = self.server.lock();
        for (name, at) in self.taken.get_mut().unwrap().drain() {
            let group = state.groups.entry(name).or_default();
            if let Some(attempt) = group.attempts.remove(&at) {
                group.again.push_back((at, attempt + 1));
            }
        }
        self.server.changed.notify_all();
    }
}

/// How long a pump waits at most. One that has just looked may miss an interruption.
const LOOK: Duration = Duration::from_millis(5);

impl In {
    /// Delivers what is there. True if there was something.
    fn deliver(&self, state: &mut State, sink: &Sink) -> bool {
        let key = sink.key().to_string();
        let State { logs, groups, .. } = state;
        let log = logs.entry(key.clone()).or_default();
        let mut any = false;
        let mut burst = Burst::default();
        for _ in 0..sink.room() {
            let (at, attempt) = match sink.group() {
                Some(group) => {
                    let name = (key.clone(), group.to_owned());
                    let group = groups.entry(name.clone()).or_default();
                    let again = group.again.pop_front();
                    let next = again.unwrap_or((group.next, 1));
                    if next.0 >= log.len() {
                        break;
                    }
                    group.next = group.next.max(next.0 + 1);
                    group.attempts.insert(next.0, next.1);
                    self.taken.lock().unwrap().insert((name, next.0));
                    next
                }
                None => {
                    let at = position(sink);
                    if at >= log.len() {
                        break;
                    }
                    sink.set_position((at + 1).to_string());
                    (at, 1)
                }
            };
            any = true;
            let message = log[at].clone();
            // A group of an odd name gathers, as plain subscriptions do.
            let gathers = sink.group().is_none_or(|group| group.len() % 2 == 1);
            let delivered = match gathers {
                true => sink.gather(&mut burst, message, at as u64, attempt),
                false => sink.deliver(message, at as u64, attempt),
            };
            if delivered.is_err() {
                match sink.group() {
                    Some(group) => {
                        let group = groups.entry((key.clone(), group.to_owned())).or_default();
                        group.again.push_front((at, attempt));
                    }
                    None => sink.set_position(at.to_string()),
                }
                break;
            }
        }
        sink.deliver_burst(&mut burst);
        any
    }
}

fn position(sink: &Sink) -> usize {
    sink.position()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

impl Inbound for In {
    fn open(&mut self, sink: &Sink) -> Result<(), SinkError> {
        let mut state = self.place.connected()?;
        if std::mem::take(&mut state.loses_open) {
            return Err(LinkError::new("an open that the test loses").into());
        }
        if state.delays_open && sink.key().as_str().starts_with(LATE) {
            drop(state);
            self.late.push(sink.clone());
            return Err(SinkError::Later);
        }
        if sink.key().as_str().ends_with(REFUSED) {
            return Err(SinkError::Refused("a key that nobody may read".into()));
        }
        if state.holds_open {
            let early = sink.deliver(Message::new(sink.key().as_str(), "early"), 0, 1);
            assert!(early.is_ok(), "the subscription has room");
            while state.holds_open {
                let waited = self.server.changed.wait(state);
                state = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
        let end = state.logs.entry(sink.key().to_string()).or_default().len();
        let is_first = !self.sinks.iter().any(|open| open.id() == sink.id());
        match (sink.group(), sink.start(), sink.position()) {
            (Some(group), _, _) => {
                let group = (sink.key().to_string(), group.to_owned());
                state.groups.entry(group).or_insert_with(|| Group {
                    next: end,
                    ..Group::default()
                });
            }
            // It was asked for what comes after this position, and nothing has been delivered yet.
            (None, Start::After(after), Some(noted)) if is_first && *after == noted => {
                sink.set_position((position(sink) + 1).to_string());
            }
            (None, Start::New, None) => sink.set_position(end.to_string()),
            _ => {}
        }
        self.sinks.push(sink.clone());
        Ok(())
    }

    fn opened(&mut self) -> Vec<(u64, Result<(), SinkError>)> {
        if self.server.lock().delays_open {
            return Vec::new();
        }
        let late = std::mem::take(&mut self.late);
        late.iter()
            .map(|sink| (sink.id(), self.open(sink)))
            .collect()
    }

    fn close(&mut self, sink: &Sink) {
        self.server.lock().closed.push(sink.id());
        self.late.retain(|late| late.id() != sink.id());
        self.sinks.retain(|open| open.id() != sink.id());
    }

    fn settle(&mut self, sink: &Sink, tag: u64, verdict: Verdict) {
        let Some(group) = sink.group() else { return };
        let mut state = self.server.lock();
        let name = (sink.key().to_string(), group.to_owned());
        let at = usize::try_from(tag).expect("the tags are small");
        state.settled.push((tag, verdict));
        if !self.taken.lock().unwrap().remove(&(name.clone(), at)) {
            // An earlier connection took it, at whose end it went to others.
            return;
        }
        let group = state.groups.entry(name).or_default();
        let attempt = group.attempts.remove(&at).unwrap_or(1);
        match verdict {
            // It counts deliveries, not calls of handlers.
            Verdict::Requeued | Verdict::Abandoned => group.again.push_back((at, attempt + 1)),
            _ => {}
        }
        self.server.changed.notify_all();
    }

    fn pump(&mut self, timeout: Duration) -> Result<(), LinkError> {
        let mut state = self.place.connected()?;
        let mut any = false;
        for sink in &self.sinks {
            any |= self.deliver(&mut state, sink);
        }
        if !any && !self.interrupted.load(Ordering::SeqCst) {
            drop(
                self.server
                    .changed
                    .wait_timeout(state, timeout.min(LOOK))
                    .unwrap_or_else(|poisoned| poisoned.into_inner()),
            );
        }
        self.interrupted.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn interrupter(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (server, interrupted) = (Arc::clone(&self.server), Arc::clone(&self.interrupted));
        Arc::new(move || {
            interrupted.store(true, Ordering::SeqCst);
            // Not under the lock: a pump holds it while it delivers, and what it delivers to a
            // subscription that has just ended interrupts it.
            server.changed.notify_all();
        })
    }
}
