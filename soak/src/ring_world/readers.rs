//! The readers of a ring: some from its beginning to its end, others for a while.

use std::time::{Duration, Instant};

use fanfeed::{SubscriptionId, ring};

use crate::account::{Account, Loss};
use crate::inbox::{Inbox, Rest};
use crate::member::{Member, Watch};
use crate::random::Random;
use crate::value::{Value, is_touchy};

use super::Generation;
use super::order::Follower;

struct RingWatch<'a> {
    generation: &'a Generation,
    follower: Follower<'a>,
}

impl Watch for RingWatch<'_> {
    fn excuses(&self, _: SubscriptionId, sender: usize, number: u64) -> bool {
        // Its clone panicked in the hands of the reader.
        self.generation.touchy && is_touchy(sender, number)
    }

    fn came(&mut self, came: Option<&Value>) {
        self.follower.follow(came);
    }
}

impl<'a> RingWatch<'a> {
    fn new(generation: &'a Generation) -> Self {
        Self {
            generation,
            follower: Follower::new(&generation.order),
        }
    }
}

/// Some of the readers that can be followed: none for every other reader.
fn leaders(generation: &Generation, random: &mut Random) -> Vec<ring::Cursor<Value>> {
    let mut all = generation.leaders.lock().expect("no panic under the lock");
    // Those that are gone can be named, too.
    if all.len() > 16 {
        all.retain(|cursor| cursor.position().is_some());
    }
    let count = random.pick(&[0, 0, 1, 2]).min(all.len());
    let pick = |_| all[random.below(all.len() as u64) as usize].clone();
    (0..count).map(pick).collect()
}

fn subscribe(generation: &Generation, random: &mut Random) -> Member {
    let overflow = random.pick(&[
        ring::Overflow::Block,
        ring::Overflow::Block,
        ring::Overflow::DropOldest,
        ring::Overflow::Disconnect,
    ]);
    let waiting = random.pick(&[
        ring::WaitStrategy::Park,
        ring::WaitStrategy::Park,
        ring::WaitStrategy::Batch,
        ring::WaitStrategy::Spin,
    ]);
    let history = random.pick(&[0, 0, 1, generation.capacity, u64::MAX]);
    let leaders = leaders(generation, random);
    let (receiver, mut start) = generation.marks.around(|| {
        let options = generation.handle.subscriber().name("reader");
        options
            .overflow(overflow)
            .wait_strategy(waiting)
            .history(history)
            .after(&leaders)
            .expect("blocking readers of the same ring")
            .subscribe()
    });
    if overflow == ring::Overflow::Block {
        let mut all = generation.leaders.lock().expect("no panic under the lock");
        all.push(receiver.cursor());
    }
    for low in &mut start.low {
        *low = low.saturating_sub(history.min(generation.capacity));
    }
    let (receiver, subscription) = receiver.split();
    generation.world.came.add(1);
    let (name, loss) = match overflow {
        ring::Overflow::Block => ("a blocking reader", Loss::Never),
        ring::Overflow::DropOldest => ("a lossy reader", Loss::Told),
        ring::Overflow::Disconnect => ("a reader that is cut off", Loss::Never),
    };
    Member {
        name,
        inbox: Inbox::Ring(receiver),
        subscription,
        account: Account::new(loss, start),
        may_overflow: overflow == ring::Overflow::Disconnect,
        is_ring: true,
        loses_behind: false,
    }
}

/// Readers that are there before anything is sent.
pub(super) fn begin(generation: &Generation, random: &mut Random) -> Vec<Member> {
    let count = random.between(1, 4);
    (0..count).map(|_| subscribe(generation, random)).collect()
}

/// Reads to the end of the ring.
pub(super) fn stay(generation: &Generation, members: Vec<Member>, random: &mut Random) {
    generation.world.enter();
    let mut members: Vec<_> = members
        .into_iter()
        .map(|member| (member, RingWatch::new(generation)))
        .collect();
    while !members.is_empty() {
        let wait = Duration::from_micros(300) / members.len() as u32;
        members.retain_mut(|(member, watch)| {
            let rest = member.read(generation.world, wait, random, watch);
            if rest != Rest::Open {
                settle(generation, member, rest, watch);
            }
            rest == Rest::Open
        });
        rest_at_times(random);
    }
}

/// Comes, reads for a while, and goes in one way or another; again and again.
pub(super) fn come_and_go(generation: &Generation, random: &mut Random) {
    generation.world.enter();
    while !generation.marks.is_ending() {
        let mut member = subscribe(generation, random);
        let mut watch = RingWatch::new(generation);
        let until = Instant::now() + Duration::from_micros(random.pick(&[0, 300, 3000, 30_000]));
        let mut rest = Rest::Open;
        while Instant::now() < until && rest == Rest::Open {
            let wait = Duration::from_micros(200);
            rest = member.read(generation.world, wait, random, &mut watch);
            rest_at_times(random);
        }
        if rest != Rest::Open {
            settle(generation, &member, rest, &watch);
        } else {
            leave(generation, member, random, &mut watch);
        }
    }
}

/// One that has read to its end has its account closed.
fn settle(generation: &Generation, member: &Member, rest: Rest, watch: &RingWatch<'_>) {
    let end = if generation.marks.is_ending() {
        generation.marks.last().clone()
    } else if rest == Rest::Overflowed {
        generation.marks.around(|| ()).1
    } else {
        let stats = member.subscription.stats();
        generation
            .world
            .violated("an open ring", format!("{rest:?}, {stats:?}"));
    };
    member.settle(generation.world, end, true, watch);
    generation.world.went.add(1);
}

fn leave(
    generation: &Generation,
    mut member: Member,
    random: &mut Random,
    watch: &mut RingWatch<'_>,
) {
    let world = generation.world;
    if member.account.loss() == Loss::Never && !member.may_overflow {
        let stats = member.subscription.stats();
        let unread = stats.depth.unwrap_or_default() as u64;
        if stats.delivered - unread != member.account.received() || stats.dropped != 0 {
            world.violated(
                format!("a blocking reader: {} read", member.account.received()),
                format!("{stats:?}"),
            );
        }
    }
    match random.below(3) {
        0 => {
            let ((), end) = generation
                .marks
                .around(|| member.subscription.unsubscribe());
            let read = (member.account.received(), member.account.told());
            let rest = member.read_to_end(world, random, watch);
            let now = (member.account.received(), member.account.told());
            if rest != Rest::Closed && !member.may_overflow || now != read {
                world.violated(
                    format!("nothing but Closed after `unsubscribe` at {read:?}"),
                    format!("{rest:?} at {now:?}"),
                );
            }
            member.settle(world, end, false, watch);
        }
        1 => {
            let Member {
                inbox,
                subscription,
                ..
            } = member;
            drop(inbox);
            if !subscription.is_closed() {
                world.violated("a subscription that ends with its reader", "an open one");
            }
        }
        _ => drop(member),
    }
    world.went.add(1);
}

/// Falls behind now and then.
fn rest_at_times(random: &mut Random) {
    if random.once_in(200) {
        std::thread::sleep(Duration::from_micros(random.below(3000)));
    }
}
