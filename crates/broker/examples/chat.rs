//! A chat in memory. Each room is a key. A reader that is too slow misses messages, and `dropped()`
//! counts them.
//!
//! `cargo run -p fanfeed-broker --example chat`

use std::error::Error;
use std::time::Duration;

use fanfeed_broker::{Context, Drivers, Message, Subscribe, SubscribeOptions, SubscriberExt};

fn main() -> Result<(), Box<dyn Error>> {
    let broker = Drivers::new().connect("memory:")?;

    let reader = broker.subscribe("chat.42", |message, _context| {
        let text = std::str::from_utf8(message.payload())?;
        println!("{}: {text}", message.event_name().unwrap_or("?"));
        Ok(())
    })?;

    // This one holds two messages, and its first keeps it busy until all have been posted.
    let (posted, all_posted) = crossbeam_channel::bounded::<()>(0);
    let slow = Subscribe::new("chat.42", move |_: &Message, _: &Context| {
        let _ = all_posted.recv();
        Ok(())
    });
    let slow =
        broker.subscribe_with(slow.options(SubscribeOptions::new().buffer(2).name("slow")))?;

    for text in ["hello", "is anybody there?", "yes", "good"] {
        broker.publish(Message::new("chat.42", text).name("MessagePosted"))?;
    }
    let typing = Message::new("chat.42", "ann").name("UserTyping");
    broker.publish(typing)?;
    drop(posted);

    broker.close(Duration::from_secs(5))?;
    println!(
        "the reader missed {}, the slow one {}",
        reader.dropped(),
        slow.dropped()
    );
    assert_eq!(reader.dropped(), 0);
    assert!(slow.dropped() >= 2);
    assert!(
        broker
            .publish(Message::new("chat.42", "too late"))
            .is_err_and(|error| error.is_closed())
    );
    Ok(())
}
