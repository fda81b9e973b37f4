//! The cases of the Autobahn test suite, against the whole server and the whole client.
//!
//! A case expects its messages back, which neither a server nor a client of channels does: a server
//! answers them with error messages. So the messages are not compared, and the cases that wait for
//! one tell nothing here: they are judged in the tests of the library, where a server and a client
//! send everything back.

use std::sync::atomic::{AtomicUsize, Ordering};

use fanfeed_sockets::{Client, JoinOptions};
use fanfeed_testkit::Folder;
use fanfeed_testkit::autobahn::{CASES, Judge, against_client, against_server};

use crate::room::Room;

/// The cases that do not wait for a message.
const JUDGED: usize = 166;

fn run(host: &str) {
    let next = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let client = Client::builder().no_reconnect().build_blocking();
                let client = client.expect("a client");
                loop {
                    // ORDERING: each number is taken once.
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case > CASES {
                        break;
                    }
                    let options = JoinOptions::new().param("case", case.to_string());
                    let room = client.join(host, "runCase", options.param("agent", "fanfeed"));
                    room.expect("joined").over().expect("it runs");
                }
            });
        }
    });
    let client = Client::builder().no_reconnect().build_blocking();
    let options = JoinOptions::new().param("agent", "fanfeed");
    let end = client
        .expect("a client")
        .join(host, "updateReports", options);
    end.expect("joined").over().expect("it runs");
}

#[test]
fn the_server_closes_and_answers_pings_as_it_should() {
    let room = Room::open();
    let folder = Folder::new("autobahn");
    let judged = against_server(&room.url("autobahn"), folder.path(), Judge::Frames);
    assert_eq!(judged, JUDGED);
}

#[test]
fn the_client_closes_and_answers_pings_as_it_should() {
    let folder = Folder::new("autobahn");
    assert_eq!(against_client(folder.path(), Judge::Frames, run), JUDGED);
}
