//! A connection's task: it reads, handles and writes, all in one place.

mod arrival;
mod inbound;
mod phase;
mod work;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::channel::Channel;
use super::close::Close;
use super::core::Core;
use super::event::{ConnectionEnd, ServerEvent};
use super::mailbox::{Frame, Next};
use super::member::Member;
use super::rate::Bucket;
use super::socket::{Gone, Input, Output, ReadError, Socket};
use arrival::Arrival;
use phase::Phase;
use work::{Inbox, Load, Running};

/// How often a session goes through its steps before it lets other tasks run. In each round it may
/// send an inbox of messages to its channel, and other members have to run before their queues are
/// full.
const ROUNDS: usize = 2;

/// A member's connection. The future ends when the connection has ended and its messages have been
/// handled.
///
/// Everything is polled by one task, so that an idle connection costs one task, one timer and the
/// buffers of the socket.
pub(super) struct Session<S> {
    core: Arc<Core>,
    runtime: Handle,
    channel: Arc<Channel>,
    member: Arc<Member>,
    /// Until the connection has ended.
    socket: Option<S>,
    phase: Phase,
    inbox: Inbox,
    running: Vec<Running>,
    bucket: Bucket,
    malformed: u32,
    /// Whether reading goes on. Not after an error, or when the server is about to close the
    /// connection.
    is_reading: bool,
    /// Whether reading waits for room in the inbox.
    is_paused: bool,
    needs_flush: bool,
    /// Since when a write has made no progress.
    blocked: Option<Instant>,
    heard: Instant,
    arrival: Arrival,
    ping_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// What replies of this poll have put into the queues of other members.
    caused: Load,
    /// Whether the server itself has answered the message that was read last.
    has_answered: bool,
    /// Set once the client has asked to leave.
    leaving: Option<Leaving>,
    /// Of this poll, to be added to the counters of the server at its end.
    sent: (u64, u64),
    /// How the connection ended: the first that is known.
    end: Option<ConnectionEnd>,
}

/// The client has asked to leave. What it sent before is answered first.
struct Leaving {
    answer: Frame,
    /// Handlers are not waited for longer than this.
    until: Instant,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing can be done until the task is woken.
    Idle,
    /// Something was done, so there may be more to do.
    Progress,
    /// The connection is gone.
    Lost,
}

impl<S: Socket> Session<S> {
    pub(super) fn new(
        core: Arc<Core>,
        channel: Arc<Channel>,
        member: Arc<Member>,
        socket: S,
    ) -> Self {
        let now = Instant::now();
        let limits = &core.settings.limits;
        let ping_at = now + limits.ping_interval;
        Self {
            runtime: Handle::current(),
            channel,
            member,
            socket: Some(socket),
            phase: Phase::Open,
            inbox: Inbox::default(),
            running: Vec::new(),
            bucket: Bucket::new(limits.message_rate, limits.message_burst, now),
            malformed: 0,
            is_reading: true,
            is_paused: false,
            needs_flush: false,
            blocked: None,
            heard: now,
            arrival: Arrival::default(),
            ping_at,
            timer: Box::pin(sleep_until(ping_at)),
            caused: Load::default(),
            has_answered: false,
            leaving: None,
            sent: (0, 0),
            end: None,
            core,
        }
    }

    /// Reads what has arrived, until the inbox is full.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        let mut step = Step::Idle;
        while self.is_reading {
            let was_paused = self.is_paused;
            self.is_paused = self.inbox.is_full(&self.core.settings.limits);
            if was_paused && !self.is_paused {
                // What the peer sent meanwhile has not been seen.
                self.heard = now;
                self.arrival.resume(now);
            }
            let Some(socket) = self.socket.as_mut().filter(|_| !self.is_paused) else {
                break;
            };
            let read = socket.poll_read(cx);
            let arrived = socket.bytes_read();
            if arrived.is_some_and(|bytes| self.arrival.note(bytes, now)) {
                self.heard = now;
            }
            let Poll::Ready(input) = read else {
                if self.arrival.exceeds(self.core.settings.limits.message_size) {
                    self.core.counters.flooded.add(1);
                    self.phase.discard();
                    self.close(Close::FRAGMENTS);
                    step = Step::Progress;
                }
                break;
            };
            self.heard = now;
            step = Step::Progress;
            match input {
                Some(Ok(Input::Close)) => {
                    self.is_reading = false;
                    self.peer_closed(now);
                }
                Some(Ok(_)) if !self.bucket.take(now) => {
                    self.core.counters.flooded.add(1);
                    self.close(Close::FLOOD);
                }
                Some(Ok(Input::Data(data))) => {
                    self.arrival.message();
                    self.receive(&data);
                    // The answers go out before more are caused.
                    if std::mem::take(&mut self.has_answered) && self.member.mailbox.is_filling() {
                        break;
                    }
                }
                // The answer to a ping may not have fitted into the socket.
                Some(Ok(Input::Control)) => {
                    self.arrival.control();
                    self.needs_flush = true;
                }
                Some(Err(ReadError::Close(close))) => {
                    self.phase.discard();
                    self.close(close);
                }
                Some(Err(ReadError::Lost(gone))) => return self.lost(gone),
                None => return self.lost(Gone::at_end()),
            }
        }
        step
    }

    /// The connection is gone.
    fn lost(&mut self, gone: Gone) -> Step {
        self.end.get_or_insert(ConnectionEnd::Lost(gone.0));
        Step::Lost
    }

    /// Stops reading, and closes the connection once what is queued has been sent.
    fn close(&mut self, close: Close) {
        self.is_reading = false;
        self.member.mailbox.close(close);
    }

    /// Writes what is queued, as much at a time as the socket takes.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        let Some(socket) = self.socket.as_mut() else {
            return Step::Idle;
        };
        let was_blocked = self.blocked.is_some();
        loop {
            match socket.poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(gone)) => return self.lost(gone),
                Poll::Pending => {
                    self.blocked.get_or_insert(now);
                    let (is_killed, close) = self.member.mailbox.poll_end(cx);
                    if is_killed {
                        return Step::Lost;
                    }
                    if let Some(close) = close {
                        self.end.get_or_insert(close.into());
                        self.is_reading = false;
                        self.phase
                            .must_end(now + self.core.settings.limits.close_time);
                    }
                    return Step::Idle;
                }
            }
            let output = match self.member.mailbox.poll_next(cx) {
                Poll::Ready(Next::Send(frame)) => {
                    self.sent.0 += 1;
                    self.sent.1 += frame.len() as u64;
                    Output::Text(frame)
                }
                Poll::Ready(Next::Close(close)) => {
                    self.phase.close(now + self.core.settings.limits.close_time);
                    self.needs_flush = true;
                    self.end.get_or_insert(close.into());
                    if let Err(gone) = socket.start_send(Output::Close(close)) {
                        return self.lost(gone);
                    }
                    self.leave();
                    return Step::Progress;
                }
                Poll::Ready(Next::Kill) => return Step::Lost,
                Poll::Pending => break,
            };
            if let Err(gone) = socket.start_send(output) {
                return self.lost(gone);
            }
            self.blocked = None;
            self.needs_flush = true;
        }
        if self.needs_flush && self.flush(cx, now) == Step::Lost {
            return Step::Lost;
        }
        // Nothing else is waiting for frames that went out: a broadcast costs its members one round
        // each.
        match was_blocked && self.blocked.is_none() {
            true => Step::Progress,
            false => Step::Idle,
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        let Some(socket) = self.socket.as_mut() else {
            return Step::Idle;
        };
        match socket.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.needs_flush = false;
                self.blocked = None;
                Step::Progress
            }
            Poll::Ready(Err(gone)) => self.lost(gone),
            Poll::Pending => {
                self.blocked.get_or_insert(now);
                Step::Idle
            }
        }
    }

    /// Sends a ping, and a pong for peers that go by pongs alone. A socket that is blocked shows by
    /// itself whether the peer is alive.
    fn ping(&mut self, cx: &mut Context<'_>) -> Step {
        let Some(socket) = self.socket.as_mut() else {
            return Step::Idle;
        };
        match socket.poll_ready(cx) {
            Poll::Pending => return Step::Idle,
            Poll::Ready(Err(gone)) => return self.lost(gone),
            Poll::Ready(Ok(())) => {}
        }
        for output in [Output::Ping, Output::Pong] {
            if let Err(gone) = socket.start_send(output) {
                return self.lost(gone);
            }
        }
        self.needs_flush = true;
        Step::Progress
    }

    /// Ends the membership. Again, it does nothing.
    fn leave(&mut self) {
        self.core.leave(&self.runtime, &self.channel, &self.member);
        self.member.cancel.cancel();
    }

    /// Lets a client go that has asked for it, when its messages have been handled or that takes
    /// too long.
    fn answer_leaving(&mut self, now: Instant) {
        let is_handled = self.inbox.is_empty() && self.running.is_empty();
        let leaving = self
            .leaving
            .take_if(|leaving| is_handled || leaving.until <= now);
        if let Some(Leaving { answer, .. }) = leaving {
            self.member.mailbox.close_with(answer, Close::LEFT);
        }
    }

    /// Goes through the steps of an open connection.
    fn step(&mut self, cx: &mut Context<'_>, now: Instant) -> Step {
        let read = self.read(cx, now);
        if read == Step::Lost {
            return Step::Lost;
        }
        if matches!(self.phase, Phase::Answering { .. }) {
            // After the peer's close frame nothing may be written but the answer to it.
            return Step::Progress;
        }
        let worked = self.work(cx);
        self.answer_leaving(now);
        let wrote = self.write(cx, now);
        if wrote == Step::Lost {
            return Step::Lost;
        }
        match read == Step::Progress || worked || wrote == Step::Progress || self.can_start() {
            true => Step::Progress,
            false => Step::Idle,
        }
    }
}

impl<S: Socket> Future for Session<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let session = self.get_mut();
        session.caused = Load::default();
        let ended = session.advance(cx);
        if session.has_caused_enough() && ended.is_pending() {
            // Wakes this task after the runtime has looked at sockets, so that the other members
            // can read in between.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        let (frames, bytes) = std::mem::take(&mut session.sent);
        if frames != 0 {
            session.core.counters.sent.add(frames);
            session.core.counters.sent_bytes.add(bytes);
        }
        ended
    }
}

impl<S> Drop for Session<S> {
    /// The future may be dropped at any time, by the application or with the runtime.
    fn drop(&mut self) {
        self.core.leave(&self.runtime, &self.channel, &self.member);
        self.member.cancel.cancel();
        self.core.end_session(&self.member);
        let messages = self.inbox.len() + self.running.len();
        if messages > 0 {
            self.core.counters.abandoned.add(messages as u64);
            self.tell(|channel, client| ServerEvent::Abandoned {
                channel,
                client,
                messages,
            });
        }
        self.core.observers.tell(|| ServerEvent::Disconnected {
            channel: Arc::clone(&self.channel.id),
            client: Arc::clone(self.member.connection.shared_id()),
            end: match self.end.take() {
                // The shutdown began to close it, and its deadline came first.
                Some(end) if self.core.killed.is_cancelled() && end == Close::SHUTDOWN.into() => {
                    ConnectionEnd::Cut
                }
                end => end.unwrap_or(ConnectionEnd::Cut),
            },
        });
    }
}
