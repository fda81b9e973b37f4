//! Whether the two sides of a connection are up.

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
}

impl Connections {
    pub(super) fn up(&self, side: Side, hub: &Hub) {
        let report = {
            let mut state = self.state.lock();
            state.set(side, true);
            let both = state.outbound && state.inbound;
            both && state.reported.replace(true) != Some(true)
        };
        if report {
            hub.counters.meters.set_connected(true);
            hub.emit(Event::Connected);
        }
    }

    pub(super) fn down(&self, side: Side, reason: &str, hub: &Hub) {
        let report = {
            let mut state = self.state.lock();
            state.set(side, false);
            state.reported.replace(false) != Some(false)
        };
        if report {
            hub.counters.meters.set_connected(false);
            hub.emit(Event::Disconnected {
                reason: reason.into(),
            });
        }
    }

    pub(super) fn are_up(&self) -> bool {
        let state = self.state.lock();
        state.outbound && state.inbound
    }

    pub(super) fn is_inbound_up(&self) -> bool {
        self.state.lock().inbound
    }
}

impl State {
    fn set(&mut self, side: Side, up: bool) {
        match side {
            Side::Outbound => self.outbound = up,
            Side::Inbound => self.inbound = up,
        }
    }
}
