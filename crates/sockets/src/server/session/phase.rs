//! What a session is doing, and until when.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::{ROUNDS, Session, Step};
use crate::server::close::Close;
use crate::server::event::ConnectionEnd;
use crate::server::socket::{Gone, Input, ReadError, Socket};

/// A timer may always be this late.
const LEAST_HELD_UP: Duration = Duration::from_millis(50);

/// The phases follow one another in this order; some are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// As open, but the connection is given up at this time: it is to be closed, and the socket
    /// takes no more.
    Ending {
        until: Instant,
        is_discarding: bool,
    },
    /// As open, and what still arrives cannot be read as messages: the stream failed.
    Failed,
    /// The close frame has been handed to the socket. Until the peer has answered, what arrives is
    /// discarded.
    Closing {
        until: Instant,
        is_discarding: bool,
    },
    /// The peer has sent a close frame, and gets the answer.
    Answering {
        until: Instant,
    },
    /// The connection has ended. Messages that had arrived are handled.
    Draining {
        until: Instant,
    },
}

impl Phase {
    pub(super) fn discard(&mut self) {
        match self {
            Self::Open => *self = Self::Failed,
            Self::Ending { is_discarding, .. } | Self::Closing { is_discarding, .. } => {
                *is_discarding = true;
            }
            Self::Failed | Self::Answering { .. } | Self::Draining { .. } => {}
        }
    }

    pub(super) fn must_end(&mut self, until: Instant) {
        let is_discarding = match self {
            Self::Open => false,
            Self::Failed => true,
            _ => return,
        };
        *self = Self::Ending {
            until,
            is_discarding,
        };
    }

    pub(super) fn close(&mut self, by: Instant) {
        let (until, is_discarding) = match *self {
            Self::Ending {
                until,
                is_discarding,
            } => (until, is_discarding),
            Self::Failed => (by, true),
            _ => (by, false),
        };
        *self = Self::Closing {
            until,
            is_discarding,
        };
    }
}

impl<S: Socket> Session<S> {
    pub(super) fn peer_closed(&mut self, now: Instant) {
        let until = now + self.core.settings.limits.close_time;
        self.phase = Phase::Answering { until };
        self.end.get_or_insert(ConnectionEnd::ByClient);
        self.leave();
        self.member.mailbox.close(Close::LEFT);
    }

    /// The connection has ended: lets go of the socket.
    fn drain(&mut self, now: Instant) {
        let until = now + self.core.settings.limits.close_time;
        self.phase = Phase::Draining { until };
        self.socket = None;
        self.blocked = None;
        self.leave();
        self.member.mailbox.close(Close::LEFT);
        self.member.mailbox.clear();
    }

    /// Does all that can be done now.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        for _ in 0..ROUNDS {
            let step = match self.phase {
                Phase::Open | Phase::Failed | Phase::Ending { .. } => self.step(cx, now),
                Phase::Closing { is_discarding, .. } => self.finish(cx, now, is_discarding),
                Phase::Answering { .. } => self.answer(cx),
                Phase::Draining { .. } => {
                    if self.member.mailbox.poll_end(cx).0 {
                        return Poll::Ready(());
                    }
                    match self.work(cx) {
                        true => Step::Progress,
                        false if self.inbox.is_empty() && self.running.is_empty() => {
                            return Poll::Ready(());
                        }
                        false => Step::Idle,
                    }
                }
            };
            match step {
                Step::Progress => continue,
                Step::Lost => self.drain(now),
                Step::Idle => match self.tick(cx, now) {
                    Poll::Ready(Step::Lost) if matches!(self.phase, Phase::Draining { .. }) => {
                        return Poll::Ready(());
                    }
                    Poll::Ready(Step::Lost) => self.drain(now),
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The close frame was sent. Waits for the peer's, or for the end of the connection.
    fn finish(&mut self, cx: &mut Context<'_>, now: Instant, is_discarding: bool) -> Step {
        if self.member.mailbox.poll_end(cx).0 {
            return Step::Lost;
        }
        self.work(cx);
        if self.needs_flush && self.flush(cx, now) == Step::Lost {
            return Step::Lost;
        }
        let Some(socket) = self.socket.as_mut() else {
            return Step::Lost;
        };
        if is_discarding {
            return match self.needs_flush || socket.poll_discard(cx).is_pending() {
                true => Step::Idle,
                false => Step::Lost,
            };
        }
        match socket.poll_read(cx) {
            Poll::Pending => Step::Idle,
            Poll::Ready(Some(Ok(Input::Data(_) | Input::Control | Input::Close))) => Step::Progress,
            Poll::Ready(Some(Err(ReadError::Close(_)))) => {
                self.phase.discard();
                Step::Progress
            }
            Poll::Ready(Some(Err(ReadError::Lost(gone)))) => self.lost(gone),
            Poll::Ready(None) => self.lost(Gone::at_end()),
        }
    }

    /// The peer has sent a close frame. Its answer follows what is in the socket already, and is
    /// the end.
    fn answer(&mut self, cx: &mut Context<'_>) -> Step {
        if self.member.mailbox.poll_end(cx).0 {
            return Step::Lost;
        }
        self.work(cx);
        match self.socket.as_mut().map(|socket| socket.poll_flush(cx)) {
            Some(Poll::Pending) => Step::Idle,
            Some(Poll::Ready(_)) | None => Step::Lost,
        }
    }

    /// Looks at the clock. `Ready` if something was done, or the connection is to be given up.
    fn tick(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Step> {
        let deadline = self.deadline();
        if deadline > now {
            if self.timer.deadline() > deadline || self.timer.is_elapsed() {
                self.timer.as_mut().reset(deadline);
            }
            while Pin::new(&mut self.timer).poll(cx).is_ready() {
                // It was set before the deadline moved.
                if self.deadline() <= Instant::now() {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let deadline = self.deadline();
                self.timer.as_mut().reset(deadline);
            }
            return Poll::Pending;
        }
        if !matches!(self.phase, Phase::Open | Phase::Failed) {
            return Poll::Ready(Step::Lost);
        }
        let limits = &self.core.settings.limits;
        if self
            .blocked
            .is_some_and(|since| since + limits.write_time <= now)
        {
            self.core.counters.slow.add(1);
            self.end.get_or_insert(ConnectionEnd::Stalled);
            return Poll::Ready(Step::Lost);
        }
        if self
            .leaving
            .as_ref()
            .is_some_and(|leaving| leaving.until <= now)
        {
            self.answer_leaving(now);
            return Poll::Ready(Step::Progress);
        }
        let is_silent = self.heard + limits.idle_time <= now;
        let is_late = self.unfinished_until().is_some_and(|until| until <= now);
        let held_up = LEAST_HELD_UP.max(limits.idle_time.min(limits.message_time) / 8);
        let was_held_up = now.saturating_duration_since(deadline) > held_up;
        if self.listens() && was_held_up {
            // A blocked runtime, or a machine that stood still, has delayed this call. No ping was
            // sent meanwhile, so the silence says nothing about the peer. It gets the whole time to
            // answer the next ping.
            self.heard = now;
            self.arrival.resume(now);
        } else if self.listens() && (is_silent || is_late) {
            self.core.counters.silent.add(1);
            // The peer may be gone, or only unable to send.
            self.phase.must_end(now + limits.close_time);
            self.close(match is_late {
                true => Close::UNFINISHED,
                false => Close::SILENT,
            });
            return Poll::Ready(Step::Progress);
        }
        self.ping_at = now + limits.ping_interval;
        Poll::Ready(self.ping(cx))
    }

    /// Whether silence can be told from a pause of this side's.
    fn listens(&self) -> bool {
        self.is_reading && !self.is_paused
    }

    /// When the message that is arriving has to be complete.
    fn unfinished_until(&self) -> Option<Instant> {
        let since = self.arrival.since()?;
        Some(since + self.core.settings.limits.message_time)
    }

    fn deadline(&self) -> Instant {
        let limits = &self.core.settings.limits;
        match self.phase {
            Phase::Open | Phase::Failed => {
                let silent = self.listens().then(|| self.heard + limits.idle_time);
                let late = self.unfinished_until().filter(|_| self.listens());
                let blocked = self.blocked.map(|since| since + limits.write_time);
                let leaving = self.leaving.as_ref().map(|leaving| leaving.until);
                [silent, late, blocked, leaving]
                    .into_iter()
                    .flatten()
                    .fold(self.ping_at, Instant::min)
            }
            Phase::Ending { until, .. }
            | Phase::Closing { until, .. }
            | Phase::Answering { until }
            | Phase::Draining { until } => until,
        }
    }
}
