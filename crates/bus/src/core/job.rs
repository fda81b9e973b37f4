//! A call of an asynchronous listener, on its way to a thread.

use std::sync::Arc;

use crate::core::Progress;
use crate::core::call::{Sink, call, failed};
use crate::core::slot::BETWEEN;
use crate::core::source::Entry;
use crate::core::waits::Running;
use crate::error::BusError;
use crate::event::AnyEvent;
use crate::observe::Trace;
use crate::quietly::quietly;

pub(crate) struct Job {
    pub(crate) entry: Arc<Entry>,
    pub(crate) event: Arc<dyn AnyEvent>,
    pub(crate) progress: Arc<Progress>,
    /// Of the thread that dispatched.
    pub(crate) trace: Trace,
}

impl Job {
    pub(crate) fn run(self) {
        let Self {
            entry,
            event,
            progress,
            trace,
        } = self;
        let shared = &progress.shared;
        // Until `finish_one`: the destructors of the event and of the listener are part of the
        // dispatch too.
        let running = Running::enter(&progress);
        let visit = shared.visits.enter_at(progress.epoch);
        visit.set(entry.source.word());
        trace.inside(|| call(shared, &entry, &*event, &mut Sink::Progress(&progress)));
        visit.set(BETWEEN);
        shared.bell.ring();
        quietly(|| drop(event));
        drop(entry);
        visit.end(|| shared.left());
        drop(running);
        progress.finish_one();
    }

    /// No thread will run it.
    pub(crate) fn abandon(self) {
        let Self {
            entry,
            event,
            progress,
            ..
        } = self;
        let shared = &progress.shared;
        let running = Running::enter(&progress);
        let visit = shared.visits.enter_at(progress.epoch);
        if !entry.source.is_claimed() && (!entry.source.is_ended() || shared.is_closed()) {
            progress.fail(failed(shared, &entry, &*event, BusError::Cancelled));
        }
        quietly(|| drop(event));
        drop(entry);
        visit.end(|| shared.left());
        drop(running);
        progress.finish_one();
    }
}
