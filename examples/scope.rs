//! A service that returns subscriptions, and ends all of them when it stops.

use crossbeam_channel::{Receiver, bounded, select};
use fanfeed::{Subscription, SubscriptionScope};

/// Sends the multiples of a number to each subscriber.
#[derive(Default)]
struct Tables {
    scope: SubscriptionScope,
}

impl Tables {
    /// The multiples of a number, or `None` when the service has stopped.
    fn of(&self, number: u32) -> Option<(Receiver<u32>, Subscription)> {
        let (tx, rx) = bounded(0);
        let subscription = Subscription::spawn(move |token| {
            for factor in 1.. {
                select! {
                    send(tx, factor * number) -> sent => if sent.is_err() { break },
                    recv(token.channel()) -> _ => break,
                }
            }
            Ok::<(), std::io::Error>(())
        });
        Some((rx, self.scope.track(subscription)?))
    }

    fn stop(&self) {
        self.scope.close();
    }
}

fn main() {
    let tables = Tables::default();
    let (twos, of_two) = tables.of(2).expect("the service runs");
    let (sevens, of_seven) = tables.of(7).expect("the service runs");
    println!("twos {:?}", twos.iter().take(4).collect::<Vec<_>>());
    println!("sevens {:?}", sevens.iter().take(4).collect::<Vec<_>>());
    println!("{} subscriptions", tables.scope.count());

    of_two.unsubscribe();
    println!("{} subscription", tables.scope.count());

    tables.stop();
    println!("the other has ended: {}", of_seven.is_closed());
    println!("nothing more of it: {}", sevens.recv().is_err());
    println!("a new one is refused: {}", tables.of(3).is_none());
}
