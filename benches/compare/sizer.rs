//! The number of values of a run: enough to keep its contender busy for its turn.

use crate::plan::Plan;
use crate::stream::Outcome;

/// The greatest step towards the right size.
const STEP: f64 = 8.0;
/// A run is near enough to its turn if it would have to be longer by less than this.
const NEAR: f64 = 2.0;

/// Sizes the runs of one contender.
#[derive(Debug)]
pub(crate) struct Sizer {
    plan: Plan,
    count: Option<u64>,
}

impl Sizer {
    /// For a contender whose first run will size the others.
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, count: None }
    }

    /// Runs with as many values as are right; the first time several times, to find out.
    pub(crate) fn run(&mut self, mut run: impl FnMut(u64) -> Outcome) -> Outcome {
        if let Some(count) = self.count {
            return run(count);
        }
        let mut count = self.plan.least;
        loop {
            let outcome = run(count);
            // It is the sending that fills the turn: where values are lost, the draining of the
            // last of them takes as long after few sends as after many.
            let wanted = self.plan.turn.as_secs_f64() / outcome.sending.as_secs_f64();
            let next = (count as f64 * wanted.min(STEP)) as u64;
            if wanted < NEAR {
                self.count = Some(next.max(self.plan.least));
                return outcome;
            }
            count = next;
        }
    }
}
