//! What a server tells about its nodes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A member of a channel, on whichever node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// The node that has its connection. The empty string for a server that is alone.
    pub node: Arc<str>,
    /// The channel.
    pub channel: Arc<str>,
    /// The client's id.
    pub client_id: Arc<str>,
    /// The id of the user, or the empty string.
    pub user_id: Arc<str>,
    /// The id of the application, or the empty string.
    pub app_id: Arc<str>,
}

/// What happened among the nodes, as this server sees it.
///
/// Of one member, `Joined` and `Left` alternate. They come once each, unless its node was cut off
/// for a time. Nodes may see the events of two other nodes in different orders.
///
/// Texts of errors that are longer than 1,024 bytes are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// Another node is there, for the first time or again.
    NodeUp(Arc<str>),
    /// Another node has said goodbye.
    NodeLeft(Arc<str>),
    /// Another node has been silent for three of its intervals. Its members are taken for gone. If
    /// it lives, it comes back.
    NodeSilent(Arc<str>),
    /// A client is a member, here or on another node.
    Joined(Presence),
    /// A client is no member any more.
    Left(Presence),
    /// Something was not published: the other nodes miss it, unless it is about presence, which is
    /// repaired.
    NotPublished {
        /// The channel, if it was a message for one.
        channel: Option<Arc<str>>,
        /// Why.
        reason: Arc<str>,
    },
    /// Messages of other nodes are not received now. The server tries again.
    NotSubscribed {
        /// The channel, or `None` for what concerns this node or all.
        channel: Option<Arc<str>>,
        /// Why.
        reason: Arc<str>,
    },
    /// Messages of other nodes have been lost.
    Gap {
        /// The channel, or `None` for what concerns this node or all.
        channel: Option<Arc<str>>,
        /// How many, where it is known.
        missed: Option<u64>,
    },
    /// Something arrived that cannot be read.
    Undecodable {
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The broker is connected to its server, for the first time or again.
    Connected,
    /// The broker has lost its server, and tries to reach it again. Members of this node go on
    /// among themselves.
    Disconnected {
        /// What the broker said.
        reason: Arc<str>,
    },
}

impl fmt::Display for NodeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |channel: &Option<Arc<str>>| match channel {
            Some(channel) => format!("channel {channel:?}"),
            None => "the node".to_owned(),
        };
        match self {
            Self::NodeUp(node) => write!(f, "node {node} is up"),
            Self::NodeLeft(node) => write!(f, "node {node} has left"),
            Self::NodeSilent(node) => write!(f, "node {node} is silent and taken for dead"),
            Self::Joined(at) => {
                write!(f, "{} joined {:?} on {}", at.client_id, at.channel, at.node)
            }
            Self::Left(at) => write!(f, "{} left {:?} on {}", at.client_id, at.channel, at.node),
            Self::NotPublished { channel, reason } => {
                write!(
                    f,
                    "a message of {} was not published: {reason}",
                    of(channel)
                )
            }
            Self::NotSubscribed { channel, reason } => {
                write!(f, "{} is not subscribed: {reason}", of(channel))
            }
            Self::Gap { channel, missed } => match missed {
                Some(missed) => write!(f, "{} has missed {missed} messages", of(channel)),
                None => write!(
                    f,
                    "{} has missed an unknown number of messages",
                    of(channel)
                ),
            },
            Self::Undecodable { reason } => write!(f, "a message cannot be read: {reason}"),
            Self::Connected => f.write_str("the broker is connected"),
            Self::Disconnected { reason } => write!(f, "the broker has lost its server: {reason}"),
        }
    }
}

/// What a server has counted about its nodes since it was built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// Other nodes that are there now.
    pub nodes: usize,
    /// Their members now.
    pub members: usize,
    /// Messages that the broker took for other nodes, those about presence included.
    pub published: u64,
    /// Messages that the broker did not take, or failed to publish later.
    pub not_published: u64,
    /// Messages of other nodes that arrived, those about presence included.
    pub received: u64,
    /// Messages that had arrived before, and were ignored.
    pub duplicates: u64,
    /// Messages that could not be read.
    pub undecodable: u64,
    /// How often messages of other nodes were lost.
    pub gaps: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) not_published: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) undecodable: AtomicU64,
    pub(super) gaps: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn snapshot(&self, nodes: usize, members: usize) -> NodeStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NodeStats {
            nodes,
            members,
            published: get(&self.published),
            not_published: get(&self.not_published),
            received: get(&self.received),
            duplicates: get(&self.duplicates),
            undecodable: get(&self.undecodable),
            gaps: get(&self.gaps),
        }
    }
}
