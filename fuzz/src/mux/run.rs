//! Running a program.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fanfeed::{RecvError, RecvTimeoutError, TryRecvError, mux};
use futures_core::Stream;

use super::program::{Operation, Program, Receive};
use super::world::{FarEnd, Subscriber, World};
use crate::trace::{self, ensure, expect, fail};
use crate::value;

/// Runs a program, and panics where the library is not what the model says.
pub fn run(program: Program) {
    let operations: Rc<[Operation]> = program.operations.into();
    trace::begin(&operations);
    let mut world = World::new();
    for (index, operation) in operations.iter().enumerate() {
        trace::at(index);
        step(&mut world, *operation);
        world.check();
    }
    trace::at(operations.len());
    world.receive_all();
    drop(world);
    expect("live events at the end", &value::live(), &0);
}

fn step(world: &mut World, operation: Operation) {
    match operation {
        Operation::Subscribe {
            types,
            channel,
            named,
        } => world.subscribe(types, channel, named),
        Operation::Post(event_type) => world.post(event_type),
        Operation::Receive { who, form, count } => {
            if let Some(one) = world.choose(who) {
                receive(one, form, count % 8);
            }
        }
        Operation::Unsubscribe(who) => {
            if let Some(one) = world.choose(who)
                && let Some(subscription) = one.subscription()
            {
                subscription.unsubscribe();
                one.live = false;
            }
        }
        Operation::DropHandle(who) => {
            if let Some(one) = world.choose(who)
                && one.handle.take().is_some()
            {
                one.live = false;
            }
        }
        Operation::Detach(who) => {
            if let Some(one) = world.choose(who)
                && let Some(handle) = one.handle.take()
            {
                handle.detach();
            }
        }
        Operation::DropFarEnd(who) => {
            if let Some(one) = world.choose(who) {
                if let FarEnd::Own(_) = one.far_end {
                    one.live = false;
                }
                if !matches!(one.far_end, FarEnd::Gone) {
                    one.far_end = FarEnd::Gone;
                    one.left = std::mem::take(&mut one.queue);
                }
            }
        }
        Operation::Split(who) => {
            if let Some(one) = world.choose(who) {
                split(one);
            }
        }
        Operation::Stop => {
            if let Some(mux) = &world.mux {
                mux.stop();
                world.stopped();
            }
        }
        Operation::DropMux => {
            if world.mux.take().is_some() {
                world.stopped();
            }
        }
    }
}

impl World {
    /// Receives everything that is left.
    fn receive_all(&mut self) {
        for one in &mut self.subscribers {
            for _ in 0..=one.queue.len() {
                receive(one, Receive::Try, 0);
            }
        }
    }
}

fn split(one: &mut Subscriber) {
    match std::mem::replace(&mut one.far_end, FarEnd::Gone) {
        FarEnd::Own(own) if one.handle.is_none() => {
            let (own, handle) = own.split();
            one.far_end = FarEnd::Own(own);
            one.handle = Some(handle);
        }
        far_end => one.far_end = far_end,
    }
}

/// Has one subscriber receive.
pub(crate) fn receive(one: &mut Subscriber, form: Receive, count: u8) {
    match std::mem::replace(&mut one.far_end, FarEnd::Gone) {
        FarEnd::Own(mut own) => {
            receive_own(one, &mut own, form, count);
            one.far_end = FarEnd::Own(own);
        }
        FarEnd::Crossbeam(receiver) => {
            match receiver.try_recv() {
                Ok(event) => one.received(&event),
                Err(error) => {
                    one.nothing(error == crossbeam_channel::TryRecvError::Disconnected);
                }
            }
            one.far_end = FarEnd::Crossbeam(receiver);
        }
        FarEnd::Gone => {}
    }
}

fn receive_own(one: &mut Subscriber, own: &mut mux::Subscription, form: Receive, count: u8) {
    match form {
        Receive::Wait if !one.live || !one.queue.is_empty() => match own.recv() {
            Ok(event) => one.received(&event),
            Err(error) => {
                expect("error", &error, &RecvError::Closed);
                one.nothing(true);
            }
        },
        Receive::Try | Receive::Wait => match own.try_recv() {
            Ok(event) => one.received(&event),
            Err(TryRecvError::Empty) => one.nothing(false),
            Err(TryRecvError::Closed) => one.nothing(true),
            Err(error) => fail(&format!("{error:?} of a mux")),
        },
        Receive::Timeout | Receive::Deadline => {
            let received = match form {
                Receive::Timeout => own.recv_timeout(Duration::ZERO),
                _ => own.recv_deadline(Instant::now()),
            };
            match received {
                Ok(event) => one.received(&event),
                Err(RecvTimeoutError::Timeout) => one.nothing(false),
                Err(RecvTimeoutError::Closed) => one.nothing(true),
                Err(error) => fail(&format!("{error:?} of a mux")),
            }
        }
        Receive::TryIter => {
            let mut taken = 0;
            for event in own.try_iter().take(usize::from(count)) {
                one.received(&event);
                taken += 1;
            }
            ensure(taken == count || one.queue.is_empty(), || {
                format!("an iterator has left {:?}", one.queue)
            });
        }
        Receive::Stream => {
            let mut context = Context::from_waker(Waker::noop());
            let mut polled = Pin::new(&mut *own).poll_next(&mut context);
            if polled.is_pending() {
                // It may have given way to other tasks.
                polled = Pin::new(own).poll_next(&mut context);
            }
            match polled {
                Poll::Ready(Some(event)) => one.received(&event),
                Poll::Ready(None) => one.nothing(true),
                Poll::Pending => one.nothing(false),
            }
        }
    }
}
