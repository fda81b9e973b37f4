//! The subscribers of a mux: some from its beginning to its end, others for a while.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use fanfeed::{SubscriptionScope, TypeMux};

use crate::account::{Account, Loss};
use crate::inbox::Rest;
use crate::random::Random;
use crate::shelf::{Shelf, ShelfEnd};

use super::Generation;
use super::events::{self, KINDS, kind_of};
use super::member::{Inbox, Member};

/// The subscribers that are there before anything is posted.
pub(super) fn begin(generation: &Generation, mux: &TypeMux, random: &mut Random) -> Vec<Member> {
    let members: Vec<_> = (0..random.between(1, 3))
        .map(|_| subscribe(generation, mux, random))
        .collect();
    for member in &members {
        for (stayers, is_for) in generation.stayers.iter().zip(member.kinds) {
            stayers.fetch_add(u64::from(is_for), Ordering::SeqCst);
        }
    }
    members
}

fn subscribe(generation: &Generation, mux: &TypeMux, random: &mut Random) -> Member {
    generation.world.came.add(1);
    let mut kinds = [(); KINDS].map(|()| random.once_in(3));
    kinds[random.index(KINDS)] = true;
    let capacity = random.pick(&[1, 1, 2, 8, 64, 1024]);
    let form = random.below(4);
    let since = Instant::now();
    let ((name, inbox, subscription), start) = generation.marks.around(|| {
        let options = events::subscriber(mux, &kinds).capacity(capacity);
        match form {
            0 | 1 => {
                let channel = options.channel().expect("the capacity is valid");
                let (channel, subscription) = channel.split();
                let inbox = Inbox::Own(Box::new(channel));
                ("an own channel", inbox, subscription)
            }
            2 => {
                // A post to one without room returns when the event has been received.
                let capacity = if capacity == 1 { 0 } else { capacity };
                let (sender, receiver) = crossbeam_channel::bounded(capacity);
                let subscription = options.subscribe(sender);
                (
                    "a crossbeam channel",
                    Inbox::Crossbeam(receiver),
                    subscription,
                )
            }
            _ => {
                let shelf = Shelf::new(capacity);
                let subscription = options.subscribe(ShelfEnd(shelf.clone()));
                ("a carrier of our own", Inbox::Shelf(shelf), subscription)
            }
        }
    });
    let start = start.only(|stream| kinds[kind_of(stream)]);
    Member {
        name,
        inbox,
        subscription,
        kinds,
        account: Account::new(Loss::Never, start),
        since,
        turns: vec![0; generation.marks.senders() / KINDS],
    }
}

/// Reads them to the end of the mux.
pub(super) fn stay(generation: &Generation, mut members: Vec<Member>, random: &mut Random) {
    generation.world.enter();
    while !members.is_empty() {
        let wait = Duration::from_micros(300) / members.len() as u32;
        members = members
            .into_iter()
            .filter_map(|member| read_on(generation, member, wait))
            .collect();
        rest_at_times(random);
    }
}

/// Reads some. Gives the member back unless it has come to its end, and has its account closed.
fn read_on(generation: &Generation, mut member: Member, wait: Duration) -> Option<Member> {
    let world = generation.world;
    if generation.stopped.load(Ordering::SeqCst) {
        member.read_to_end(world, "the mux was stopped");
    } else if member.read(world, wait).1 == Rest::Open {
        return Some(member);
    }
    if !generation.marks.is_ending() {
        world.violated(
            format!("{}: an open mux", member.name),
            format!("its end, {:?}", member.subscription.stats()),
        );
    }
    member.settle(world, generation.marks.last().clone());
    generation.add_gone(member.subscription);
    None
}

/// Comes, reads for a while, and goes in one way or another; again and again.
pub(super) fn come_and_go(generation: &Generation, random: &mut Random) {
    generation.world.enter();
    while !generation.marks.is_ending() {
        let Some(mux) = generation.mux.upgrade() else {
            return;
        };
        let member = subscribe(generation, &mux, random);
        drop(mux);
        let until = Instant::now() + Duration::from_micros(random.pick(&[0, 300, 3000, 30_000]));
        let mut reading = Some(member);
        while let Some(member) = reading.take() {
            if Instant::now() >= until {
                leave(generation, member, random);
                break;
            }
            reading = read_on(generation, member, Duration::from_micros(200));
            rest_at_times(random);
        }
    }
}

fn leave(generation: &Generation, mut member: Member, random: &mut Random) {
    let world = generation.world;
    let way = random.below(4);
    if way == 0 && !matches!(member.inbox, Inbox::Shelf(_)) {
        // Its far end goes, which the next post finds out.
        let is_own = matches!(member.inbox, Inbox::Own(_));
        drop(member.inbox);
        if is_own && !member.subscription.is_closed() {
            world.violated(format!("{}: an end with its receiver", member.name), "none");
        }
        return generation.add_gone(member.subscription);
    }
    let scope = SubscriptionScope::new();
    if way == 1 {
        let Some(tracked) = scope.track(member.subscription) else {
            world.violated("an open scope that tracks", "one that does not");
        };
        member.subscription = tracked;
    }
    let end_it = || {
        scope.close();
        // One that ended by itself meanwhile was off the scope, which has not waited for its
        // carriers then.
        if way != 1 || generation.marks.is_ending() {
            member.subscription.unsubscribe();
        }
    };
    let ((), end) = generation.marks.around(end_it);
    if !member.subscription.is_closed() {
        world.violated(format!("{}: an end by `unsubscribe`", member.name), "none");
    }
    member.read_to_end(world, "unsubscribed");
    member.settle(world, end);
    generation.add_gone(member.subscription);
}

/// Falls behind now and then, which blocks posts.
fn rest_at_times(random: &mut Random) {
    if random.once_in(100) {
        thread::sleep(Duration::from_micros(random.below(20_000)));
    }
}
