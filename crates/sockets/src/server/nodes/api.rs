//! What a server says about the nodes.

use std::sync::Arc;

use fanfeed::{Overflow, Receiver};

use super::{NodeEvent, NodeStats, Presence};
use crate::server::Server;

/// How many events a receiver holds.
const EVENTS: usize = 1024;

/// With many nodes, and the feature `nodes`: see
/// [`ServerBuilder::nodes`](crate::ServerBuilder::nodes).
///
/// What these methods say about other nodes is what those said a moment ago.
impl Server {
    /// The identity of this node, new with each server. `None` if the server is alone.
    pub fn node_id(&self) -> Option<Arc<str>> {
        self.core.nodes().map(|nodes| Arc::clone(&nodes.id))
    }

    /// Whether this node is subscribed to what the other nodes say of themselves, and to what is
    /// sent to it alone. Before that it knows of no other node, because it cannot hear them. `true`
    /// if the server is alone.
    pub fn hears_nodes(&self) -> bool {
        self.core.nodes().is_none_or(|nodes| nodes.is_reached())
    }

    /// The other nodes that are there.
    pub fn other_nodes(&self) -> Vec<Arc<str>> {
        let nodes = self.core.nodes();
        nodes.map_or_else(Vec::new, |nodes| nodes.remote.lock().ids())
    }

    /// The members of a channel, on all nodes, or on this server if it is alone.
    pub fn presence(&self, channel: &str) -> Vec<Presence> {
        let nodes = self.core.nodes();
        let node = nodes.map_or_else(Arc::default, |nodes| Arc::clone(&nodes.id));
        let mut members = nodes.map_or_else(Vec::new, |nodes| nodes.remote.lock().members(channel));
        members.extend(self.members(channel).iter().map(|connection| Presence {
            node: Arc::clone(&node),
            channel: Arc::clone(connection.shared_channel()),
            client_id: Arc::clone(connection.shared_id()),
            user_id: connection.identity().user_id().into(),
            app_id: connection.identity().app_id().into(),
        }));
        members
    }

    /// Whether a channel has members, on any node.
    pub fn has_channel_anywhere(&self, channel: &str) -> bool {
        let nodes = self.core.nodes();
        self.has_channel(channel)
            || nodes.is_some_and(|nodes| nodes.remote.lock().has_channel(channel))
    }

    /// The ids of all channels that have members, on any node, in order.
    pub fn channels_anywhere(&self) -> Vec<Arc<str>> {
        let mut channels = self.channels();
        if let Some(nodes) = self.core.nodes() {
            channels.extend(nodes.remote.lock().channels());
        }
        channels.sort_unstable();
        channels.dedup();
        channels
    }

    /// Returns a receiver of all later events of the nodes. It holds 1,024 events. A receiver that
    /// is not read delays no other: it loses the oldest events, and learns how many. `None` if the
    /// server is alone.
    pub fn node_events(&self) -> Option<Receiver<NodeEvent>> {
        let nodes = self.core.nodes()?;
        let subscriber = nodes.events.subscriber().capacity(EVENTS);
        let receiver = subscriber.overflow(Overflow::DropOldest).channel();
        Some(receiver.expect("it is a capacity that a channel can have"))
    }

    /// What the server has counted about its nodes. `None` if the server is alone.
    pub fn node_stats(&self) -> Option<NodeStats> {
        let nodes = self.core.nodes()?;
        let remote = nodes.remote.lock();
        let (count, members) = (remote.ids().len(), remote.members_count());
        drop(remote);
        Some(nodes.counters.snapshot(count, members))
    }
}
