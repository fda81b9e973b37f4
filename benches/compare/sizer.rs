//! How many values a run is made of: as many as keep its contender busy for its turn.

use crate::link::CAPACITY;
use crate::plan::Plan;
use crate::stream::Outcome;

/// The least there is to a run: a ring or channel fills up and wraps around, or it would be its setting up that is
/// measured.
const LEAST: u64 = 2 * CAPACITY as u64;
/// The greatest step towards the right size.
const STEP: f64 = 8.0;

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
        let mut count = LEAST;
        loop {
            let outcome = run(count);
            let wanted = self.plan.turn.as_secs_f64() / outcome.took.as_secs_f64();
            let next = (count as f64 * wanted.min(STEP)) as u64;
            // Within reach of the right size, this run says well enough what that is.
            if wanted < STEP {
                self.count = Some(next.max(LEAST));
                return outcome;
            }
            count = next;
        }
    }
}
