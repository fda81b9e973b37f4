//! The latest frames of each channel, so that a client that reconnects gets what it missed.
//!
//! # Invariants
//!
//! 1. Frames get their positions under the lock of the log, and are sent to the members under the
//!    same lock. So members see positions without holes, in order.
//! 2. A client joins under that lock too: it gets the frames that it missed, and then those that
//!    follow.
//! 3. A log is attached to the channel while there is one, and is kept for some time after the last
//!    member has left. Frames that are sent meanwhile are added to it.
//! 4. An epoch stands for one unbroken sequence of positions. Where something may be missing in it,
//!    there is a new epoch. While the place of the hole is not known, a client that comes back gets
//!    nothing that was kept, and a new epoch.
//!
//! Locks are taken in this order: the channels of the server, `logs`, a log.

mod resume;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::channel::Channel;
use super::limits::Limits;
use super::mailbox::Frame;
use crate::wire::{HEADER_CHANNEL_EPOCH, HEADER_CHANNEL_POSITION, Message, unique_id};

pub(super) use resume::{Place, Resume};

/// Keeps the channel's way to other nodes open.
pub(super) trait Way: Send + Sync {
    /// Whether everything that other nodes send has arrived since the epoch began.
    fn is_whole(&self) -> bool;
}

pub(super) type Hold = Arc<dyn Way>;

/// The logs of all channels.
pub(super) struct Histories {
    /// How many frames a log keeps.
    frames: usize,
    /// How many bytes a log keeps.
    bytes: usize,
    /// How long a log is kept after the last member left.
    retention: Duration,
    /// How many logs there may be before those of channels without members are ended at once.
    logs_limit: usize,
    logs: RwLock<HashMap<Arc<str>, Arc<Log>>>,
}

struct Log {
    state: Mutex<State>,
}

struct State {
    epoch: String,
    /// The position of the last frame. The first frame has the position 1.
    last: u64,
    frames: VecDeque<Frame>,
    bytes: usize,
    /// `None` while the channel has no members.
    channel: Option<Arc<Channel>>,
    hold: Option<Hold>,
    /// Ends the log, while the channel has no members.
    timer: Option<AbortHandle>,
}

impl Log {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                epoch: unique_id(),
                last: 0,
                frames: VecDeque::new(),
                bytes: 0,
                channel: None,
                hold: None,
                timer: None,
            }),
        }
    }
}

impl State {
    /// Begins another epoch.
    fn renew(&mut self) {
        self.epoch = unique_id();
        self.last = 0;
        self.frames.clear();
        self.bytes = 0;
    }
}

impl Histories {
    pub(super) fn new(frames: usize, retention: Duration, limits: &Limits) -> Self {
        Self {
            frames,
            bytes: limits.queue_bytes / 2,
            retention,
            logs_limit: limits.channels.saturating_mul(2),
            logs: RwLock::default(),
        }
    }

    fn log(&self, channel: &str) -> Option<Arc<Log>> {
        self.logs.read().get(channel).cloned()
    }

    /// Gives a frame its position, keeps it, and sends it to the members. Returns how many there
    /// were.
    pub(super) fn append(&self, channel: &str, frame: &str) -> usize {
        // A channel without a log has no members, and no client can ask for messages that it
        // missed.
        let Some(log) = self.log(channel) else {
            return 0;
        };
        let mut state = log.state.lock();
        state.last += 1;
        let frame = Frame::from(numbered(frame, &state.epoch, state.last));
        state.bytes += frame.len();
        state.frames.push_back(frame.clone());
        while state.frames.len() > self.frames || state.bytes > self.bytes {
            let Some(oldest) = state.frames.pop_front() else {
                break;
            };
            state.bytes -= oldest.len();
        }
        match &state.channel {
            Some(channel) => channel.feed.send(frame),
            None => 0,
        }
    }

    /// Lets a client join. `join` gets its place in the history and the frames that it missed, and
    /// makes it a member before the next frame is sent.
    pub(super) fn join(
        &self,
        channel: &Arc<Channel>,
        resume: Option<&Resume>,
        hold: Option<Hold>,
        join: impl FnOnce(&Place, Vec<Frame>),
    ) {
        let mut logs = self.logs.write();
        let log = logs
            .entry(Arc::clone(&channel.id))
            .or_insert_with(|| Arc::new(Log::new()));
        let mut state = log.state.lock();
        if let Some(timer) = state.timer.take() {
            timer.abort();
        }
        if state.channel.is_none() {
            state.channel = Some(Arc::clone(channel));
            state.hold = hold;
        }
        let is_whole = state.hold.as_ref().is_none_or(|way| way.is_whole());
        if !is_whole && resume.is_some() {
            state.renew();
        }
        let place = Place::find(&state.epoch, state.last, state.frames.len(), resume);
        let missed = (state.last - place.before) as usize;
        let first = state.frames.len() - missed;
        let frames = state.frames.range(first..).cloned().collect();
        join(&place, frames);
    }

    /// The last member of a channel has left. Its log is kept for some time.
    pub(super) fn emptied(self: &Arc<Self>, runtime: &Handle, channel: &Arc<Channel>) {
        if self.logs.read().len() > self.logs_limit {
            self.end(channel);
            return;
        }
        let Some(log) = self.log(&channel.id) else {
            return;
        };
        let mut state = log.state.lock();
        if !is_attached(&state, channel) {
            return;
        }
        state.channel = None;
        let (histories, retention) = (Arc::downgrade(self), self.retention);
        let (id, ending) = (Arc::clone(&channel.id), Arc::downgrade(&log));
        let timer = runtime.spawn(async move {
            tokio::time::sleep(retention).await;
            if let Some(histories) = histories.upgrade() {
                histories.expire(&id, &ending);
            }
        });
        state.timer = Some(timer.abort_handle());
    }

    fn expire(&self, id: &str, ending: &Weak<Log>) {
        let mut logs = self.logs.write();
        let is_over = logs.get(id).is_some_and(|log| {
            std::ptr::eq(Arc::as_ptr(log), ending.as_ptr()) && log.state.lock().channel.is_none()
        });
        let ended = if is_over { logs.remove(id) } else { None };
        drop(logs);
        drop(ended);
    }

    /// A channel has ended for good. Clients that join it again find another epoch.
    pub(super) fn end(&self, channel: &Arc<Channel>) {
        let mut logs = self.logs.write();
        let is_own = logs
            .get(&channel.id)
            .is_some_and(|log| is_attached(&log.state.lock(), channel));
        let ended = if is_own {
            logs.remove(&channel.id)
        } else {
            None
        };
        drop(logs);
        drop(ended);
    }

    /// A channel has been closed. If its log is kept without members, it ends.
    pub(super) fn end_kept(&self, id: &str) {
        let mut logs = self.logs.write();
        let is_kept = logs
            .get(id)
            .is_some_and(|log| log.state.lock().channel.is_none());
        let ended = if is_kept { logs.remove(id) } else { None };
        drop(logs);
        drop(ended);
    }

    /// Begins another epoch of a channel, because frames may be missing.
    #[cfg(feature = "nodes")]
    pub(super) fn renew(&self, channel: &str) {
        if let Some(log) = self.log(channel) {
            log.state.lock().renew();
        }
    }
}

fn is_attached(state: &State, channel: &Arc<Channel>) -> bool {
    let attached = state.channel.as_ref();
    attached.is_some_and(|attached| Arc::ptr_eq(attached, channel))
}

/// Takes headers away that a message got in an earlier sequence, such as a message that is sent on.
pub(super) fn strip(message: &mut Message) {
    for name in [HEADER_CHANNEL_EPOCH, HEADER_CHANNEL_POSITION] {
        if message.header(name).is_some() {
            message.headers_mut().remove(name);
        }
    }
}

/// Writes epoch and position into a frame. The headers are the last field of a message, so nothing
/// has to be parsed.
fn numbered(frame: &str, epoch: &str, position: u64) -> String {
    let own = format!(
        "\"{HEADER_CHANNEL_EPOCH}\":[\"{epoch}\"],\"{HEADER_CHANNEL_POSITION}\":[\"{position}\"]}}}}\n"
    );
    for empty in ["\"headers\":{}}\n", "\"headers\":null}\n"] {
        if let Some(head) = frame.strip_suffix(empty) {
            return format!("{head}\"headers\":{{{own}");
        }
    }
    match frame.strip_suffix("}}\n") {
        Some(head) => format!("{head},{own}"),
        None => frame.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{numbered, strip};
    use crate::wire::{Incoming, Message, decode};

    #[test]
    fn a_frame_is_numbered_whatever_its_headers() {
        let plain = Message::new("chat", "", "room");
        let mut without = plain.clone();
        without.set_headers(None);
        let mut with = plain.clone();
        with.set_header("X-Other", "{}}\n");
        for message in [plain, without, with] {
            let frame = numbered(&message.encode(), "e", 7);
            let Ok(Incoming::Message(mut read)) = decode(frame.as_bytes()) else {
                panic!("{frame}");
            };
            assert_eq!(read.header("X-Channel-Epoch"), Some("e"));
            assert_eq!(read.header("X-Channel-Position"), Some("7"));
            assert_eq!(read.header("X-Other"), message.header("X-Other"));
            strip(&mut read);
            assert_eq!(read.headers(), message.headers());
        }
    }
}
