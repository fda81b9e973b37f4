//! Values that were not delivered to all subscribers: they are offered again, or given up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::frame::Waits;
use super::program::RetryForm;
use super::sketch::Offer;
use super::world::{Held, World, with};
use crate::trace::expect;
use crate::value;

/// Offers again what was not delivered to all.
pub(crate) fn retry(which: u8, form: RetryForm) {
    let begun = with(|world| {
        let index = usize::from(which).checked_rem(world.held.len())?;
        let held = world.held.swap_remove(index);
        Some((held, world.take_armed()))
    });
    let Some((held, armed)) = begun else { return };
    let Held {
        undelivered,
        number,
        mut waits,
        mut delivered,
    } = held;
    let waiting = !matches!(form, RetryForm::Now);
    value::arm(armed);
    let outcome = catch_unwind(AssertUnwindSafe(|| match form {
        RetryForm::Now => undelivered.retry(),
        RetryForm::Timeout => undelivered.retry_timeout(Duration::ZERO),
        RetryForm::Deadline => undelivered.retry_deadline(Instant::now()),
    }));
    let panicked = value::disarm(armed);
    with(|world| {
        world.is_quiet = false;
        expect("panic of a retry", &outcome.is_err(), &panicked);
        let Ok(outcome) = outcome else {
            return world.after_panic_in_retry(&waits, number, waiting);
        };
        if waiting {
            world.count_blocked(&waits);
        }
        world.offer_again(&mut waits, number, &mut delivered);
        world.settle(outcome, waiting, number, waits, delivered);
    });
}

/// Gives up what was not delivered to all.
pub(crate) fn give_up(which: u8, take: bool) {
    with(|world| {
        let Some(index) = usize::from(which).checked_rem(world.held.len()) else {
            return;
        };
        let held = world.held.swap_remove(index);
        if take {
            expect(
                "value",
                &held.undelivered.into_inner().number(),
                &held.number,
            );
        } else {
            drop(held.undelivered);
        }
        world.count_given_up(&held.waits);
    });
}

impl World {
    pub(crate) fn count_blocked(&mut self, waits: &[(usize, u64)]) {
        for (index, _) in waits {
            self.subscribers[*index].sketch.blocked += 1;
        }
    }

    pub(crate) fn count_given_up(&mut self, waits: &[(usize, u64)]) {
        for (index, place) in waits {
            let sketch = &mut self.subscribers[*index].sketch;
            if sketch.live {
                sketch.miss(*place);
            }
        }
    }

    pub(crate) fn offer_again(&mut self, waits: &mut Waits, number: u64, delivered: &mut usize) {
        waits.retain(|(index, _)| {
            let sketch = &mut self.subscribers[*index].sketch;
            let offer = if sketch.live {
                sketch.offer(number)
            } else {
                Offer::Ended
            };
            *delivered += usize::from(offer == Offer::Delivered);
            offer == Offer::Waits
        });
    }
}
