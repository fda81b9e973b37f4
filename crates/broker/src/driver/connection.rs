//! Whether the two sides of a connection are up.

use std::sync::Arc;

use crate::dispatch::Hub;
use crate::event::Event;
use crate::sync::Mutex;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Outbound,
    Inbound,
}

/// The two sides, and what was last reported about them, so that each change gives one event and not two.
#[derive(Debug, Default)]
pub(super) struct Connections {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outbound: bool,
    inbound: bool,
    reported: Option<bool>,
    /// Why each side was last down, until it is up.
    outbound_fault: Option<Arc<str>>,
    inbound_fault: Option<Arc<str>>,
}

impl Connections {
    pub(super) fn up(&self, side: Side, hub: &Hub) {
        let report = {
            let mut state = self.state.lock();
            state.set(side, true, None);
            let both = state.outbound && state.inbound;
            both && state.reported.replace(true) != Some(true)
        };
        if report {
            hub.counters.meters.set_connected(true);
            hub.emit(Event::Connected);
        }
    }

    pub(super) fn down(&self, side: Side, reason: &str, hub: &Hub) {
        let reason: Arc<str> = reason.into();
        let report = {
            let mut state = self.state.lock();
            state.set(side, false, Some(Arc::clone(&reason)));
            state.reported.replace(false) != Some(false)
        };
        if report {
            hub.counters.meters.set_connected(false);
            hub.emit(Event::Disconnected { reason });
        }
    }

    pub(super) fn are_up(&self) -> bool {
        let state = self.state.lock();
        state.outbound && state.inbound
    }

    /// Why the side that publishes, and the one that receives, were last down, for each that is down.
    pub(super) fn faults(&self) -> [Option<Arc<str>>; 2] {
        let state = self.state.lock();
        [state.outbound_fault.clone(), state.inbound_fault.clone()]
    }

    pub(super) fn is_inbound_up(&self) -> bool {
        self.state.lock().inbound
    }
}

impl State {
    fn set(&mut self, side: Side, up: bool, fault: Option<Arc<str>>) {
        match side {
            Side::Outbound => (self.outbound, self.outbound_fault) = (up, fault),
            Side::Inbound => (self.inbound, self.inbound_fault) = (up, fault),
        }
    }
}
