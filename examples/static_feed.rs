//! A feed in a `static`, which any part of a program can send on and subscribe to.
//!
//! It lives as long as the program, so it ends only when it is closed.
//!
//! ```text
//! cargo run --example static_feed
//! ```

use std::sync::LazyLock;
use std::thread;

use fanfeed::{CapacityError, Feed};

static LEVELS: LazyLock<Feed<u32>> = LazyLock::new(Feed::default);

fn measure(levels: impl IntoIterator<Item = u32>) {
    for level in levels {
        LEVELS.send(level);
    }
}

fn main() -> Result<(), CapacityError> {
    let all = LEVELS.channel(16)?;
    let highest = LEVELS.channel(16)?;
    let listener = thread::spawn(|| highest.into_iter().max());

    measure([3, 7, 5]);
    LEVELS.close();
    println!("reached after the end: {}", LEVELS.send(99));

    println!("all: {:?}", all.into_iter().collect::<Vec<_>>());
    let highest = listener.join().expect("the listener does not panic");
    println!("highest: {highest:?}");
    Ok(())
}
