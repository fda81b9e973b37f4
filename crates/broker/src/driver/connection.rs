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

/// The state of the two sides, and what was last reported about them, so that each change gives
/// only one event.
///
/// INVARIANT: the last report is about the last change. One thread at a time reports, without a
/// lock, because a recorder of metrics is user code. If a change comes during a report, the same
/// thread reports it afterwards.
#[derive(Debug, Default)]
pub(super) struct Connections {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outbound: bool,
    inbound: bool,
    reported: Option<bool>,
    /// The last change, until a thread reports it: the connection is up, or the reason why it is
    /// down.
    change: Option<Result<(), Arc<str>>>,
    /// Whether a thread is reporting.
    is_reporting: bool,
    /// Why each side was last down, until it is up.
    outbound_fault: Option<Arc<str>>,
    inbound_fault: Option<Arc<str>>,
}

impl Connections {
    pub(super) fn up(&self, side: Side, hub: &Hub) {
        {
            let mut state = self.state.lock();
            state.set(side, true, None);
            if state.outbound && state.inbound {
                state.change = Some(Ok(()));
            }
        }
        self.report(hub);
    }

    pub(super) fn down(&self, side: Side, reason: &str, hub: &Hub) {
        let reason: Arc<str> = reason.into();
        {
            let mut state = self.state.lock();
            state.set(side, false, Some(Arc::clone(&reason)));
            state.change = Some(Err(reason));
        }
        self.report(hub);
    }

    /// Reports the last change, unless another thread is reporting.
    fn report(&self, hub: &Hub) {
        while let Some(change) = self.begin_report() {
            hub.counters.meters.set_connected(change.is_ok());
            hub.emit(match change {
                Ok(()) => Event::Connected,
                Err(reason) => Event::Disconnected { reason },
            });
            self.state.lock().is_reporting = false;
        }
    }

    /// Returns the change that this thread has to report.
    fn begin_report(&self) -> Option<Result<(), Arc<str>>> {
        let mut state = self.state.lock();
        if state.is_reporting {
            return None;
        }
        let change = state.change.take()?;
        if state.reported.replace(change.is_ok()) == Some(change.is_ok()) {
            return None;
        }
        state.is_reporting = true;
        Some(change)
    }

    pub(super) fn are_up(&self) -> bool {
        let state = self.state.lock();
        state.outbound && state.inbound
    }

    /// Returns why the publishing side and the receiving side went down, for each side that is
    /// down.
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
