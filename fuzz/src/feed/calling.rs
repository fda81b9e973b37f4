//! Calls of closures, and what closures do in the middle of a send.

use super::frame::Call;
use super::program::{Act, Form, Kind};
use super::sketch::Failure;
use super::world::{World, with};
use super::{sending, subscribing};
use crate::trace::{ensure, expect, fail};
use crate::value::{Value, panic_on_purpose};

/// A closure is called by the library.
pub(crate) fn called(closure: usize, number: u64) {
    match with(|world| world.called(closure, number)) {
        Act::Nothing => {}
        Act::Panic => panic_on_purpose(),
        Act::UnsubscribeItself => with(|world| world.unsubscribe(closure)),
        Act::Unsubscribe(who) => with(|world| {
            if let Some(index) = world.choose(who) {
                world.unsubscribe(index);
            }
        }),
        Act::SubscribeChannel { capacity, overflow } => {
            subscribing::subscribe(Kind::Own { capacity, overflow }, false);
        }
        Act::SubscribeClosure => subscribing::subscribe(Kind::Closure(Act::Nothing), false),
        Act::Send => {
            with(|world| {
                world
                    .frames
                    .last_mut()
                    .expect("a send is under way")
                    .has_nested = true
            });
            sending::send(Form::TrySend);
        }
        Act::SendElsewhere => {
            let elsewhere = with(|world| {
                world.sent_elsewhere += 1;
                world.elsewhere.clone()
            });
            expect("sent elsewhere", &elsewhere.send(Value::new(0)), &1);
        }
        Act::Close => with(|world| {
            if let Some(feed) = world.feeds.last() {
                feed.close();
                world.close();
            }
        }),
    }
}

impl World {
    fn called(&mut self, closure: usize, number: u64) -> Act {
        let Some(frame) = self.frames.last_mut() else {
            fail(&format!(
                "closure {closure} is called with {number} though nobody sends"
            ));
        };
        let position = frame.calls.iter().position(|call| call.closure == closure);
        let position = position.unwrap_or_else(|| {
            ensure(closure >= frame.known, || {
                format!("closure {closure} is called, and had ended")
            });
            frame.calls.push(Call {
                closure,
                times: 0,
                is_due: false,
            });
            frame.calls.len() - 1
        });
        let call = &mut frame.calls[position];
        let one = &mut self.subscribers[closure];
        ensure(one.sketch.live, || {
            format!("closure {closure} is called after it has ended")
        });
        expect(
            "the value that a closure is called with",
            &Some(&number),
            &frame.values.get(call.times),
        );
        call.times += 1;
        let act = if self.is_quiet {
            Act::Nothing
        } else {
            std::mem::replace(&mut one.act, Act::Nothing)
        };
        if matches!(act, Act::Panic) {
            one.sketch.dropped += 1;
            one.sketch.end(Some(Failure::Panicked));
        } else {
            one.sketch.delivered += 1;
            frame.delivered += 1;
        }
        act
    }
}
