//! Every subscriber answers before the sender goes on.
//!
//! `send` returns how many subscribers the value reached, so the sender knows how many answers to
//! wait for. Each event brings the channel for its answers along.
//!
//! ```text
//! cargo run --example acknowledged
//! ```

use std::error::Error;
use std::thread;

use crossbeam_channel::{Sender, bounded};
use fanfeed::Feed;

#[derive(Clone)]
struct Request {
    number: u32,
    answer: Sender<(&'static str, u32)>,
}

type Task = fn(u32) -> u32;

fn main() -> Result<(), Box<dyn Error>> {
    let feed = Feed::<Request>::new();
    let mut workers = Vec::new();
    let tasks: [(_, Task); 3] = [
        ("double", |number| number * 2),
        ("square", |number| number * number),
        ("successor", |number| number + 1),
    ];
    for (name, task) in tasks {
        let requests = feed.channel(8)?;
        workers.push(thread::spawn(move || {
            for request in requests {
                // The send fails if the requester has left without waiting.
                let _ = request.answer.send((name, task(request.number)));
            }
        }));
    }

    for number in 1..=3 {
        let (answer, answers) = bounded(workers.len());
        let reached = feed.send(Request { number, answer });
        let mut answers: Vec<_> = answers.iter().take(reached).collect();
        answers.sort_unstable();
        println!("{number}: {answers:?}");
    }

    feed.close();
    for worker in workers {
        worker.join().expect("a worker does not panic");
    }
    Ok(())
}
