//! What a client and its tasks share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use fanfeed::Receiver;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::error::{JoinError, PublishFault};
use super::event::{ClientEvent, ClientEventKind};
use super::member::Member;
use super::settings::Settings;
use super::stats::{ClientStats, Counters, Meters};
use super::tls::Tls;
use crate::handler::HandlerError;
use crate::middleware::{Middleware, Next};
use crate::observe::Observers;
use crate::wire::{ErrorMessage, Message};

pub(super) type ErrorCallback = Arc<dyn Fn(&HandlerError, &Message) + Send + Sync>;
pub(super) type ServerErrorCallback = Arc<dyn Fn(&ErrorMessage) + Send + Sync>;

pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) tls: Tls,
    pub(super) runtime: Handle,
    /// Empty once the client is closed.
    pub(super) program: RwLock<Program>,
    members: Mutex<HashMap<Place, Seat>>,
    /// How many memberships have a task.
    tasks: watch::Sender<usize>,
    pub(super) observers: Observers<ClientEvent>,
    pub(super) counters: Arc<Counters>,
    pub(super) meters: Meters,
    /// Cancelled when the client is closed.
    pub(super) closed: CancellationToken,
}

/// What the program has the client call. It may hold publishers and memberships, which hold the
/// client's state.
#[derive(Default)]
pub(super) struct Program {
    pub(super) middleware: Vec<Arc<dyn Middleware>>,
    /// Wrapped in the middleware, by key.
    pub(super) listeners: HashMap<String, Next>,
    pub(super) on_error: Option<ErrorCallback>,
    pub(super) on_server_error: Option<ServerErrorCallback>,
}

/// A host and a channel.
type Place = (Arc<str>, Arc<str>);

enum Seat {
    /// Being joined for the first time.
    Reserved,
    Member(Arc<Member>),
}

impl Core {
    pub(super) fn new(
        settings: Settings,
        tls: Tls,
        runtime: Handle,
        program: Program,
        meters: Meters,
    ) -> Self {
        Self {
            settings,
            tls,
            runtime,
            program: RwLock::new(program),
            members: Mutex::default(),
            tasks: watch::Sender::new(0),
            observers: Observers::new(),
            counters: Arc::new(Counters::registered()),
            meters,
            closed: CancellationToken::new(),
        }
    }

    /// Closes the client, and drops its listeners and callbacks: a listener that has a publisher
    /// would keep the client for ever.
    pub(super) fn close(&self) {
        self.closed.cancel();
        let program = std::mem::take(&mut *self.program.write());
        // A program's values are dropped without the lock.
        drop(program);
    }

    pub(super) fn events(&self) -> Receiver<ClientEvent> {
        self.observers.events()
    }

    /// Ends the events, once the client is closed and its memberships are over.
    pub(super) async fn end_events(&self) {
        self.observers.end().await;
    }

    pub(super) fn stats(&self) -> ClientStats {
        let members = self.members.lock();
        let joined = members.values().filter_map(|seat| match seat {
            Seat::Member(member) => Some(usize::from(member.is_connected())),
            Seat::Reserved => None,
        });
        let (memberships, connected) = joined.fold((0, 0), |(all, connected), is_connected| {
            (all + 1, connected + is_connected)
        });
        drop(members);
        self.counters.snapshot(memberships, connected)
    }

    /// Tells observers. None of them can hold it up.
    pub(super) fn tell(&self, member: &Member, kind: ClientEventKind) {
        self.observers.tell(|| ClientEvent {
            host: Arc::clone(&member.host),
            channel: Arc::clone(&member.channel),
            kind,
        });
    }

    /// Keeps a place for a channel that is being joined.
    pub(super) fn reserve(
        self: &Arc<Self>,
        host: &str,
        channel: &str,
    ) -> Result<Reservation, JoinError> {
        let place: Place = (host.trim_end_matches('/').into(), channel.into());
        match self.members.lock().entry(place.clone()) {
            Entry::Occupied(_) => return Err(JoinError::AlreadyJoined),
            Entry::Vacant(entry) => entry.insert(Seat::Reserved),
        };
        Ok(Reservation {
            core: Arc::clone(self),
            place: Some(place),
        })
    }

    /// Takes a membership out that is over.
    pub(super) fn forget(&self, member: &Member) {
        let place = (Arc::clone(&member.host), Arc::clone(&member.channel));
        let removed = self.members.lock().remove(&place);
        drop(removed);
    }

    /// The memberships of a channel, at whichever hosts.
    pub(super) fn members_of(&self, channel: &str) -> Vec<Arc<Member>> {
        let members = self.members.lock();
        let of_channel = members.iter().filter(|((_, known), _)| **known == *channel);
        let joined = of_channel.filter_map(|(_, seat)| match seat {
            Seat::Member(member) => Some(Arc::clone(member)),
            Seat::Reserved => None,
        });
        joined.collect()
    }

    /// The membership of a channel, if it is joined at one host alone.
    pub(super) fn member_of(&self, channel: &str) -> Result<Arc<Member>, PublishFault> {
        let mut members = self.members_of(channel);
        match (members.pop(), members.is_empty()) {
            (None, _) => Err(PublishFault::NotJoined),
            (Some(member), true) => Ok(member),
            (Some(_), false) => Err(PublishFault::SeveralHosts),
        }
    }

    /// Counts a task until the returned value is dropped.
    pub(super) fn count_task(self: &Arc<Self>) -> Counted {
        self.tasks.send_modify(|count| *count += 1);
        Counted(Arc::clone(self))
    }

    /// Waits until no membership has a task any more.
    pub(super) async fn wait_for_tasks(&self) {
        let mut tasks = self.tasks.subscribe();
        // It fails only if the sender is dropped, which is a part of this.
        let _ = tasks.wait_for(|&count| count == 0).await;
    }
}

/// A task of a membership.
pub(super) struct Counted(Arc<Core>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tasks.send_modify(|count| *count -= 1);
    }
}

/// A place that is kept while a channel is being joined. Dropping it gives it back.
pub(super) struct Reservation {
    core: Arc<Core>,
    place: Option<Place>,
}

impl Reservation {
    /// Puts the new member into the place.
    pub(super) fn fill(mut self) -> Arc<Member> {
        let place = self.place.take().expect("it is taken here alone");
        let member = Arc::new(Member::new(
            Arc::clone(&place.0),
            Arc::clone(&place.1),
            &self.core,
        ));
        let seat = Seat::Member(Arc::clone(&member));
        self.core.members.lock().insert(place, seat);
        member
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.core.members.lock().remove(place);
        }
    }
}
