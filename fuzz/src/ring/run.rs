//! Running a program.

use std::rc::Rc;

use super::program::{Form, Operation, Program, Receive};
use super::sender::Sender;
use super::world::World;
use crate::trace::{self, expect};
use crate::value;

/// Runs a program, and panics where the library is not what the model says.
pub fn run(program: Program) {
    let mut world = World::new(&program);
    let operations: Rc<[Operation]> = program.operations.into();
    trace::begin(&operations);
    for (index, operation) in operations.iter().enumerate() {
        trace::at(index);
        step(&mut world, *operation);
        world.check();
    }
    trace::at(operations.len());
    world.receive_all();
    drop(world);
    expect("live values at the end", &value::live(), &0);
}

fn step(world: &mut World, operation: Operation) {
    match operation {
        Operation::Join {
            kind,
            manner,
            begin,
            named,
            by_handle,
            after,
        } => {
            // By the sender while there is one, unless that is asked for.
            if let (false, Some(handle)) = (by_handle, world.sender.handle()) {
                world.handle = handle;
            }
            world.join(kind, manner, begin, named, after);
        }
        Operation::Send(form) => world.send(form),
        Operation::Batch { count, form } => world.batch(count, form),
        Operation::Laps(count) => laps(world, u64::from(count)),
        Operation::Receive { who, form, count } => world.receive(who, form, count),
        Operation::Unsubscribe(who) => {
            if let Some(index) = world.choose(who) {
                world.readers[index].receiver.subscription().unsubscribe();
                cancelled(world, index);
            }
        }
        Operation::DropHandle(who) => {
            if let Some(index) = world.choose(who)
                && world.readers[index].handle.take().is_some()
            {
                cancelled(world, index);
            }
        }
        Operation::Leave(who) => {
            if let Some(index) = world.choose(who) {
                drop(world.readers.swap_remove(index));
            }
        }
        Operation::Split(who) => {
            if let Some(index) = world.choose(who) {
                let mut reader = world.readers.swap_remove(index);
                let (receiver, handle) = reader.receiver.split();
                reader.receiver = receiver;
                if let Some(former) = reader.handle.replace(handle) {
                    former.detach();
                }
                world.readers.push(reader);
            }
        }
        Operation::CloneSender => {
            if let Sender::Shared(rings, _) = &mut world.sender
                && rings.len() < 4
            {
                rings.extend(rings.last().cloned());
            }
        }
        Operation::Upgrade => {
            if let Sender::Shared(rings, weak) = &mut world.sender {
                let upgraded = weak.upgrade();
                expect("upgrade", &upgraded.is_some(), &!rings.is_empty());
                if rings.len() < 4 {
                    rings.extend(upgraded);
                }
            }
        }
        Operation::DropSender => {
            let is_gone = match &mut world.sender {
                Sender::Shared(rings, _) => {
                    drop(rings.pop());
                    rings.is_empty()
                }
                Sender::Exclusive(ring) => {
                    drop(ring.take());
                    true
                }
            };
            if is_gone {
                world.close();
            }
        }
        Operation::Close => {
            if world.sender.close() {
                world.close();
            }
        }
    }
}

fn cancelled(world: &mut World, index: usize) {
    let next = world.track.next();
    let reader = &mut world.readers[index];
    if !reader.is_overflowed && !reader.came_late {
        reader.cancelled.get_or_insert(next);
    }
}

/// One value after the other, read by everybody at once.
fn laps(world: &mut World, count: u64) {
    for _ in 0..count {
        world.send(Form::Try);
        for who in 0..world.readers.len() {
            world.receive(who as u8, Receive::Drain, 0);
        }
    }
}
