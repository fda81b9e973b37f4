//! The members of the other nodes, as far as this node has heard.
//!
//! # Invariants
//!
//! 1. A node publishes its changes and snapshots on one key, in order, from one task. So after a
//!    snapshot of version `v` the next changes begin at `v`, and whatever is lost shows as a
//!    version that does not fit.
//! 2. What this node knows of another is what was true there at `version`. Where a version does not
//!    fit, changes are not applied; a snapshot is asked for, and replaces everything.
//! 3. A node that said goodbye never comes back: identities are not used again. One that was silent
//!    may.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::envelope::{Change, Entry};
use super::events::{NodeEvent, Presence};

/// After so many intervals of silence a node is taken for dead.
const INTERVALS: u32 = 3;
/// How often a node looks for dead ones in an interval.
pub(super) const SWEEPS: u32 = 4;
/// How many nodes that said goodbye are remembered, for what still arrives of them.
const GONE: usize = 1024;
/// The bounds of what a node may say its interval is.
pub(super) const SHORTEST: Duration = Duration::from_millis(20);
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// What follows from a message.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) events: Vec<NodeEvent>,
    /// Whether the node has to be asked for a snapshot.
    pub(super) wants_snapshot: bool,
}

/// The other nodes.
pub(super) struct Remote {
    own: Arc<str>,
    interval: Duration,
    peers: HashMap<Arc<str>, Peer>,
    gone: VecDeque<Arc<str>>,
    swept: Instant,
}

struct Peer {
    id: Arc<str>,
    heard: Instant,
    interval: Duration,
    asked: Option<Instant>,
    /// `None` while nothing is known.
    version: Option<u64>,
    members: HashMap<Arc<str>, Member>,
    /// The clients of each channel.
    channels: HashMap<Arc<str>, HashSet<Arc<str>>>,
    partial: Option<Partial>,
}

struct Member {
    presence: Presence,
    expires: Option<u64>,
}

/// A snapshot of which parts are missing.
struct Partial {
    version: u64,
    next: usize,
    entries: Vec<Entry>,
}

impl Peer {
    fn join(&mut self, entry: Entry, events: &mut Vec<NodeEvent>) {
        if self.members.contains_key(&*entry.client) {
            return;
        }
        let client: Arc<str> = entry.client.into();
        let channel = match self.channels.get_key_value(&*entry.channel) {
            Some((channel, _)) => Arc::clone(channel),
            None => entry.channel.into(),
        };
        let clients = self.channels.entry(Arc::clone(&channel)).or_default();
        clients.insert(Arc::clone(&client));
        let presence = Presence {
            node: Arc::clone(&self.id),
            channel,
            client_id: Arc::clone(&client),
            user_id: entry.user.into(),
            app_id: entry.app.into(),
        };
        events.push(NodeEvent::Joined(presence.clone()));
        let expires = entry.expires;
        self.members.insert(client, Member { presence, expires });
    }

    fn leave(&mut self, client: &str, events: &mut Vec<NodeEvent>) {
        let Some(Member { presence, .. }) = self.members.remove(client) else {
            return;
        };
        if let Some(clients) = self.channels.get_mut(&presence.channel) {
            clients.remove(client);
            if clients.is_empty() {
                self.channels.remove(&presence.channel);
            }
        }
        events.push(NodeEvent::Left(presence));
    }

    fn replace(&mut self, entries: Vec<Entry>, events: &mut Vec<NodeEvent>) {
        let stay: HashSet<&str> = entries.iter().map(|entry| &*entry.client).collect();
        let clients = self.members.keys();
        let left: Vec<_> = clients
            .filter(|&client| !stay.contains(&**client))
            .cloned()
            .collect();
        for client in left {
            self.leave(&client, events);
        }
        for entry in entries {
            self.join(entry, events);
        }
    }

    fn end(mut self, events: &mut Vec<NodeEvent>) {
        self.replace(Vec::new(), events);
    }

    /// Asks for a snapshot, unless it was asked for a moment ago.
    fn ask(&mut self, now: Instant) -> bool {
        let is_due = self
            .asked
            .is_none_or(|asked| now.saturating_duration_since(asked) >= self.interval / 2);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }
}

impl Remote {
    pub(super) fn new(own: Arc<str>, interval: Duration, now: Instant) -> Self {
        Self {
            own,
            interval,
            peers: HashMap::new(),
            gone: VecDeque::new(),
            swept: now,
        }
    }

    /// The node that a message came from. `None` if it is this one, or has gone.
    fn hear(&mut self, id: &str, now: Instant, effects: &mut Effects) -> Option<&mut Peer> {
        if *id == *self.own || self.gone.iter().any(|gone| **gone == *id) {
            return None;
        }
        if !self.peers.contains_key(id) {
            let id: Arc<str> = id.into();
            effects.events.push(NodeEvent::NodeUp(Arc::clone(&id)));
            let peer = Peer {
                id: Arc::clone(&id),
                heard: now,
                interval: self.interval,
                asked: None,
                version: None,
                members: HashMap::new(),
                channels: HashMap::new(),
                partial: None,
            };
            self.peers.insert(id, peer);
        }
        let peer = self.peers.get_mut(id)?;
        peer.heard = now;
        Some(peer)
    }

    /// Notes that a node has sent something.
    pub(super) fn lives(&mut self, id: &str, now: Instant) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.heard = now;
        }
    }

    pub(super) fn beat(&mut self, id: &str, interval: u64, version: u64, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let Some(peer) = self.hear(id, now, &mut effects) else {
            return effects;
        };
        peer.interval = Duration::from_millis(interval).clamp(SHORTEST, LONGEST);
        if version == 0 {
            peer.version.get_or_insert(0);
        }
        // An older version is that of a message that came again.
        if peer.version.is_none_or(|known| known < version) {
            effects.wants_snapshot = peer.ask(now);
        }
        effects
    }

    pub(super) fn changes(
        &mut self,
        id: &str,
        (from, to): (u64, u64),
        changes: Vec<Change>,
        now: Instant,
    ) -> Effects {
        let mut effects = Effects::default();
        let Some(peer) = self.hear(id, now, &mut effects) else {
            return effects;
        };
        if from == 0 {
            peer.version.get_or_insert(0);
        }
        if peer.version == Some(from) {
            peer.version = Some(to);
            for change in changes {
                match change {
                    Change::Join(entry) => peer.join(entry, &mut effects.events),
                    Change::Leave(client) => peer.leave(&client, &mut effects.events),
                }
            }
        } else if peer.version.is_none_or(|known| known < to) {
            effects.wants_snapshot = peer.ask(now);
        }
        effects
    }

    pub(super) fn snapshot(
        &mut self,
        id: &str,
        interval: u64,
        version: u64,
        (part, parts): (usize, usize),
        entries: Vec<Entry>,
        now: Instant,
    ) -> Effects {
        let mut effects = Effects::default();
        let Some(peer) = self.hear(id, now, &mut effects) else {
            return effects;
        };
        peer.interval = Duration::from_millis(interval).clamp(SHORTEST, LONGEST);
        if peer.version.is_some_and(|known| known >= version) {
            peer.partial = None;
            return effects;
        }
        let mut partial = match peer.partial.take() {
            Some(partial) if partial.version == version && partial.next == part => partial,
            _ if part == 0 => Partial {
                version,
                next: 0,
                entries: Vec::new(),
            },
            // A part was lost. The next heartbeat leads to another snapshot.
            _ => return effects,
        };
        partial.entries.extend(entries);
        partial.next += 1;
        if partial.next < parts {
            peer.partial = Some(partial);
        } else {
            peer.version = Some(version);
            peer.replace(partial.entries, &mut effects.events);
        }
        effects
    }

    pub(super) fn bye(&mut self, id: &str) -> Effects {
        let mut effects = Effects::default();
        if *id == *self.own || self.gone.iter().any(|gone| **gone == *id) {
            return effects;
        }
        self.gone.push_back(id.into());
        if self.gone.len() > GONE {
            self.gone.pop_front();
        }
        if let Some(peer) = self.peers.remove(id) {
            let id = Arc::clone(&peer.id);
            peer.end(&mut effects.events);
            effects.events.push(NodeEvent::NodeLeft(id));
        }
        effects
    }

    /// Takes nodes for dead that have been silent for too long. Called [`SWEEPS`] times in each
    /// interval.
    pub(super) fn sweep(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let since = now.saturating_duration_since(self.swept);
        self.swept = now;
        let usual = self.interval / SWEEPS;
        if since > 2 * usual {
            // This process itself was stopped, and heard no node meanwhile.
            for peer in self.peers.values_mut() {
                peer.heard = now.min(peer.heard + (since - usual));
            }
        }
        let is_dead =
            |peer: &Peer| now.saturating_duration_since(peer.heard) > INTERVALS * peer.interval;
        let dead: Vec<_> = {
            let each = self.peers.iter();
            each.filter(|(_, peer)| is_dead(peer))
                .map(|(id, _)| Arc::clone(id))
                .collect()
        };
        for id in dead {
            if let Some(peer) = self.peers.remove(&id) {
                peer.end(&mut effects.events);
                effects.events.push(NodeEvent::NodeSilent(id));
            }
        }
        effects
    }

    pub(super) fn knows(&self, id: &str) -> bool {
        self.peers.contains_key(id)
    }

    pub(super) fn ids(&self) -> Vec<Arc<str>> {
        self.peers.keys().cloned().collect()
    }

    pub(super) fn members_count(&self) -> usize {
        self.peers.values().map(|peer| peer.members.len()).sum()
    }

    pub(super) fn has_channel(&self, channel: &str) -> bool {
        self.peers
            .values()
            .any(|peer| peer.channels.contains_key(channel))
    }

    pub(super) fn channels(&self) -> Vec<Arc<str>> {
        let each = self.peers.values();
        each.flat_map(|peer| peer.channels.keys().cloned())
            .collect()
    }

    fn each_of<'a>(&'a self, channel: &'a str) -> impl Iterator<Item = &'a Member> {
        self.peers.values().flat_map(move |peer| {
            let clients = peer.channels.get(channel).into_iter().flatten();
            clients.filter_map(|client| peer.members.get(client))
        })
    }

    pub(super) fn members(&self, channel: &str) -> Vec<Presence> {
        self.each_of(channel)
            .map(|member| member.presence.clone())
            .collect()
    }

    /// When the channel expires on other nodes, in milliseconds since 1970: the earliest of them.
    pub(super) fn expires(&self, channel: &str) -> Option<u64> {
        self.each_of(channel)
            .filter_map(|member| member.expires)
            .min()
    }

    pub(super) fn node_of(&self, client: &str) -> Option<Arc<str>> {
        let mut each = self.peers.values();
        let peer = each.find(|peer| peer.members.contains_key(client))?;
        Some(Arc::clone(&peer.id))
    }
}

#[cfg(test)]
mod tests;
