//! Makes a subscription again whenever it fails. The waits between attempts grow while the attempts
//! keep failing.

use std::time::Duration;

use crossbeam_channel::unbounded;
use fanfeed::{Subscription, resubscribe_with_error};

fn main() {
    let (tx, rx) = unbounded();
    let mut attempt = 0;
    let subscription = resubscribe_with_error(Duration::from_millis(50), move |_token, last| {
        attempt += 1;
        match last {
            None => println!("attempt {attempt}"),
            Some(error) => println!("attempt {attempt}, because {error}"),
        }
        if attempt <= 2 {
            return Err("the server is busy");
        }
        // The third line breaks; the fourth goes on to the end.
        let breaks = attempt == 3;
        let tx = tx.clone();
        Ok(Subscription::spawn(move |_token| {
            let _ = tx.send(attempt * 10);
            if breaks {
                return Err("the line broke");
            }
            let _ = tx.send(attempt * 10 + 1);
            Ok(())
        }))
    });

    // The resubscription ends when an attempt has succeeded. `unsubscribe` ends it at any time.
    subscription.closed().wait();
    println!("failed: {}", subscription.err().recv().is_ok());
    println!("received {:?}", rx.iter().collect::<Vec<_>>());
}
