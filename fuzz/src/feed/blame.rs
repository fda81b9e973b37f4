//! The possible effects of a clone's panic.
//!
//! The documentation does not say which subscriber the clone was for. It does say that the clone
//! was for one subscriber and of one value, that this subscriber has missed the value, and that
//! everything else was delivered. So the state of each subscriber is either what the model predicts
//! for a send without a panic, or what it predicts for a send without one of the values.

use fanfeed::TryRecvError;

use super::far_end::FarEnd;
use super::frame::Frame;
use super::sketch::{Offer, Sketch};
use super::world::{Subscriber, World};
use crate::trace::{ensure, expect, fail};

/// What is seen of a subscriber after a send: its figures, whether it has ended, and what is
/// received, if it can be.
#[derive(Debug, PartialEq)]
struct Aftermath {
    delivered: u64,
    dropped: u64,
    is_ended: bool,
    received: Option<Vec<Result<u64, TryRecvError>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Served,
    Victim,
    /// It makes no difference.
    Either,
}

impl World {
    /// A clone panicked in a send or in a batch. `waiting`: those without room were waited for.
    pub(crate) fn after_panic(&mut self, frame: &Frame, waiting: bool) {
        let before = frame
            .before
            .as_ref()
            .expect("a clone panics only where that was expected");
        let mut verdicts = Vec::new();
        for (index, was) in before.iter().enumerate() {
            if was.live && !was.is_closure {
                let blocked = was.blocked;
                let waits = waiting && frame.waits.iter().any(|(one, _)| *one == index);
                verdicts.push(self.judge(index, was, None, &frame.values));
                // It was waited for, unless its own clone had panicked before.
                self.see_blocked(index, blocked..=blocked + u64::from(waits));
            }
        }
        check(&verdicts);
    }

    /// A clone panicked when a value was offered again.
    pub(crate) fn after_panic_in_retry(
        &mut self,
        waits: &[(usize, u64)],
        number: u64,
        waiting: bool,
    ) {
        let mut verdicts = Vec::new();
        for &(index, place) in waits {
            let was = self.subscribers[index].sketch.clone();
            if was.live {
                let blocked = was.blocked + u64::from(waiting);
                verdicts.push(self.judge(index, &was, Some(place), &[number]));
                self.see_blocked(index, blocked..=blocked);
            }
        }
        check(&verdicts);
    }

    /// Finds out what has become of a subscriber that was so before these values were sent. `place`
    /// is where the value would have been, if it was refused before.
    fn judge(&mut self, index: usize, was: &Sketch, place: Option<u64>, values: &[u64]) -> Verdict {
        let is_awaited = self
            .sending
            .as_ref()
            .is_some_and(|sending| sending.waits.iter().any(|(one, _)| *one == index));
        let one = &mut self.subscribers[index];
        // The room that this makes a tokio channel would promise to the send that waits for it.
        let can_receive = !(is_awaited && matches!(one.far_end, FarEnd::Tokio(_)));
        let seen = see(one, can_receive);
        let mut served = replay(was, place, values, None);
        let is_served = foresee(&mut served, seen.received.is_some()) == seen;
        let mut victims = (0..values.len()).map(|without| {
            let mut victim = replay(was, place, values, Some(without));
            let is_victim = foresee(&mut victim, seen.received.is_some()) == seen;
            is_victim.then_some(victim)
        });
        let (verdict, sketch) = match (is_served, victims.find_map(|victim| victim)) {
            (true, None) => (Verdict::Served, served),
            (true, Some(_)) => (Verdict::Either, served),
            (false, Some(victim)) => (Verdict::Victim, victim),
            (false, None) => fail(&format!(
                "a clone panicked, and of subscriber {index} there is {seen:?}, which had been {was:?} before {values:?}"
            )),
        };
        one.sketch = sketch;
        verdict
    }

    fn see_blocked(&mut self, index: usize, expected: std::ops::RangeInclusive<u64>) {
        let one = &mut self.subscribers[index];
        let blocked = stats(one).blocked;
        ensure(expected.contains(&blocked), || {
            format!("blocked: expected {expected:?}, saw {blocked}")
        });
        one.sketch.blocked = blocked;
    }
}

/// One clone panicked, so one subscriber has missed one value.
fn check(verdicts: &[Verdict]) {
    let count = |verdict| verdicts.iter().filter(|one| **one == verdict).count();
    let victims = count(Verdict::Victim);
    let may_be = victims == 1 || victims == 0 && count(Verdict::Either) > 0;
    expect("one subscriber has missed a clone", &may_be, &true);
}

fn stats(one: &Subscriber) -> fanfeed::Stats {
    one.stats()
        .expect("clones panic only where all figures can be seen")
}

fn see(one: &mut Subscriber, can_receive: bool) -> Aftermath {
    let stats = stats(one);
    let is_ended = one
        .subscription()
        .is_some_and(fanfeed::Subscription::is_closed);
    let received = if can_receive {
        receive(|| {
            let received = one.far_end.try_recv()?;
            Some(received.map(|value| value.number()))
        })
    } else {
        None
    };
    Aftermath {
        delivered: stats.delivered,
        dropped: stats.dropped,
        is_ended,
        received,
    }
}

/// As `see`, of the model.
fn foresee(sketch: &mut Sketch, can_receive: bool) -> Aftermath {
    let (delivered, dropped) = (sketch.delivered, sketch.dropped);
    let received = if can_receive {
        receive(|| Some(sketch.receive()))
    } else {
        None
    };
    Aftermath {
        delivered,
        dropped,
        is_ended: !sketch.live,
        received,
    }
}

/// Everything that is there. `None` where nothing can be received.
fn receive(
    mut next: impl FnMut() -> Option<Result<u64, TryRecvError>>,
) -> Option<Vec<Result<u64, TryRecvError>>> {
    let mut all = Vec::new();
    loop {
        let received = next()?;
        let goes_on = matches!(received, Ok(_) | Err(TryRecvError::Lagged(_)));
        all.push(received);
        if !goes_on {
            return Some(all);
        }
    }
}

/// What becomes of a subscriber that is sent these values, and misses this one of them.
fn replay(was: &Sketch, place: Option<u64>, values: &[u64], without: Option<usize>) -> Sketch {
    let mut sketch = was.clone();
    for (index, number) in values.iter().enumerate() {
        if !sketch.live {
            break;
        }
        if without == Some(index) {
            sketch.miss(place.unwrap_or(sketch.place()));
        } else if sketch.offer(*number) == Offer::Waits && sketch.live {
            // What was given back is given up with the panic.
            sketch.miss(place.unwrap_or(sketch.place()));
        }
    }
    sketch
}
