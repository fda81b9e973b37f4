//! The subscribers of a feed: some from its beginning to its end, others for a while.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use fanfeed::{
    CarrierOverflow, Feed, Overflow, RingFeed, Subscription, SubscriptionId, SubscriptionScope,
    ring,
};

use crate::account::{Account, Loss};
use crate::inbox::{Inbox, Rest};
use crate::member::{Member, Watch};
use crate::random::Random;
use crate::shelf::{Shelf, ShelfEnd};
use crate::value::{Value, is_touchy};

use super::Generation;
use super::closures::Called;

impl Watch for &Generation {
    fn excuses(&self, of: SubscriptionId, sender: usize, number: u64) -> bool {
        self.touchy && is_touchy(sender, number) || self.given_up.holds(of, sender, number)
    }
}

/// A subscriber of whatever kind.
pub(super) enum Subscriber {
    Reads {
        member: Box<Member>,
        pushes_out: bool,
    },
    Called(Called),
}

/// The subscribers that are there before anything is sent.
pub(super) fn begin(
    generation: &Generation,
    feed: &Feed<Value>,
    random: &mut Random,
) -> Vec<Subscriber> {
    let count = random.between(1, 4);
    (0..count)
        .map(|_| subscribe(generation, feed, random, true))
        .collect()
}

fn subscribe(
    generation: &Generation,
    feed: &Feed<Value>,
    random: &mut Random,
    stays: bool,
) -> Subscriber {
    generation.world.came.add(1);
    let small = random.pick(&[1, 1, 2, 3, 8, 64, 256]);
    match random.below(9) {
        0..3 => own(generation, feed, random, small),
        3 => {
            // A capacity of 0 or none at all, too.
            let capacity = random.pick(&[0, 0, small]);
            let (sender, receiver) = if random.once_in(4) {
                crossbeam_channel::unbounded()
            } else {
                crossbeam_channel::bounded(capacity)
            };
            let inbox = Inbox::Crossbeam(receiver);
            carried(
                generation,
                random,
                "a crossbeam channel",
                inbox,
                |overflow| feed.subscriber().overflow(overflow).subscribe(sender),
            )
        }
        4 if random.once_in(4) => {
            let (sender, receiver) = mpsc::channel();
            let inbox = Inbox::Std(receiver);
            carried(generation, random, "a std channel", inbox, |overflow| {
                feed.subscriber().overflow(overflow).subscribe(sender)
            })
        }
        4 => {
            // Its receiver must wait, which one that reads several cannot for long.
            let capacity = if stays {
                small
            } else {
                random.pick(&[0, small])
            };
            let (sender, receiver) = mpsc::sync_channel(capacity);
            let inbox = Inbox::Std(receiver);
            carried(generation, random, "a std channel", inbox, |overflow| {
                feed.subscriber().overflow(overflow).subscribe(sender)
            })
        }
        5 => {
            let (sender, receiver) = tokio::sync::mpsc::channel(small);
            let inbox = Inbox::Tokio(receiver);
            carried(generation, random, "a tokio channel", inbox, |overflow| {
                feed.subscriber().overflow(overflow).subscribe(sender)
            })
        }
        6 => {
            let shelf = Shelf::new(small);
            let end = ShelfEnd(shelf.clone());
            let inbox = Inbox::Shelf(shelf);
            carried(
                generation,
                random,
                "a carrier of our own",
                inbox,
                |overflow| feed.subscriber().overflow(overflow).subscribe(end),
            )
        }
        7 => ring(generation, feed, random, small),
        _ => {
            generation.world.came.add(-1);
            Subscriber::Called(Called::subscribe(generation, feed, random))
        }
    }
}

/// A channel of the feed's own.
fn own(
    generation: &Generation,
    feed: &Feed<Value>,
    random: &mut Random,
    capacity: usize,
) -> Subscriber {
    let overflow = random.pick(&[
        Overflow::Block,
        Overflow::Block,
        Overflow::DropNewest,
        Overflow::DropOldest,
        Overflow::Disconnect,
    ]);
    let (receiver, start) = generation.marks.around(|| {
        let options = feed.subscriber().capacity(capacity).overflow(overflow);
        options.channel().expect("the capacity is valid")
    });
    let (receiver, subscription) = receiver.split();
    let (name, loss) = match overflow {
        Overflow::Block => ("an own channel (Block)", Loss::Told),
        Overflow::DropNewest => ("an own channel (DropNewest)", Loss::Told),
        Overflow::DropOldest => ("an own channel (DropOldest)", Loss::Told),
        Overflow::Disconnect => ("an own channel (Disconnect)", Loss::Told),
    };
    Subscriber::Reads {
        member: Box::new(Member {
            name,
            inbox: Inbox::Own(receiver),
            subscription,
            account: Account::new(loss, start),
            may_overflow: overflow == Overflow::Disconnect,
            is_ring: false,
            loses_behind: false,
        }),
        pushes_out: overflow == Overflow::DropOldest,
    }
}

/// A channel that was brought along.
fn carried(
    generation: &Generation,
    random: &mut Random,
    name: &'static str,
    inbox: Inbox,
    subscribe: impl FnOnce(CarrierOverflow) -> Subscription,
) -> Subscriber {
    let overflow = random.pick(&[
        CarrierOverflow::Block,
        CarrierOverflow::Block,
        CarrierOverflow::DropNewest,
        CarrierOverflow::Disconnect,
    ]);
    let (subscription, start) = generation.marks.around(|| subscribe(overflow));
    let loss = if overflow == CarrierOverflow::DropNewest {
        Loss::Silent
    } else {
        Loss::Never
    };
    Subscriber::Reads {
        member: Box::new(Member {
            name,
            inbox,
            subscription,
            account: Account::new(loss, start),
            may_overflow: overflow == CarrierOverflow::Disconnect,
            is_ring: false,
            loses_behind: false,
        }),
        pushes_out: false,
    }
}

/// A ring, which has a reader of its own.
fn ring(
    generation: &Generation,
    feed: &Feed<Value>,
    random: &mut Random,
    capacity: usize,
) -> Subscriber {
    let ring = RingFeed::new(capacity).expect("the capacity is valid");
    let overflow = random.pick(&[ring::Overflow::Block, ring::Overflow::DropOldest]);
    let reader = ring.subscriber().overflow(overflow).subscribe();
    let (subscription, start) = generation.marks.around(|| feed.subscribe(ring));
    let loss = match overflow {
        ring::Overflow::DropOldest => Loss::Told,
        ring::Overflow::Block | ring::Overflow::Disconnect => Loss::Never,
    };
    Subscriber::Reads {
        member: Box::new(Member {
            name: "a ring as a carrier",
            inbox: Inbox::Ring(reader),
            subscription,
            account: Account::new(loss, start),
            may_overflow: false,
            is_ring: false,
            loses_behind: true,
        }),
        pushes_out: false,
    }
}

/// Reads them to the end of the feed.
pub(super) fn stay(generation: &Generation, subscribers: Vec<Subscriber>, random: &mut Random) {
    let world = generation.world;
    world.enter();
    let mut watch = generation;
    let mut called = Vec::new();
    let mut readers = Vec::new();
    for subscriber in subscribers {
        match subscriber {
            Subscriber::Called(closure) => called.push(closure),
            Subscriber::Reads { member, pushes_out } => readers.push((member, pushes_out)),
        }
    }
    while !readers.is_empty() {
        let wait = Duration::from_micros(300) / readers.len() as u32;
        let mut open = Vec::with_capacity(readers.len());
        for (mut member, pushes_out) in readers {
            match member.read(world, wait, random, &mut watch) {
                Rest::Open => open.push((member, pushes_out)),
                rest => settle(generation, *member, rest, pushes_out),
            }
        }
        readers = open;
        rest_at_times(random);
    }
    // Closures have no end to read: it is the feed's.
    generation.marks.last();
    for closure in called {
        closure.leave(generation);
    }
}

/// One that has read to the end of its channel has its account closed.
fn settle(generation: &Generation, member: Member, rest: Rest, pushes_out: bool) {
    let world = generation.world;
    member.await_end(world);
    let end = if generation.marks.is_ending() {
        generation.marks.last().clone()
    } else if member.may_overflow {
        generation.marks.around(|| ()).1
    } else {
        world.violated(
            format!("{}: an open feed", member.name),
            format!("{rest:?}, {:?}", member.subscription.stats()),
        );
    };
    member.settle(world, end, true, &generation);
    generation.add_gone(member.subscription, pushes_out);
}

/// Comes, reads for a while, and goes in one way or another; again and again.
pub(super) fn come_and_go(generation: &Generation, random: &mut Random) {
    let world = generation.world;
    world.enter();
    let mut watch = generation;
    while !generation.marks.is_ending() {
        let Some(feed) = generation.feed.upgrade() else {
            return;
        };
        let subscriber = subscribe(generation, &feed, random, false);
        drop(feed);
        let until = Instant::now() + Duration::from_micros(random.pick(&[0, 300, 3000, 30_000]));
        match subscriber {
            Subscriber::Called(closure) => {
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
                closure.leave(generation);
            }
            Subscriber::Reads {
                mut member,
                pushes_out,
            } => {
                let mut rest = Rest::Open;
                while rest == Rest::Open && Instant::now() < until {
                    let wait = Duration::from_micros(200);
                    rest = member.read(world, wait, random, &mut watch);
                    rest_at_times(random);
                }
                if rest == Rest::Open {
                    leave(generation, *member, pushes_out, random);
                } else {
                    settle(generation, *member, rest, pushes_out);
                }
            }
        }
    }
}

fn leave(generation: &Generation, mut member: Member, pushes_out: bool, random: &mut Random) {
    let world = generation.world;
    let way = random.below(4);
    if way == 0 && !matches!(member.inbox, Inbox::Shelf(_)) {
        // Its far end goes, which the next send finds out.
        let Member {
            inbox,
            subscription,
            name,
            ..
        } = member;
        let is_own = matches!(inbox, Inbox::Own(_));
        drop(inbox);
        if is_own && !subscription.is_closed() {
            world.violated(format!("{name}: an end with its receiver"), "none");
        }
        return generation.add_gone(subscription, pushes_out);
    }
    let mut end = None;
    if way == 1 {
        let scope = SubscriptionScope::new();
        let Some(tracked) = scope.track(member.subscription) else {
            world.violated("an open scope that tracks", "one that does not");
        };
        member.subscription = tracked;
        let close = || {
            scope.close();
            // One that had ended by itself was off the scope, which has not waited for its carrier
            // then.
            if member.may_overflow || generation.marks.is_ending() {
                member.subscription.unsubscribe();
            }
        };
        end = Some(generation.marks.around(close).1);
    }
    let end = end.unwrap_or_else(|| {
        let unsubscribe = || member.subscription.unsubscribe();
        generation.marks.around(unsubscribe).1
    });
    if !member.subscription.is_closed() {
        world.violated(format!("{}: an end by `unsubscribe`", member.name), "none");
    }
    if let Inbox::Shelf(shelf) = &member.inbox {
        shelf.give_up();
    }
    member.read_to_end(world, random, &mut { generation });
    member.settle(world, end, true, &generation);
    generation.add_gone(member.subscription, pushes_out);
}

/// Falls behind now and then.
fn rest_at_times(random: &mut Random) {
    if random.once_in(200) {
        std::thread::sleep(Duration::from_micros(random.below(3000)));
    }
}
