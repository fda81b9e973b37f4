//! One sending thread, one reader thread that blocks, two cores: the case of most programs.

use super::{Chart, Question};
use crate::field::{self, Probe};
use crate::peers::{feed, ring};
use crate::plan::Plan;
use crate::rounds::Case;
use crate::throughput::{STREAM_COLUMNS, Stream};

/// The common case.
pub(crate) const QUESTION: Question = Question {
    key: "blocking",
    title: "one sender, one reader thread that blocks",
    note: "u64, capacity 1,024, two cores. `send` blocks while there is no room, `recv` while there is no value; the rows \
           that drain wait for one value and take all that is there.",
    columns: STREAM_COLUMNS,
    chart: Chart::Bars,
    shown: &[],
    ask,
};

fn ask(plan: Plan, next: &mut dyn FnMut(Case)) {
    let enter = |name, waits| Stream::new(plan, name, waits);
    let parks = "parks, parks";
    let mut contenders = field::parked(enter);
    contenders.extend([
        enter("Feed, own channel, recv and drain", parks).take(feed::own_channel_draining::<u64>()),
        enter("RingFeed exclusive, recv", parks).take(ring::exclusive_parked::<u64>()),
        enter("RingFeed shared, recv", parks).take(ring::shared_parked::<u64>()),
        enter("RingFeed exclusive, wait and drain", parks).take(ring::exclusive_waiting::<u64>(
            1,
            fanfeed::ring::WaitStrategy::Park,
        )),
        enter("RingFeed shared, wait and drain", parks).take(ring::shared_waiting::<u64>(
            1,
            fanfeed::ring::WaitStrategy::Park,
        )),
    ]);
    contenders.extend(field::parked_peers(enter));
    contenders.extend(field::other_parked_peers(enter));
    next(Case {
        label: "n = 1".into(),
        contenders,
        ..Case::default()
    });
}
