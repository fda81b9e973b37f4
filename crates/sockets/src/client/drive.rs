//! One connection, from the upgrade to its end.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message as Frame, error::ProtocolError};
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::dial::{Progress, Socket};
use super::event::{ClientEventKind, Ended};
use super::farewell;
use super::listen::{Inbox, Received};
use super::member::{Member, Outgoing, Seen};
use super::pulse::Pulse;
use crate::observe::shown;
use crate::wire::{
    Incoming, MESSAGE_CHANNEL_CLOSED, MESSAGE_CHANNEL_EXPIRED, MESSAGE_JOIN_SUCCESS, Message,
    Timestamp, decode,
};

/// Messages that are written before the connection is flushed.
const BATCH: usize = 64;

/// Bytes of messages after which the connection is flushed.
const BATCH_BYTES: usize = 64 << 10;

pub(super) type Sink = SplitSink<Socket, Frame>;
pub(super) type Stream = SplitStream<Socket>;

/// Why a connection is at its end.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// The program left the channel.
    Left,
    ClientClosed,
    ChannelExpired,
    ChannelClosed,
    Ended(Ended),
}

/// Runs a connection until its end, and closes it.
pub(super) async fn drive(
    core: &Core,
    member: &Member,
    socket: Socket,
    mut queue: mpsc::Receiver<Outgoing>,
    inbox: &Inbox,
    heard: &mut bool,
) -> End {
    let progress = socket.get_ref().progress();
    let (sink, mut stream) = socket.split();
    let reader = Reader {
        core,
        member,
        inbox,
        pulse: Pulse::new(progress.clone()),
        cancel: CancellationToken::new(),
    };
    let mut writer = Writer {
        core,
        sink,
        progress,
        written: Vec::new(),
    };
    let running = async {
        let mut reading = pin!(reader.read(&mut stream));
        let ended = tokio::select! {
            end = &mut reading => return end,
            ended = writer.write(&mut queue, &reader.pulse) => ended,
            ended = reader.pulse.watch(&core.settings) => ended,
        };
        match ended {
            // The server may have said why before it was gone: what has arrived can still be read.
            Ended::Failed(_) | Ended::Eof => {
                writer.give_up(&mut queue);
                reader.rest(reading, ended).await
            }
            other => End::Ended(other),
        }
    };
    let end = tokio::select! {
        end = running => end,
        () = member.leave.cancelled() => End::Left,
        () = core.closed.cancelled() => End::ClientClosed,
    };
    *heard = reader.pulse.has_beaten();
    member.disconnect();
    reader.cancel.cancel();
    let Writer { sink, written, .. } = writer;
    farewell::close(&core.settings, &end, sink, stream, queue, written).await;
    end
}

struct Reader<'a> {
    core: &'a Core,
    member: &'a Member,
    inbox: &'a Inbox,
    pulse: Pulse,
    /// Cancelled when the connection ends.
    cancel: CancellationToken,
}

impl Reader<'_> {
    /// Lets the reading come to its end after a write has failed: in time, but for what listeners
    /// have to take first.
    async fn rest(&self, mut reading: impl Future<Output = End> + Unpin, ended: Ended) -> End {
        loop {
            match timeout(self.core.settings.close_timeout, &mut reading).await {
                // The first cause counts.
                Ok(End::Ended(Ended::Failed(_) | Ended::Eof)) => return End::Ended(ended),
                Ok(end) => return end,
                Err(_) if self.pulse.is_paused() => {}
                Err(_) => return End::Ended(ended),
            }
        }
    }

    async fn read(&self, stream: &mut Stream) -> End {
        loop {
            let frame = match stream.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return End::Ended(ended_by(error, self.core)),
                None => return End::Ended(Ended::Eof),
            };
            // A server that has nothing to say but good-bye has not taken the client in.
            if !frame.is_close() {
                self.pulse.beat();
            }
            let end = match frame {
                #[cfg(test)]
                Frame::Text(text) if self.core.settings.echoes => {
                    self.member.echo(text).await;
                    None
                }
                Frame::Text(text) => self.receive(text.as_bytes()).await,
                Frame::Binary(bytes) => self.receive(&bytes).await,
                Frame::Close(frame) => {
                    let reason = frame.as_ref().map_or("", |frame| frame.reason.as_str());
                    return End::Ended(Ended::Closed {
                        reason: reason.into(),
                        code: frame.map(|frame| u16::from(frame.code)),
                    });
                }
                // The library answers pings itself.
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => None,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn receive(&self, bytes: &[u8]) -> Option<End> {
        let size = bytes.len();
        self.core.counters.received.add(1);
        match decode(bytes) {
            Ok(Incoming::Message(message)) => {
                let seen = Seen::of(&message);
                let end = self.take(message, size).await;
                // Only now is it handed over: a client whose connection ends before that asks for
                // it again.
                if let Some(seen) = seen {
                    self.member.set_seen(seen);
                }
                end
            }
            Ok(Incoming::Error(error)) => {
                match self.member.take_waiting(error.correlation_id()) {
                    // A request that has just been given up does not miss it.
                    Some(waiting) => {
                        self.core.counters.answered.add(1);
                        drop(waiting.send(Err(Box::new(error))));
                    }
                    None => self.hand_over(Received::Error(error), size).await,
                }
                None
            }
            Err(error) => {
                self.core.counters.malformed.add(1);
                self.tell(ClientEventKind::Malformed(Arc::new(error)));
                None
            }
        }
    }

    async fn take(&self, message: Message, size: usize) -> Option<End> {
        if message.has_expired(Timestamp::now()) {
            let key = shown(message.key());
            self.core.counters.expired.add(1);
            self.tell(ClientEventKind::Expired { key });
            return None;
        }
        let end = match message.key() {
            MESSAGE_JOIN_SUCCESS => {
                let client_id: Arc<str> = message.client_id().into();
                let shown = shown(&client_id);
                self.member.set_client_id(client_id);
                self.tell(ClientEventKind::Joined { client_id: shown });
                None
            }
            MESSAGE_CHANNEL_EXPIRED => Some(End::ChannelExpired),
            MESSAGE_CHANNEL_CLOSED => Some(End::ChannelClosed),
            _ => None,
        };
        // An answer passes the messages that wait for their listeners.
        let message = match self.member.take_waiting(message.correlation_id()) {
            Some(waiting) => waiting.send(Ok(message)).err().and_then(Result::ok),
            None => Some(message),
        };
        match message {
            Some(message) => {
                let received = Received::Message(message, self.cancel.clone());
                self.hand_over(received, size).await;
            }
            None => self.core.counters.answered.add(1),
        }
        end
    }

    /// Puts into the queue of the listeners what came. If that is full, nothing more is read: the
    /// server feels it by the back-pressure of TCP. It is not taken for silent meanwhile, and is
    /// told by pongs that this client is alive.
    async fn hand_over(&self, received: Received, size: usize) {
        if let Some(received) = self.inbox.try_put(received, size) {
            self.pulse.set_paused(true);
            self.inbox.put(received, size).await;
            self.pulse.set_paused(false);
        }
    }

    fn tell(&self, kind: ClientEventKind) {
        self.core.tell(self.member, kind);
    }
}

struct Writer<'a> {
    core: &'a Core,
    sink: Sink,
    progress: Progress,
    /// The publishers of messages that were written, and perhaps not flushed.
    written: Vec<oneshot::Sender<()>>,
}

impl Writer<'_> {
    /// Writes the queue and the pings until the connection fails.
    async fn write(&mut self, queue: &mut mpsc::Receiver<Outgoing>, pulse: &Pulse) -> Ended {
        let every = self.core.settings.ping_interval;
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // All was flushed, so it is ready at once.
            let mut result = self.ready().await;
            if result.is_ok() {
                let work = async {
                    tokio::select! {
                        outgoing = queue.recv() => Some(outgoing),
                        _ = ticks.tick() => None,
                    }
                };
                result = match work.await {
                    Some(Some(first)) => self.write_batch(queue, first).await,
                    // The membership has taken the queue away, and is about to end this.
                    Some(None) => pending().await,
                    None => self.ping(pulse).await,
                };
            }
            if let Err(ended) = result {
                return ended;
            }
        }
    }

    /// Writes a message, and those behind it in the queue, and tells their publishers.
    ///
    /// This may be dropped wherever it waits, and then the rest of the queue is written by the
    /// farewell. So it never waits with a message in its hands: it takes one when the sink is ready
    /// for it.
    async fn write_batch(
        &mut self,
        queue: &mut mpsc::Receiver<Outgoing>,
        first: Outgoing,
    ) -> Result<(), Ended> {
        let mut bytes = self.put(first)?;
        for _ in 1..BATCH {
            if bytes >= BATCH_BYTES {
                break;
            }
            self.ready().await?;
            match queue.try_recv() {
                Ok(next) => bytes += self.put(next)?,
                Err(_) => break,
            }
        }
        in_time(self.core, &self.progress, self.sink.flush()).await?;
        for written in self.written.drain(..) {
            // A publisher that has been dropped does not want to know.
            let _ = written.send(());
        }
        Ok(())
    }

    /// Tells the publishers that their messages are lost.
    fn give_up(&mut self, queue: &mut mpsc::Receiver<Outgoing>) {
        queue.close();
        while queue.try_recv().is_ok() {}
        self.written.clear();
    }

    async fn ready(&mut self) -> Result<(), Ended> {
        let ready = poll_fn(|cx| self.sink.poll_ready_unpin(cx));
        in_time(self.core, &self.progress, ready).await
    }

    /// Gives a message to the sink, which is ready, and returns its size.
    fn put(&mut self, outgoing: Outgoing) -> Result<usize, Ended> {
        let (text, publisher) = outgoing.take();
        let bytes = text.len();
        let put = self.sink.start_send_unpin(Frame::Text(text));
        put.map_err(|error| ended_by(error, self.core))?;
        self.written.extend(publisher);
        Ok(bytes)
    }

    async fn ping(&mut self, pulse: &Pulse) -> Result<(), Ended> {
        let sink = &mut self.sink;
        let pinging = async {
            sink.feed(Frame::Ping(Bytes::new())).await?;
            if pulse.is_paused() {
                // The pings of the server wait unread; some servers take a pong alone for a sign of
                // life.
                sink.feed(Frame::Pong(Bytes::new())).await?;
            }
            sink.flush().await
        };
        in_time(self.core, &self.progress, pinging).await
    }
}

/// Waits for a part of the writing, as long as the server takes something within each write
/// timeout.
async fn in_time(
    core: &Core,
    progress: &Progress,
    part: impl Future<Output = Result<(), Error>>,
) -> Result<(), Ended> {
    let limit = core.settings.write_timeout;
    let mut part = pin!(part);
    let mut since = Instant::now();
    loop {
        if let Ok(done) = timeout_at(since + limit, &mut part).await {
            return done.map_err(|error| ended_by(error, core));
        }
        let last = progress.last_write();
        if last <= since {
            return Err(Ended::Stalled(limit));
        }
        since = last;
    }
}

fn ended_by(error: Error, core: &Core) -> Ended {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::Eof,
        Error::Capacity(_) => Ended::TooLarge(core.settings.max_message),
        Error::Protocol(error) => Ended::Protocol(error.to_string().into()),
        Error::Utf8(error) => Ended::NotText(error.into()),
        other => Ended::Failed(other.to_string().into()),
    }
}
