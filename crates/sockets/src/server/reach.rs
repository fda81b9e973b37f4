//! What a broadcast does besides reaching the members that are here: it goes into the history, and
//! to other nodes.

use std::sync::Arc;
use std::time::Duration;

use super::channel::Channel;
use super::core::Core;
use super::history::{self, Histories, Hold, Resume};
use super::mailbox::Frame;
#[cfg(feature = "nodes")]
use super::nodes::Nodes;
use crate::observe::publishing;
use crate::wire::Message;

/// Of a server that has a history, or is one of many nodes.
pub(super) struct Reach {
    pub(super) history: Option<Arc<Histories>>,
    #[cfg(feature = "nodes")]
    pub(super) nodes: Option<Arc<Nodes>>,
}

/// What a client brings along when it joins.
#[derive(Default)]
pub(super) struct Entrance {
    /// Where it comes back.
    pub(super) resume: Option<Resume>,
    /// How long the channel lives, if this client opens it. `None` for a channel that does not
    /// expire.
    pub(super) lifetime: Option<Duration>,
    /// Keeps the channel's way to other nodes open.
    pub(super) hold: Option<Hold>,
}

impl Core {
    pub(super) fn history(&self) -> Option<&Arc<Histories>> {
        self.reach.as_ref()?.history.as_ref()
    }

    #[cfg(feature = "nodes")]
    pub(super) fn nodes(&self) -> Option<&Arc<Nodes>> {
        self.reach.as_ref()?.nodes.as_ref()
    }

    /// Sends a message to all members of a channel. Returns how many there are here.
    pub(super) fn broadcast(&self, id: &str, mut message: Message) -> usize {
        let _publishing = publishing(id, &mut message);
        self.counters.published.add(1);
        if self.reach.is_some() {
            return self.spread(id, message);
        }
        let Some(channel) = self.channel(id) else {
            return 0;
        };
        self.send(&channel, frame_for(id, message))
    }

    /// What a question has in common with a broadcast. Its span ends here: the asker's future may
    /// move between threads.
    pub(super) fn begin_question(&self, id: &str, message: &mut Message) {
        let _publishing = publishing(id, message);
        self.counters.published.add(1);
    }

    /// As [`broadcast`](Self::broadcast), to a channel that is at hand.
    pub(super) fn broadcast_on(&self, channel: &Channel, mut message: Message) -> usize {
        let _publishing = publishing(&channel.id, &mut message);
        self.counters.published.add(1);
        match self.reach.is_some() {
            true => self.spread(&channel.id, message),
            false => self.send(channel, frame_for(&channel.id, message)),
        }
    }

    fn spread(&self, id: &str, mut message: Message) -> usize {
        if self.history().is_some() {
            history::strip(&mut message);
        }
        let frame = frame_for(id, message);
        let reached = self.deliver(id, frame.clone());
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.nodes() {
            nodes.publish_frame(id, &frame);
        }
        reached
    }

    /// Sends a frame to the members of a channel that are here.
    pub(super) fn deliver(&self, id: &str, frame: Frame) -> usize {
        match self.history() {
            Some(history) => {
                let reached = history.append(id, &frame);
                self.counters.report_drops();
                reached
            }
            None => self
                .channel(id)
                .map_or(0, |channel| self.send(&channel, frame)),
        }
    }

    /// Sends a frame to the members of a channel, past its history.
    pub(super) fn send(&self, channel: &Channel, frame: Frame) -> usize {
        let reached = channel.feed.send(frame);
        self.counters.report_drops();
        reached
    }
}

/// Serializes a message for a channel. Without a channel id it gets that of the channel.
pub(super) fn frame_for(channel: &str, mut message: Message) -> Frame {
    if message.channel_id().is_empty() {
        message.set_channel_id(channel);
    }
    message.encode().into()
}
