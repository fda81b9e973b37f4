//! A send in the model, from its beginning to its end.

use super::sketch::{Offer, Sketch};
use super::world::World;
use crate::trace::{ensure, expect};
use crate::value;

/// Subscribers without room, and where in the stream of each the value would have been.
pub(crate) type Waits = Vec<(usize, u64)>;

/// A send that is under way, which closures are called from.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) values: Vec<u64>,
    pub(crate) calls: Vec<Call>,
    pub(crate) waits: Waits,
    pub(crate) delivered: usize,
    /// How many subscribers there had been when it began; the others came in the midst of it.
    pub(crate) known: usize,
    pub(crate) live: usize,
    pub(crate) has_nested: bool,
    /// Everybody as before, if a clone may panic.
    pub(crate) before: Option<Vec<Sketch>>,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) closure: usize,
    pub(crate) times: usize,
    pub(crate) is_due: bool,
}

impl World {
    /// Has the model send.
    pub(crate) fn begin(&mut self, values: Vec<u64>, may_panic: bool) {
        let before = may_panic.then(|| {
            self.subscribers
                .iter()
                .map(|one| one.sketch.clone())
                .collect()
        });
        let mut frame = Frame {
            values,
            calls: Vec::new(),
            waits: Vec::new(),
            delivered: 0,
            known: self.subscribers.len(),
            live: self.live(),
            has_nested: false,
            before,
        };
        for (index, one) in self.subscribers.iter_mut().enumerate() {
            if !one.sketch.live {
                continue;
            }
            if one.sketch.is_closure {
                frame.calls.push(Call {
                    closure: index,
                    times: 0,
                    is_due: true,
                });
                continue;
            }
            for number in &frame.values {
                if !one.sketch.live {
                    break;
                }
                match one.sketch.offer(*number) {
                    Offer::Delivered => frame.delivered += 1,
                    Offer::Missed => {}
                    Offer::Waits => frame.waits.push((index, one.sketch.place())),
                    Offer::Ended => break,
                }
            }
        }
        value::take_clones();
        self.frames.push(frame);
    }

    /// The library has called all closures that it would.
    pub(crate) fn end(&mut self) -> Frame {
        let clones = value::take_clones();
        let frame = self.frames.pop().expect("what was begun is ended once");
        for call in &frame.calls {
            if call.is_due && self.subscribers[call.closure].sketch.live {
                let what = format!("calls of closure {}", call.closure);
                expect(&what, &call.times, &frame.values.len());
            }
        }
        if !frame.has_nested && frame.values.len() == 1 {
            let most = frame.live.saturating_sub(1) as u64;
            ensure(clones <= most, || {
                format!("clones: expected at most {most}, saw {clones}")
            });
        }
        frame
    }
}
