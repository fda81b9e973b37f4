//! Messages a second that 100 clients send and get back, each waiting for its own: a handler beside
//! a bare axum echo.

use crate::Scale;
use crate::figures::{Rounds, compare, processor};
use crate::fleet::Fleet;
use crate::own::{self, Own};
use crate::peers;

const CLIENTS: usize = 100;

pub(crate) async fn run(scale: &Scale) {
    let mut fleet = Fleet::start();
    let own = Own::start().await;
    let bare = peers::serve(peers::echo()).await;
    fleet.ask(&format!("hold own {CLIENTS} {} /ws/room", own.address()));
    fleet.ask(&format!("hold bare {CLIENTS} {bare} /ws/room"));
    let (mut rates, mut bare_rates) = <(Rounds, Rounds)>::default();
    let (mut times, mut bare_times) = <(Rounds, Rounds)>::default();
    let text = own::question().encode();
    for round in 0..=scale.rounds {
        let groups = [
            ("bare", &mut bare_rates, &mut bare_times),
            ("own", &mut rates, &mut times),
        ];
        for (group, rates, times) in groups {
            let began = processor();
            let nanos = fleet.ask(&format!(
                "echo {group} {} {}",
                scale.echoes,
                text.trim_end()
            ));
            let nanos: f64 = nanos.parse().expect("a number");
            let messages = (CLIENTS * scale.echoes) as f64;
            if round > 0 {
                rates.push(messages / nanos * 1e9);
                times.push((processor() - began) as f64 / messages);
            }
        }
    }
    let names = ["handler of a channel", "bare axum echo, the same JSON"];
    compare(
        &format!("messages a second echoed by {CLIENTS} clients"),
        &[(names[0], &rates), (names[1], &bare_rates)],
    );
    compare(
        "ns of the server for each echo",
        &[(names[0], &times), (names[1], &bare_times)],
    );
    own.stop().await;
}
