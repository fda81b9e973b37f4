//! One thread waits for several feeds at once, with crossbeam's `select!`.
//!
//! A crossbeam channel can be subscribed to a feed, and so can stand in a `select!` beside any
//! others. When a feed is closed, its subscriptions end and drop their senders, so the channels
//! disconnect.
//!
//! ```text
//! cargo run --example select
//! ```

use std::thread;

use crossbeam_channel::{bounded, never, select};
use fanfeed::Feed;

fn main() {
    let prices = Feed::new();
    let news = Feed::new();
    let (tx, mut price) = bounded(4);
    let _prices = prices.subscribe(tx);
    let (tx, mut headline) = bounded(4);
    let _news = news.subscribe(tx);

    let senders = [
        thread::spawn(move || {
            for cents in [1250, 1275, 1190] {
                prices.send(cents);
            }
            prices.close();
        }),
        thread::spawn(move || {
            news.send("harvest is late");
            news.send("harvest is in");
            news.close();
        }),
    ];

    // Values of one feed arrive in order. The order between two feeds is not defined.
    let mut last_price = None;
    let mut headlines = Vec::new();
    let mut open = 2;
    while open > 0 {
        select! {
            recv(price) -> cents => match cents {
                Ok(cents) => last_price = Some(cents),
                Err(_) => {
                    price = never();
                    open -= 1;
                }
            },
            recv(headline) -> text => match text {
                Ok(text) => headlines.push(text),
                Err(_) => {
                    headline = never();
                    open -= 1;
                }
            },
        }
    }
    println!("last price: {last_price:?}");
    println!("headlines: {headlines:?}");

    for sender in senders {
        sender.join().expect("a sender does not panic");
    }
}
