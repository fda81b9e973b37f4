//! The members of this node, for the other nodes.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::envelope::{Change, Entry};

/// The members of this node, and the changes that have not been published yet.
#[derive(Default)]
pub(super) struct Local {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many changes there have been.
    version: u64,
    members: HashMap<String, Entry>,
    pending: Vec<Pending>,
}

/// A change that has not been published yet.
pub(super) enum Pending {
    Join(Entry),
    Leave(Entry),
}

impl Pending {
    pub(super) fn change(&self) -> Change {
        match self {
            Self::Join(entry) => Change::Join(entry.clone()),
            Self::Leave(entry) => Change::Leave(entry.client.clone()),
        }
    }
}

/// What is to be published, all as of one version.
pub(super) struct Taken {
    pub(super) version: u64,
    /// The changes that led to it.
    pub(super) pending: Vec<Pending>,
    /// The members at that version, if a snapshot is wanted.
    pub(super) members: Option<Vec<Entry>>,
}

impl Local {
    pub(super) fn join(&self, entry: Entry) {
        let mut state = self.state.lock();
        state.version += 1;
        state.members.insert(entry.client.clone(), entry.clone());
        state.pending.push(Pending::Join(entry));
    }

    pub(super) fn leave(&self, client: &str) {
        let mut state = self.state.lock();
        if let Some(entry) = state.members.remove(client) {
            state.version += 1;
            state.pending.push(Pending::Leave(entry));
        }
    }

    pub(super) fn version(&self) -> u64 {
        let state = self.state.lock();
        // Changes that have not been published are none yet.
        state.version - state.pending.len() as u64
    }

    pub(super) fn take(&self, wants_snapshot: bool) -> Taken {
        let mut state = self.state.lock();
        Taken {
            version: state.version,
            pending: std::mem::take(&mut state.pending),
            members: wants_snapshot.then(|| state.members.values().cloned().collect()),
        }
    }
}
