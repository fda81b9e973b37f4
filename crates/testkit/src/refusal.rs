//! Servers that refuse to work, and checks of the errors that drivers report.

use std::fmt::Display;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed_broker::ConnectError;

/// The password of the tests. No error may contain it.
pub const SECRET: &str = "hunter2";

/// Connects, and returns the error.
///
/// # Panics
/// If there is no error, if it takes longer than `limit`, or if it contains [`SECRET`].
#[track_caller]
pub fn refused<B>(
    limit: Duration,
    connect: impl FnOnce() -> Result<B, ConnectError>,
) -> ConnectError {
    let started = Instant::now();
    let error = connect().map(drop).unwrap_err();
    let took = started.elapsed();
    assert!(took < limit, "it took {took:?}: {error}");
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(SECRET), "{text}");
    }
    error
}

/// Checks that the text of an error has all these parts.
///
/// # Panics
/// If a part is missing.
#[track_caller]
pub fn says(error: impl Display, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Checks that a value matches this pattern. If it does not, shows the value.
#[macro_export]
macro_rules! assert_is {
    ($value:expr, $($pattern:tt)+) => {{
        let value = &$value;
        assert!(matches!(value, $($pattern)+), "{value:?}");
    }};
}

/// Starts a server that sends `text` over each connection, and does nothing else.
///
/// # Panics
/// If the loopback has no free port.
pub fn saying(text: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        // The connections stay open until the process ends.
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(text.as_bytes());
            open.push(stream);
        }
    });
    address
}
