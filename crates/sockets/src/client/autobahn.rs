//! The cases of the Autobahn test suite, against a client that sends everything back.
//!
//! A case expects its messages back. So the reader gives what it gets to the writer, whatever it
//! is, where it would decode it otherwise. Everything else is as in any client.

use std::sync::atomic::{AtomicUsize, Ordering};

use fanfeed_testkit::Folder;
use fanfeed_testkit::autobahn::{CASES, Judge, against_client};

use super::{Client, JoinOptions};

fn client() -> Client {
    let mut builder = Client::builder().no_reconnect();
    builder.settings.echoes = true;
    builder.build().expect("it builds")
}

async fn join(client: &Client, host: &str, channel: &str, options: JoinOptions) {
    let options = options.param("agent", "fanfeed");
    let room = client.join(host, channel, options).await.expect("joined");
    room.over().await;
}

fn run(host: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let next = AtomicUsize::new(1);
    let cases = async || {
        let client = client();
        loop {
            // ORDERING: each number is taken once.
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case > CASES {
                return;
            }
            let options = JoinOptions::new().param("case", case.to_string());
            join(&client, host, "runCase", options).await;
        }
    };
    runtime.block_on(async {
        futures_util::future::join_all((0..16).map(|_| cases())).await;
        join(&client(), host, "updateReports", JoinOptions::new()).await;
    });
}

#[test]
fn a_client_that_sends_everything_back_passes_all_cases() {
    let folder = Folder::new("autobahn");
    // All but the eight of binary messages.
    assert_eq!(against_client(folder.path(), Judge::Echo, run), CASES - 8);
}
