//! The queue of frames for one member.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use fanfeed::{Carrier, TrySendError};
use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::close::Close;
use super::limits::{Limits, SlowMembers};
use super::member::Member;
use super::stats::Counters;

/// One serialized message. Clones share the bytes.
pub(super) type Frame = Utf8Bytes;

/// A queue that is bounded in frames and in bytes. Any thread puts frames in; the session of the
/// member takes them out.
///
/// Putting a frame in never waits. When the queue is full, the policy decides.
pub(super) struct Mailbox {
    state: Mutex<State>,
    frames: usize,
    bytes: usize,
    policy: SlowMembers,
    counters: Arc<Counters>,
}

struct State {
    /// Goes out before the queue. No limit concerns it.
    welcome: Option<Frame>,
    queue: VecDeque<Frame>,
    bytes: usize,
    /// Set once. Nothing is put in after it.
    close: Option<Close>,
    /// The session ends at once, whatever it is doing.
    is_killed: bool,
    /// Of the session, while it waits.
    waker: Option<Waker>,
}

/// A queue that has grown beyond this is given back when it has become empty.
const KEPT_CAPACITY: usize = 64;

/// What the session has to do next.
#[derive(Debug)]
pub(super) enum Next {
    Send(Frame),
    Close(Close),
    /// End at once.
    Kill,
}

/// What became of a frame.
#[derive(Debug)]
pub(super) enum Put {
    Queued,
    /// The queue was full, and the policy keeps what came first.
    Dropped,
    /// The member is being disconnected.
    Refused(Frame),
}

impl Mailbox {
    pub(super) fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        Self {
            state: Mutex::new(State {
                welcome: None,
                queue: VecDeque::new(),
                bytes: 0,
                close: None,
                is_killed: false,
                waker: None,
            }),
            frames: limits.queue_frames,
            bytes: limits.queue_bytes,
            policy: limits.slow_members,
            counters,
        }
    }

    /// Sets the first frame, before anything is put in. Policies do not drop it.
    pub(super) fn welcome(&self, frame: Frame) {
        self.state.lock().welcome = Some(frame);
    }

    /// Puts a frame in, or drops one by policy. Returns whether this one was put in; if not, it has
    /// been counted.
    pub(super) fn push(&self, frame: Frame) -> bool {
        let put = self.put(frame);
        self.counters.report_drops();
        matches!(put, Put::Queued)
    }

    /// As [`push`](Self::push), where a lock may be held. The caller
    /// [reports](Counters::report_drops) what was dropped.
    pub(super) fn put(&self, frame: Frame) -> Put {
        let mut state = self.state.lock();
        if state.close.is_some() {
            drop(state);
            self.counters.dropped.note(1);
            return Put::Refused(frame);
        }
        // Frames are dropped outside the lock: the last clone frees memory.
        let mut dropped = VecDeque::new();
        let mut is_slow = false;
        let is_full = |state: &State| {
            !state.queue.is_empty()
                && (state.queue.len() >= self.frames || state.bytes + frame.len() > self.bytes)
        };
        if is_full(&state) {
            match self.policy {
                SlowMembers::Close => {
                    dropped = std::mem::take(&mut state.queue);
                    state.bytes = 0;
                    is_slow = true;
                    state.close = Some(Close::SLOW);
                }
                SlowMembers::DropNewest => {
                    drop(state);
                    self.counters.dropped.note(1);
                    return Put::Dropped;
                }
                SlowMembers::DropOldest => {
                    while is_full(&state) {
                        if let Some(oldest) = state.queue.pop_front() {
                            state.bytes -= oldest.len();
                            dropped.push_back(oldest);
                        }
                    }
                }
            }
        }
        let refused = if state.close.is_some() {
            Some(frame)
        } else {
            state.bytes += frame.len();
            state.queue.push_back(frame);
            None
        };
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if is_slow {
            self.counters.slow.note(1);
        }
        let lost = dropped.len() + usize::from(refused.is_some());
        if lost > 0 {
            self.counters.dropped.note(lost as u64);
        }
        refused.map_or(Put::Queued, Put::Refused)
    }

    /// Whether so much is queued that the member should be sent that before it causes more.
    pub(super) fn is_filling(&self) -> bool {
        let state = self.state.lock();
        state.queue.len() > self.frames / 4 || state.bytes > self.bytes / 4
    }

    /// Lets the session send what is queued, and then close the connection. The first close counts.
    pub(super) fn close(&self, close: Close) {
        self.end(None, close);
    }

    /// As [`close`](Self::close), with a last frame that is sent whatever the limits say.
    pub(super) fn close_with(&self, last: Frame, close: Close) {
        self.end(Some(last), close);
    }

    fn end(&self, last: Option<Frame>, close: Close) {
        let mut state = self.state.lock();
        if state.close.is_some() {
            return;
        }
        if let Some(last) = last {
            state.bytes += last.len();
            state.queue.push_back(last);
        }
        state.close = Some(close);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the next frame, or learns that there is none left and the connection is to be closed.
    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Next> {
        let mut state = self.state.lock();
        if state.is_killed {
            return Poll::Ready(Next::Kill);
        }
        if let Some(welcome) = state.welcome.take() {
            return Poll::Ready(Next::Send(welcome));
        }
        let Some(frame) = state.queue.pop_front() else {
            return match state.close {
                Some(close) => Poll::Ready(Next::Close(close)),
                None => {
                    state.wait(cx);
                    Poll::Pending
                }
            };
        };
        state.bytes -= frame.len();
        if state.queue.is_empty() && state.queue.capacity() > KEPT_CAPACITY {
            state.queue = VecDeque::new();
        }
        Poll::Ready(Next::Send(frame))
    }

    /// Ends the session without a close handshake.
    pub(super) fn kill(&self) {
        let mut state = self.state.lock();
        state.is_killed = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the session was killed, or else is to close. The session is woken when that changes.
    pub(super) fn poll_end(&self, cx: &Context<'_>) -> (bool, Option<Close>) {
        let mut state = self.state.lock();
        state.wait(cx);
        (state.is_killed, state.close)
    }

    /// Drops and counts all frames.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        state.waker = None;
        let queue = std::mem::take(&mut state.queue);
        let welcome = state.welcome.take();
        state.bytes = 0;
        drop(state);
        let lost = queue.len() + usize::from(welcome.is_some());
        if lost > 0 {
            self.counters.dropped.add(lost as u64);
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.state.lock().queue.len()
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }
}

/// The mailbox of a member as a subscriber of its channel's feed. A history holds its lock while it
/// sends to the feed.
pub(super) struct Subscriber(pub(super) Arc<Member>);

impl Carrier<Frame> for Subscriber {
    fn try_send(&self, frame: Frame) -> Result<(), TrySendError<Frame>> {
        match self.0.mailbox.put(frame) {
            // A member that misses a frame stays subscribed.
            Put::Queued | Put::Dropped => Ok(()),
            Put::Refused(frame) => Err(TrySendError::Closed(frame)),
        }
    }

    fn depth(&self) -> Option<usize> {
        Some(self.0.mailbox.depth())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_comes_first_whatever_is_dropped() {
        for policy in [
            SlowMembers::Close,
            SlowMembers::DropNewest,
            SlowMembers::DropOldest,
        ] {
            let limits = Limits::default().queue_frames(1).slow_members(policy);
            let mailbox = Mailbox::new(&limits, Arc::new(Counters::alone()));
            mailbox.welcome(Frame::from_static("welcome"));
            for text in ["one", "two"] {
                mailbox.push(Frame::from_static(text));
            }
            let first = mailbox.poll_next(&Context::from_waker(Waker::noop()));
            let Poll::Ready(Next::Send(first)) = first else {
                panic!("{policy:?}: {first:?}");
            };
            assert_eq!(first, "welcome", "{policy:?}");
        }
    }
}
