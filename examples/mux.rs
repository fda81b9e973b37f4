//! Delivers events by their type: with a `TypeMux`, and then with a `Feed` of an enum.
//!
//! `TypeMux` is deprecated: it is for code that comes from go-ethereum's `event.TypeMux`. The
//! second half shows what to write instead.
//!
//! ```text
//! cargo run --example mux
//! ```

#![allow(deprecated)]

use std::error::Error;
use std::thread;

use fanfeed::{Feed, TypeMux};

#[derive(Debug, Clone)]
struct Joined {
    name: &'static str,
}

#[derive(Debug, Clone)]
struct Said {
    name: &'static str,
    words: &'static str,
}

fn main() -> Result<(), Box<dyn Error>> {
    with_a_mux();
    with_a_feed()
}

fn with_a_mux() {
    let mux = TypeMux::new();
    let mut joined = mux.subscribe::<(Joined,)>();
    let mut everything = mux.subscribe::<(Joined, Said)>();
    let transcript = thread::spawn(move || {
        let mut lines = Vec::new();
        for event in everything.iter() {
            if let Some(Joined { name }) = event.downcast_ref() {
                lines.push(format!("{name} is here"));
            } else if let Some(Said { name, words }) = event.downcast_ref() {
                lines.push(format!("{name}: {words}"));
            }
        }
        lines
    });

    let posts = [
        mux.post(Joined { name: "Ada" }),
        mux.post(Joined { name: "Kurt" }),
    ];
    println!("joined reached: {posts:?}");
    let words = "It has no pretensions.";
    println!("said reached: {:?}", mux.post(Said { name: "Ada", words }));
    println!("42 reached: {:?}", mux.post(42));
    mux.stop();
    println!("after stop: {:?}", mux.post(42));

    println!("joined: {}", joined.iter().count());
    for line in transcript.join().expect("the listener does not panic") {
        println!("mux  | {line}");
    }
}

fn with_a_feed() -> Result<(), Box<dyn Error>> {
    #[derive(Clone)]
    enum Event {
        Joined(Joined),
        Said(Said),
    }

    let feed = Feed::new();
    let everything = feed.channel(16)?;
    feed.send(Event::Joined(Joined { name: "Ada" }));
    let words = "Much better.";
    feed.send(Event::Said(Said { name: "Ada", words }));
    feed.close();
    for event in everything {
        match event {
            Event::Joined(Joined { name }) => println!("feed | {name} is here"),
            Event::Said(Said { name, words }) => println!("feed | {name}: {words}"),
        }
    }
    Ok(())
}
