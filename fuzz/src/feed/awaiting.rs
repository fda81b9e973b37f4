//! Sends that wait without blocking, one at a time.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::world::{Sending, Subscriber, with};
use crate::trace::expect;
use crate::value::Value;

/// Makes a send that waits without blocking. Nothing is sent yet.
pub(crate) fn begin_async() {
    with(|world| {
        let (None, Some(feed)) = (&world.sending, world.feeds.last().cloned()) else {
            return;
        };
        let number = world.number();
        let future = feed.send_async(Value::new(number));
        world.sending = Some(Sending {
            future,
            number,
            is_begun: false,
            waits: Vec::new(),
            delivered: 0,
        });
    });
}

/// Polls it.
pub(crate) fn poll() {
    let begun = with(|world| {
        // What waits at channels without capacity is taken to a thread of its own, which is no part
        // of the model.
        let meets = |one: &Subscriber| one.sketch.capacity == 0 && one.sketch.would_block(1);
        let meets = world.subscribers.iter().any(meets);
        let mut sending = world.sending.take()?;
        if !sending.is_begun && meets {
            world.sending = Some(sending);
            return None;
        }
        let is_first = !std::mem::replace(&mut sending.is_begun, true);
        if is_first {
            world.begin(vec![sending.number], false);
        }
        Some((sending, is_first))
    });
    let Some((mut sending, is_first)) = begun else {
        return;
    };
    let mut poll = || Pin::new(&mut sending.future).poll(&mut Context::from_waker(Waker::noop()));
    let mut polled = poll();
    if is_first && polled.is_pending() {
        // It may have given way to other tasks.
        polled = poll();
    }
    with(|world| {
        if is_first {
            let frame = world.end();
            sending.waits = frame.waits;
            sending.delivered = frame.delivered;
            world.count_blocked(&sending.waits);
        }
        world.offer_again(&mut sending.waits, sending.number, &mut sending.delivered);
        if sending.waits.is_empty() {
            expect("poll of a send", &polled, &Poll::Ready(sending.delivered));
        } else {
            expect("poll of a send", &polled, &Poll::Pending);
            expect(
                "delivered so far",
                &sending.future.delivered(),
                &sending.delivered,
            );
            world.sending = Some(sending);
        }
    });
}

/// Drops it.
pub(crate) fn drop_async() {
    with(|world| {
        if let Some(sending) = world.sending.take() {
            drop(sending.future);
            world.count_given_up(&sending.waits);
        }
    });
}
