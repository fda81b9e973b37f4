//! The threads that post.

use std::sync::atomic::Ordering;

use fanfeed::TypeMux;

use crate::pace::Pace;
use crate::random::Random;

use super::Generation;
use super::events::{self, KINDS, Seen, stream};

/// Posts until it is enough, or the mux was stopped.
pub(super) fn post(generation: &Generation, mux: &TypeMux, poster: usize, random: &mut Random) {
    let world = generation.world;
    world.enter();
    let mut pace = Pace::default();
    let mut numbers = [0; KINDS];
    let mut turn = 0;
    while !generation.enough.load(Ordering::SeqCst) {
        pace.keep(random);
        let kind = random.index(KINDS);
        let stream = stream(poster, kind);
        let number = numbers[kind];
        let was_stopped = generation.stopped.load(Ordering::SeqCst);
        generation.marks.begin(stream, 1);
        match events::post(mux, world, (poster, kind), number, turn) {
            Ok(reached) if was_stopped => {
                world.violated(
                    "a post after `stop` gives the event back",
                    format!("it was taken and has reached {reached}"),
                );
            }
            Ok(reached) => {
                let reached = reached as u64;
                generation.reached.fetch_add(reached, Ordering::SeqCst);
                let stayers = generation.stayers[kind].load(Ordering::SeqCst);
                if reached < stayers && !generation.marks.is_ending() {
                    world.violated(
                        format!(
                            "a post of type {kind} reaches the {stayers} subscribers that stay"
                        ),
                        reached,
                    );
                }
                generation.marks.end(stream);
                numbers[kind] += 1;
                world.sent.add(1);
            }
            Err(back) => {
                generation.marks.take_back(stream, 1);
                let posted = Seen {
                    poster,
                    kind,
                    number,
                    turn,
                };
                if back != posted || !generation.marks.is_ending() {
                    world.violated(
                        format!("from a mux that was stopped, {posted:?} back"),
                        format!("{back:?}, stopped: {}", generation.marks.is_ending()),
                    );
                }
                return;
            }
        }
        turn += 1;
    }
}
