//! Running a program.

use std::rc::Rc;

use super::program::{Operation, Program};
use super::world::{World, set, with};
use super::{awaiting, held, receiving, sending, subscribing};
use crate::trace::{self, expect};
use crate::value;

/// Runs a program, and panics where the library is not what the model says.
pub fn run(program: Program) {
    let operations: Rc<[Operation]> = program.operations.into();
    trace::begin(&operations);
    set(Some(World::new()));
    for (index, operation) in operations.iter().enumerate() {
        trace::at(index);
        step(*operation);
        with(|world| world.check());
    }
    trace::at(operations.len());
    with(|world| world.check_all());
    // A send that waits would take the room that receiving makes.
    awaiting::drop_async();
    with(|world| world.receive_rest(operations.len() % 2));
    let Some(mut world) = set(None) else { return };
    expect(
        "sent elsewhere",
        &world.elsewhere_far_end.len(),
        &world.sent_elsewhere,
    );
    for index in 0..world.subscribers.len() {
        world.check_error(index);
    }
    drop(world);
    expect("live values at the end", &value::live(), &0);
}

fn step(operation: Operation) {
    match operation {
        Operation::Subscribe { kind, named } => subscribing::subscribe(kind, named),
        Operation::Crowd { closures } => subscribing::crowd(closures),
        Operation::Send(form) => sending::send(form),
        Operation::Batch { count } => sending::batch(count),
        Operation::Retry { which, form } => held::retry(which, form),
        Operation::GiveUp { which, take } => held::give_up(which, take),
        Operation::BeginAsync => awaiting::begin_async(),
        Operation::Poll => awaiting::poll(),
        Operation::DropAsync => awaiting::drop_async(),
        Operation::Receive { who, form, count } => receiving::receive(who, form, count),
        Operation::Unsubscribe(who) => to_one(who, World::unsubscribe),
        Operation::DropHandle(who) => to_one(who, World::drop_handle),
        Operation::Detach(who) => to_one(who, World::detach),
        Operation::Track(who) => to_one(who, World::track),
        Operation::Split(who) => to_one(who, World::split),
        Operation::DropFarEnd(who) => to_one(who, World::drop_far_end),
        Operation::ArmCarrier(who) => to_one(who, World::arm_carrier),
        Operation::CheckError(who) => to_one(who, World::check_error),
        Operation::CloseScope => with(World::close_scope),
        Operation::ArmClone(clone) => with(|world| world.armed = u64::from(clone % 8)),
        Operation::CloneFeed => with(|world| {
            if world.feeds.len() < 4 {
                world.feeds.extend(world.feeds.last().cloned());
            }
        }),
        Operation::DropFeed => with(|world| {
            world.feeds.pop();
            if world.feeds.is_empty() {
                world.close();
            }
        }),
        Operation::Upgrade => with(|world| {
            if world.feeds.len() < 4 {
                world.feeds.extend(world.weak.upgrade());
            }
        }),
        Operation::Close => with(|world| {
            if let Some(feed) = world.feeds.last() {
                feed.close();
                world.close();
            }
        }),
    }
}

fn to_one(who: u8, act: impl FnOnce(&mut World, usize)) {
    with(|world| {
        if let Some(index) = world.choose(who) {
            act(world, index);
        }
    });
}
