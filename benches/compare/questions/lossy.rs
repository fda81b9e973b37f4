//! Readers that never block a sender, and lose values when they are too slow.

use super::{Chart, Question};
use crate::field::Probe;
use crate::peers::{async_broadcast, feed, ring, tokio};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// How much arrives where the sender does not wait.
pub(crate) const QUESTION: Question = Question {
    key: "lossy",
    title: "lossy readers on two cores",
    note: "u64, capacity 1,024. Only what was received counts. Each reader is told how many values it missed; that these and \
           the received are all that were sent, each in its place, is checked.",
    columns: STREAM_COLUMNS,
    chart: Chart::OverReaders,
    shown: &[],
    ask,
};

const RING: &str = "RingFeed DropOldest, Spin";
const RING_PARK: &str = "RingFeed DropOldest, Park";
const TOKIO: &str = "tokio broadcast";

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    for &n in plan.readers {
        next(Case {
            label: format!("n = {n}"),
            readers: Some(n),
            contenders: vec![
                enter(RING, "never, polled").take(ring::lossy::<u64>(n)),
                enter(RING_PARK, "never, Park").take(ring::lossy_parking::<u64>(n)),
                enter(TOKIO, "never, polled").take(tokio::broadcast::<u64>(n)),
                enter("async-broadcast, overflow mode", "never, polled")
                    .take(async_broadcast::lossy::<u64>(n)),
                enter("Feed, own channels, DropOldest", "never, polled")
                    .take(feed::lossy::<u64>(n)),
            ],
            pairs: vec![(RING, TOKIO), (RING_PARK, TOKIO)],
            ..Case::default()
        });
    }
}
