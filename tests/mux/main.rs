//! The promises of `TypeMux`.

#![allow(deprecated)]

#[path = "../common/mod.rs"]
mod common;

mod brought;
mod posting;
mod stopping;
mod together;
mod unsubscribing;

use std::any::Any;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanfeed::{Carrier, Subscription, TrySendError, TypeMux, mux};

use crate::common::eventually;

#[derive(Debug, PartialEq, Clone, Copy)]
struct Number(usize);

#[derive(Debug, PartialEq, Clone, Copy)]
struct Letter(char);

fn numbers(events: impl IntoIterator<Item = mux::Event>) -> Vec<usize> {
    let number = |event: mux::Event| event.downcast_ref::<Number>().expect("a number").0;
    events.into_iter().map(number).collect()
}

/// Starts a post on a thread of its own, and returns once it waits for the subscription.
#[track_caller]
fn blocked_post<E: Any + Send + Sync>(
    mux: &Arc<TypeMux>,
    on: &Subscription,
    event: E,
) -> JoinHandle<Result<usize, mux::Closed<E>>> {
    let before = on.stats().blocked;
    let mux = Arc::clone(mux);
    let poster = thread::spawn(move || mux.post(event));
    eventually(|| on.stats().blocked > before);
    poster
}

/// A subscription to numbers that is full.
fn full(mux: &TypeMux) -> mux::Subscription {
    let subscription = mux.subscriber::<(Number,)>().capacity(1).channel().unwrap();
    mux.post(Number(0)).unwrap();
    subscription
}

/// A carrier that does something with each event, on the thread that posts it.
#[derive(Clone)]
struct Does<F>(F);

impl<F: Fn(&mux::Event) + Clone + Send + Sync + 'static> Carrier<mux::Event> for Does<F> {
    fn try_send(&self, event: mux::Event) -> Result<(), TrySendError<mux::Event>> {
        self.0(&event);
        Ok(())
    }
}

fn assert_ended_well(subscription: &Subscription) {
    assert!(subscription.is_closed());
    assert_eq!(
        subscription.err().try_recv().unwrap_err(),
        crossbeam_channel::TryRecvError::Disconnected
    );
}
