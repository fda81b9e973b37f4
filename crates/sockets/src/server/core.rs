//! What all handles of a server share: its channels, its members and its settings.

mod closing;
mod telling;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, Expiry, Removed};
use super::close::Close;
use super::event::ServerEvent;
use super::hooks::{ChannelEnd, Event, HookRunner};
use super::mailbox::Frame;
use super::member::Member;
use super::reach::{Entrance, Reach};
use super::settings::Settings;
use super::slots::{Slots, Taken, network_of};
use super::stats::{Counters, Meters, ServerStats};
use crate::observe::{Held, Observers, publishing};
use crate::wire::{
    HEADER_CHANNEL_EXPIRES, MESSAGE_CHANNEL_CLOSED, MESSAGE_CHANNEL_EXPIRED, MESSAGE_JOIN_SUCCESS,
    Message, unique_id,
};

/// The state of a server.
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) counters: Arc<Counters>,
    pub(super) meters: Meters,
    pub(super) observers: Arc<Observers<ServerEvent>>,
    pub(super) hooks: Arc<HookRunner>,
    /// What the correlation ids of this server's questions begin with.
    pub(super) question_prefix: String,
    channels: RwLock<HashMap<Arc<str>, Arc<Channel>>>,
    /// By client id, from the start of a session to its end. That is longer than the membership.
    sessions: RwLock<HashMap<Arc<str>, Arc<Member>>>,
    slots: Mutex<Slots>,
    /// HTTP connections of the server's own listener that have no slot.
    http: Mutex<usize>,
    emptied: Notify,
    is_closing: AtomicBool,
    /// `None` for a server that has no history and is alone.
    pub(super) reach: Option<Box<Reach>>,
    /// Cancelled when the server begins to shut down.
    pub(super) closing: CancellationToken,
    /// Cancelled when the time for the shutdown is over.
    pub(super) killed: CancellationToken,
}

/// Why there is no slot for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSlot {
    Closing,
    Full,
    Address,
    Busy,
}

impl NoSlot {
    pub(super) fn close(self) -> Close {
        match self {
            Self::Closing => Close::SHUTDOWN,
            Self::Full => Close::FULL,
            Self::Address => Close::ADDRESS,
            Self::Busy => Close::BUSY,
        }
    }
}

/// A connection's place within the limits. It is given back when dropped.
pub(super) struct Slot {
    core: Arc<Core>,
    address: Option<IpAddr>,
    _counted: Held,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut slots = self.core.slots.lock();
        slots.give_back(self.address);
        let is_empty = slots.taken == 0;
        drop(slots);
        if is_empty {
            self.core.emptied.notify_waiters();
        }
    }
}

/// What names the asker to other nodes, if there can be any.
fn question_prefix(reach: Option<&Reach>) -> String {
    #[cfg(feature = "nodes")]
    if let Some(nodes) = reach.and_then(|reach| reach.nodes.as_ref()) {
        return format!("{}.", nodes.id);
    }
    #[cfg(not(feature = "nodes"))]
    let _ = reach;
    format!("{}.", unique_id())
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        meters: Meters,
        hooks: HookRunner,
        reach: Option<Reach>,
    ) -> Self {
        Self {
            settings,
            counters: Arc::new(Counters::registered()),
            meters,
            observers: Arc::clone(hooks.observers()),
            hooks: Arc::new(hooks),
            question_prefix: question_prefix(reach.as_ref()),
            channels: RwLock::default(),
            sessions: RwLock::default(),
            slots: Mutex::default(),
            http: Mutex::default(),
            emptied: Notify::new(),
            is_closing: AtomicBool::new(false),
            reach: reach.map(Box::new),
            closing: CancellationToken::new(),
            killed: CancellationToken::new(),
        }
    }

    pub(super) fn reserve(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Slot, NoSlot> {
        let limits = &self.settings.limits;
        let address = address.map(network_of);
        let mut slots = self.slots.lock();
        if self.is_closing() {
            return Err(NoSlot::Closing);
        }
        let (most, most_of_address) = (limits.connections, limits.connections_per_address);
        slots
            .take(address, most, most_of_address)
            .map_err(|taken| match taken {
                Taken::All => NoSlot::Full,
                Taken::OfAddress => NoSlot::Address,
            })?;
        drop(slots);
        Ok(Slot {
            _counted: self.meters.connections.hold(),
            core: Arc::clone(self),
            address,
        })
    }

    /// Whether a client could join this channel now. A moment later that may have changed.
    pub(super) fn check_room_for(&self, channel: &str) -> Result<(), NoSlot> {
        self.check_room(&self.channels.read(), channel)
    }

    fn check_room(
        &self,
        channels: &HashMap<Arc<str>, Arc<Channel>>,
        channel: &str,
    ) -> Result<(), NoSlot> {
        let most = self.settings.limits.channels;
        let is_new = !channels.contains_key(channel);
        if is_new && channels.len() >= most {
            return Err(NoSlot::Full);
        }
        if (is_new && self.hooks.are_behind(most)) || self.hooks.is_behind(channel) {
            return Err(NoSlot::Busy);
        }
        Ok(())
    }

    /// Makes a connection a member of its channel. `join.success` is its first message.
    pub(super) fn join(
        self: &Arc<Self>,
        member: &Arc<Member>,
        entrance: Entrance,
    ) -> Result<Arc<Channel>, Close> {
        // Observers are the application's code, and are told without the lock.
        let channel = self.enter(member, entrance)?;
        self.counters.report_drops();
        channel.count(&self.meters.channels);
        self.counters.joined.add(1);
        self.observers.tell(|| ServerEvent::Joined {
            channel: Arc::clone(&channel.id),
            client: Arc::clone(member.connection.shared_id()),
            address: member.connection.address(),
        });
        Ok(channel)
    }

    /// Does what a join changes.
    fn enter(
        self: &Arc<Self>,
        member: &Arc<Member>,
        entrance: Entrance,
    ) -> Result<Arc<Channel>, Close> {
        let runtime = Handle::current();
        let id = member.connection.shared_channel();
        let mut channels = self.channels.write();
        if self.is_closing() {
            return Err(Close::SHUTDOWN);
        }
        self.check_room(&channels, id).map_err(NoSlot::close)?;
        let channel = match channels.get(id) {
            Some(channel) => Arc::clone(channel),
            None => {
                let channel = self.open(&runtime, id, entrance.lifetime);
                channels.insert(Arc::clone(id), Arc::clone(&channel));
                channel
            }
        };
        let mut welcome = Message::new(MESSAGE_JOIN_SUCCESS, member.connection.id(), &**id);
        if let Some(expiry) = &channel.expiry {
            welcome.set_header(HEADER_CHANNEL_EXPIRES, expiry.time.to_string());
        }
        let client = Arc::clone(member.connection.shared_id());
        self.sessions.write().insert(client, Arc::clone(member));
        let enter = |welcome: &Message, missed: Vec<Frame>| {
            member.mailbox.welcome(Frame::from(welcome.encode()));
            // A mailbox that is new and empty takes a whole history.
            for frame in missed {
                member.mailbox.put(frame);
            }
            channel.add(member);
        };
        match self.history() {
            None => enter(&welcome, Vec::new()),
            Some(history) => {
                let Entrance { resume, hold, .. } = entrance;
                history.join(&channel, resume.as_ref(), hold, |place, missed| {
                    place.tell(&mut welcome);
                    enter(&welcome, missed);
                });
            }
        }
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.nodes() {
            nodes.joined(&member.connection, channel.expiry.as_ref());
        }
        self.hooks
            .push(&runtime, Event::Join(member.connection.clone()));
        Ok(channel)
    }

    fn open(
        self: &Arc<Self>,
        runtime: &Handle,
        id: &Arc<str>,
        lifetime: Option<Duration>,
    ) -> Arc<Channel> {
        // A channel that another node has already expires when it does there.
        #[cfg(feature = "nodes")]
        let lifetime = lifetime.map(|lifetime| {
            let elsewhere = self.nodes().and_then(|nodes| nodes.expires_in(id));
            elsewhere.map_or(lifetime, |rest| rest.min(lifetime))
        });
        let expiry = lifetime.and_then(Expiry::after);
        let channel = Arc::new(Channel::new(Arc::clone(id), expiry));
        self.hooks.push(runtime, Event::Create(Arc::clone(id)));
        if let Some(expiry) = expiry {
            let (core, expiring) = (Arc::downgrade(self), Arc::downgrade(&channel));
            let timer = runtime.spawn(async move {
                tokio::time::sleep_until(expiry.at).await;
                if let (Some(core), Some(channel)) = (core.upgrade(), expiring.upgrade()) {
                    core.end_channel(&channel, ChannelEnd::Expired);
                }
            });
            channel.set_timer(timer.abort_handle());
        }
        channel
    }

    /// Ends a membership. Only the first call for a member has an effect.
    pub(super) fn leave(&self, runtime: &Handle, channel: &Arc<Channel>, member: &Member) {
        let removed = {
            let mut channels = self.channels.write();
            let Some(removed) = channel.remove(member.connection.id()) else {
                return;
            };
            self.left(runtime, member);
            if removed == Removed::Last {
                self.forget(&mut channels, channel);
                channel.end();
                if let Some(history) = self.history() {
                    history.emptied(runtime, channel);
                }
                let id = Arc::clone(&channel.id);
                self.hooks
                    .push(runtime, Event::Close(id, ChannelEnd::Emptied));
            }
            removed
        };
        member.unsubscribe();
        self.counters.left.add(1);
        if removed == Removed::Last {
            channel.awaits.clear();
            self.tell_end(channel, ChannelEnd::Emptied);
        }
    }

    fn left(&self, runtime: &Handle, member: &Member) {
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.nodes() {
            nodes.left(&member.connection);
        }
        self.hooks
            .push(runtime, Event::Leave(member.connection.clone()));
    }

    fn forget(&self, channels: &mut HashMap<Arc<str>, Arc<Channel>>, channel: &Arc<Channel>) {
        if channels
            .get(&channel.id)
            .is_some_and(|known| Arc::ptr_eq(known, channel))
        {
            channels.remove(&channel.id);
        }
    }

    /// Ends a channel: tells its members, and disconnects them. Returns whether it had not ended
    /// before.
    pub(super) fn end_channel(&self, channel: &Arc<Channel>, end: ChannelEnd) -> bool {
        let members = {
            let mut channels = self.channels.write();
            self.forget(&mut channels, channel);
            let members = channel.end();
            let runtime = self.settings.runtime.lock().clone();
            let Some(runtime) = runtime else {
                return false;
            };
            if members.is_empty() {
                return false;
            }
            if let Some(history) = self.history() {
                history.end(channel);
            }
            for member in &members {
                self.left(&runtime, member);
            }
            self.hooks
                .push(&runtime, Event::Close(Arc::clone(&channel.id), end));
            members
        };
        channel.feed.close();
        channel.awaits.clear();
        self.counters.left.add(members.len() as u64);
        self.tell_end(channel, end);
        let (key, close) = match end {
            ChannelEnd::Expired => (Some(MESSAGE_CHANNEL_EXPIRED), Close::EXPIRED),
            ChannelEnd::Shutdown => (None, Close::SHUTDOWN),
            ChannelEnd::Closed | ChannelEnd::Emptied => {
                (Some(MESSAGE_CHANNEL_CLOSED), Close::CLOSED)
            }
        };
        for member in members {
            member.unsubscribe();
            match key {
                Some(key) => {
                    let last = Message::new(key, member.connection.id(), &*channel.id);
                    let frame = Frame::from(last.encode());
                    member.mailbox.close_with(frame, close);
                }
                None => member.mailbox.close(close),
            }
        }
        true
    }

    /// Closes a channel, and ends its history if that is kept without members. Returns whether it
    /// had members.
    pub(super) fn close_channel(&self, id: &str) -> bool {
        let channel = self.channel(id);
        let had_members =
            channel.is_some_and(|channel| self.end_channel(&channel, ChannelEnd::Closed));
        if let Some(history) = self.history() {
            history.end_kept(id);
        }
        had_members
    }

    pub(super) fn channel(&self, id: &str) -> Option<Arc<Channel>> {
        self.channels.read().get(id).cloned()
    }

    pub(super) fn channel_ids(&self) -> Vec<Arc<str>> {
        self.channels.read().keys().cloned().collect()
    }

    fn member(&self, client: &str) -> Option<Arc<Member>> {
        self.sessions.read().get(client).cloned()
    }

    /// Sends a message to one client. Returns whether that takes it, or `None` if it is not
    /// connected.
    pub(super) fn send_direct(&self, client: &str, mut message: Message) -> Option<bool> {
        let _publishing = publishing(client, &mut message);
        self.counters.published.add(1);
        let Some(member) = self.member(client) else {
            #[cfg(feature = "nodes")]
            if let Some(nodes) = self.nodes() {
                let is_known = nodes.send_direct(client, &Frame::from(message.encode()));
                return is_known.then_some(true);
            }
            return None;
        };
        Some(member.mailbox.push(Frame::from(message.encode())))
    }

    /// Sends a frame to one client that is here.
    #[cfg(feature = "nodes")]
    pub(super) fn send_frame(&self, client: &str, frame: Frame) {
        if let Some(member) = self.member(client) {
            // What is refused has been counted.
            member.mailbox.push(frame);
        }
    }

    /// The session of a member has ended.
    pub(super) fn end_session(&self, member: &Member) {
        self.sessions.write().remove(member.connection.id());
        member.mailbox.clear();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Whether a correlation id is that of a question, to which there may be late answers.
    pub(super) fn is_question(&self, correlation_id: &str) -> bool {
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.nodes()
            && nodes.is_question(correlation_id)
        {
            return true;
        }
        correlation_id.starts_with(&self.question_prefix)
    }

    pub(super) fn stats(&self) -> ServerStats {
        // One lock at a time: a shutdown takes both, in the other order.
        let connections = self.slots.lock().taken;
        let channels = self.channels.read().len();
        self.counters.snapshot(connections, channels)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Channel, Duration, Message};
    use crate::Server;

    #[test]
    fn stats_hold_no_lock_while_they_wait_for_the_channels() {
        let server = Server::builder().build().unwrap();
        let core = &server.core;
        let channels = core.channels.write();
        std::thread::scope(|scope| {
            let stats = scope.spawn(|| core.stats());
            // Long enough for the thread to wait for the channels. A thread that is late proves
            // nothing, and fails nothing.
            std::thread::sleep(Duration::from_millis(200));
            let is_free = core.slots.try_lock_for(Duration::from_secs(1)).is_some();
            drop(channels);
            assert_eq!(stats.join().unwrap().connections, 0);
            assert!(is_free, "the slots were locked meanwhile");
        });
    }

    #[tokio::test]
    async fn a_question_whose_asker_gave_up_is_forgotten() {
        let server = Server::builder().build().unwrap();
        let id: Arc<str> = "room".into();
        let channel = Arc::new(Channel::new(Arc::clone(&id), None));
        server
            .core
            .channels
            .write()
            .insert(id, Arc::clone(&channel));
        let question = Message::new("question", "", "");
        let asked = server.broadcast_await("room", question, Duration::MAX);
        tokio::select! {
            biased;
            answer = asked => panic!("{answer:?}"),
            () = async { assert_eq!(channel.awaits.pending(), 1) } => {}
        }
        assert_eq!(channel.awaits.pending(), 0);
    }
}
