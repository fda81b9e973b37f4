//! The contenders and their names.
//!
//! The second word of each name says how it waits. When there is no room, the sender *spins* (tries
//! again), *parks* (its own blocking send, which may spin first), or *never* waits and lets values
//! be lost. When there is no value, the readers are *polled*, *gather* (polled, but in a running
//! stream only every 0.4 µs), or park. A ring's readers have the names of their ways of waiting;
//! `Park` is the default.

use crate::link::{Gathering, Reads, Sends};
use crate::peers::crossbeam::Crossbeam;
use crate::peers::crossfire::{Mpsc, Spsc};
use crate::peers::flume::Flume;
use crate::peers::kanal::Kanal;
use crate::peers::rtrb::Rtrb;
use crate::peers::std::Std;
use crate::peers::tokio_mpsc::TokioMpsc;
use crate::peers::{async_broadcast, asyncband, bus, channels, disruptor, feed, ring, tokio};
use crate::rounds::Contender;

/// What is to be done with a contender's ends, whatever their types.
pub(crate) trait Probe<T>: Sized {
    /// What comes of it.
    type Taken;

    /// Does it.
    fn take<S: Sends<T>, R: Reads<T>>(self, ends: (S, R)) -> Self::Taken;

    /// Does it with readers that gather.
    fn take_gathering(self) -> GatheringProbe<Self> {
        GatheringProbe(self)
    }
}

/// Does what another probe does, with readers that gather.
pub(crate) struct GatheringProbe<P>(P);

impl<T, P: Probe<T>> Probe<T> for GatheringProbe<P> {
    type Taken = P::Taken;

    fn take<S: Sends<T>, R: Reads<T>>(self, (sender, readers): (S, R)) -> P::Taken {
        self.0.take((sender, Gathering::new(readers)))
    }
}

/// Names that the charts and the pairs know them by.
pub(crate) const EXCLUSIVE: &str = "RingFeed exclusive, Spin";
pub(crate) const EXCLUSIVE_SPINNING: &str = "RingFeed exclusive, Spin, try_send";
pub(crate) const EXCLUSIVE_BATCH: &str = "RingFeed exclusive, Batch";
pub(crate) const EXCLUSIVE_PARK: &str = "RingFeed exclusive, Park";
pub(crate) const SHARED: &str = "RingFeed shared, Spin";
pub(crate) const SHARED_BATCH: &str = "RingFeed shared, Batch";
pub(crate) const SHARED_PARK: &str = "RingFeed shared, Park";
pub(crate) const SINGLE: &str = "disruptor, one producer";
pub(crate) const SINGLE_GATHERING: &str = "disruptor, one producer, gathering";
pub(crate) const MULTI: &str = "disruptor, several producers";
pub(crate) const MULTI_GATHERING: &str = "disruptor, several producers, gathering";
pub(crate) const CROSSBEAM: &str = "loop over crossbeam";
pub(crate) const CROSSBEAM_PARKED: &str = "crossbeam, recv";
pub(crate) const STD_PARKED: &str = "std, recv";
pub(crate) const STD: &str = "loop over std";
pub(crate) const KANAL: &str = "loop over kanal";
pub(crate) const FLUME: &str = "loop over flume";
pub(crate) const CROSSFIRE: &str = "loop over crossfire (spsc)";
pub(crate) const CROSSFIRE_MPSC: &str = "loop over crossfire (mpsc)";
pub(crate) const RTRB: &str = "loop over rtrb";
pub(crate) const BUS: &str = "bus";
pub(crate) const BROADCAST: &str = "tokio broadcast (loses)";
pub(crate) const ASYNC_BROADCAST: &str = "async-broadcast";
pub(crate) const OWN: &str = "Feed, own channels";
pub(crate) const OWN_PARKED: &str = "Feed, own channel, recv";
pub(crate) const OVER_CROSSBEAM: &str = "Feed, over crossbeam";

/// All of them, with one sending thread and n readers.
pub(crate) fn all<P>(n: usize, enter: impl Fn(&'static str, &'static str) -> P) -> Vec<Contender>
where
    P: Probe<u64, Taken = Contender>,
{
    let mut field = vec![
        enter(EXCLUSIVE, "parks, polled").take(ring::exclusive(n)),
        enter(EXCLUSIVE_SPINNING, "spins, polled").take(ring::exclusive_spinning(n)),
        enter(EXCLUSIVE_BATCH, "parks, Batch").take(ring::exclusive_waiting(
            n,
            fanfeed::ring::WaitStrategy::Batch,
        )),
        enter(EXCLUSIVE_PARK, "parks, Park").take(ring::exclusive_waiting(
            n,
            fanfeed::ring::WaitStrategy::Park,
        )),
        disruptor::single(n, enter(SINGLE, "spins, polled")),
        disruptor::single(
            n,
            enter(SINGLE_GATHERING, "spins, gathers").take_gathering(),
        ),
        enter(RTRB, "spins, polled").take(channels::spinning::<Rtrb, _>(n)),
        enter(CROSSFIRE, "spins, polled").take(channels::spinning::<Spsc, _>(n)),
        enter(BUS, "parks, polled").take(bus::polled(n)),
    ];
    field.extend(for_several_senders(n, &enter));
    field.extend(for_any_senders(n, enter));
    field
}

/// Those that have another form for one sending thread.
fn for_several_senders<P>(
    n: usize,
    enter: impl Fn(&'static str, &'static str) -> P,
) -> Vec<Contender>
where
    P: Probe<u64, Taken = Contender>,
{
    vec![
        enter(SHARED, "parks, polled").take(ring::shared(n)),
        enter(SHARED_BATCH, "parks, Batch")
            .take(ring::shared_waiting(n, fanfeed::ring::WaitStrategy::Batch)),
        enter(SHARED_PARK, "parks, Park")
            .take(ring::shared_waiting(n, fanfeed::ring::WaitStrategy::Park)),
        disruptor::multi(n, enter(MULTI, "spins, polled")),
        disruptor::multi(n, enter(MULTI_GATHERING, "spins, gathers").take_gathering()),
        enter(CROSSFIRE_MPSC, "spins, polled").take(channels::spinning::<Mpsc, _>(n)),
    ]
}

/// Those with one form for one sending thread and for several.
fn for_any_senders<P>(n: usize, enter: impl Fn(&'static str, &'static str) -> P) -> Vec<Contender>
where
    P: Probe<u64, Taken = Contender>,
{
    vec![
        enter(OWN, "parks, polled").take(feed::own_channels(n)),
        enter(OVER_CROSSBEAM, "parks, polled").take(feed::over_crossbeam(n)),
        enter(CROSSBEAM, "spins, polled").take(channels::spinning::<Crossbeam, _>(n)),
        enter("loop over crossbeam, send", "parks, polled")
            .take(channels::parking_sender::<Crossbeam, _>(n)),
        enter(STD, "spins, polled").take(channels::spinning::<Std, _>(n)),
        enter(KANAL, "spins, polled").take(channels::spinning::<Kanal, _>(n)),
        enter(FLUME, "spins, polled").take(channels::spinning::<Flume, _>(n)),
        enter(BROADCAST, "never, polled").take(tokio::broadcast(n)),
        enter(ASYNC_BROADCAST, "spins, polled").take(async_broadcast::lossless(n)),
        enter("asyncband", "spins, polled").take(asyncband::broadcast(n)),
    ]
}

/// Our channels with one sending thread and one reader that blocks in `recv`.
pub(crate) fn parked<P>(enter: impl Fn(&'static str, &'static str) -> P) -> Vec<Contender>
where
    P: Probe<u64, Taken = Contender>,
{
    let parks = "parks, parks";
    vec![
        enter(OWN_PARKED, parks).take(feed::own_channel_parked()),
        enter("Feed, over crossbeam, recv", parks).take(feed::over_crossbeam_parked()),
    ]
}

/// Channels of others with one sending thread and one reader that blocks in `recv`.
pub(crate) fn parked_peers<P>(enter: impl Fn(&'static str, &'static str) -> P) -> Vec<Contender>
where
    P: Probe<u64, Taken = Contender>,
{
    let parks = "parks, parks";
    vec![
        enter(STD_PARKED, parks).take(channels::parking::<Std, _>()),
        enter(CROSSBEAM_PARKED, parks).take(channels::parking::<Crossbeam, _>()),
        enter("kanal, recv", parks).take(channels::parking::<Kanal, _>()),
        enter("crossfire (mpsc), recv", parks).take(channels::parking::<Mpsc, _>()),
        enter("flume, recv", parks).take(channels::parking::<Flume, _>()),
    ]
}

/// More of them, which are not plain channels for several sending threads.
pub(crate) fn other_parked_peers<P>(
    enter: impl Fn(&'static str, &'static str) -> P,
) -> Vec<Contender>
where
    P: Probe<u64, Taken = Contender>,
{
    let parks = "parks, parks";
    vec![
        enter("crossfire (spsc), recv", parks).take(channels::parking::<Spsc, _>()),
        enter("tokio mpsc, blocking_recv", parks).take(channels::parking::<TokioMpsc, _>()),
        enter("bus, recv", parks).take(bus::parked()),
    ]
}
