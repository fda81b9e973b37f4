//! Clients that mean harm, or are broken. Each goes on until the server ends its connection, and
//! says how it ended.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::wire::{Kind, Wire};

/// How long an attacker waits for the server to end its connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an attacker does.
pub(crate) const KINDS: [&str; 7] = [
    "half-open",
    "slow-handshake",
    "giant-headers",
    "cross-site",
    "flood",
    "garbage",
    "silent",
];

/// Attacks with so many clients at once, and says how many connections ended in which way:
/// `40*closed 1008,..`.
pub(crate) async fn attack(
    kind: &str,
    count: u64,
    address: SocketAddr,
    path: &str,
) -> io::Result<String> {
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (kind, path) = (kind.to_owned(), path.to_owned());
        tasks.spawn(async move {
            match timeout(PATIENCE, one(&kind, number, address, &path)).await {
                Ok(Ok(outcome)) => outcome,
                // The server need not have read what was sent.
                Ok(Err(error)) if is_cut(&error) => "ended".to_owned(),
                Ok(Err(error)) => error.kind().to_string(),
                Err(_) => "still open".to_owned(),
            }
        });
    }
    let mut outcomes = BTreeMap::<String, usize>::new();
    while let Some(outcome) = tasks.join_next().await {
        *outcomes.entry(outcome.expect("no panic")).or_default() += 1;
    }
    let told: Vec<String> = outcomes
        .iter()
        .map(|(outcome, count)| format!("{count}*{outcome}"))
        .collect();
    Ok(told.join(","))
}

/// Checks that the server ended each connection, and as it should.
///
/// # Panics
/// If not.
pub(crate) fn check(kind: &str, count: usize, outcome: &str) {
    let expected = match kind {
        // Cut, or answered with "request timeout".
        "half-open" | "slow-handshake" => &["408", "ended"][..],
        // The client may see that it was cut before it sees the answer.
        "giant-headers" => &["431", "ended"],
        "cross-site" => &["403"],
        // For its rate, or because it does not read what it is answered.
        "flood" => &["closed 1008", "closed 1013", "ended"],
        "garbage" => &["closed 1007", "closed 1013", "ended"],
        _ => &["closed 1001", "ended"],
    };
    let mut ended = 0;
    for outcome in outcome.split(',') {
        let (count, outcome) = outcome.split_once('*').expect("a count and an outcome");
        assert!(
            expected.contains(&outcome),
            "{kind}: expected one of {expected:?}, and got {outcome}"
        );
        ended += count.parse::<usize>().expect("a count");
    }
    assert_eq!(ended, count, "{kind}");
}

fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset)
}

async fn one(kind: &str, number: u64, address: SocketAddr, path: &str) -> io::Result<String> {
    let begun = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n");
    match kind {
        "half-open" => {
            let mut stream = TcpStream::connect(address).await?;
            answered(&mut stream).await
        }
        "slow-handshake" => {
            let mut stream = TcpStream::connect(address).await?;
            let (mut reader, mut writer) = stream.split();
            let drip = async {
                for byte in begun.bytes().chain(std::iter::repeat(b'x')) {
                    if writer.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let mut answer = Vec::new();
            tokio::select! {
                ended = reader.read_to_end(&mut answer) => ended.map(|_| status(&answer)),
                () = drip => Ok("ended".to_owned()),
            }
        }
        "giant-headers" => {
            let mut stream = TcpStream::connect(address).await?;
            let header = format!("{begun}X-Giant: {}\r\n\r\n", "x".repeat(1 << 20));
            // The server need not read it to the end.
            let _ = stream.write_all(header.as_bytes()).await;
            answered(&mut stream).await
        }
        "cross-site" => {
            let mut stream = TcpStream::connect(address).await?;
            let request = format!(
                "{begun}Origin: http://evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = [0; 256];
            let length = stream.read(&mut answer).await?;
            Ok(status(&answer[..length]))
        }
        _ => {
            let from = [127, 0, 0, 1 + (number % 16) as u8];
            let wire = Wire::open(address, path, from, None).await?;
            let message = match kind {
                "flood" => Some(&br#"{"type":"nothing","body":1}"#[..]),
                "garbage" => Some(&b"{no json"[..]),
                _ => None,
            };
            joined(wire, message).await
        }
    }
}

/// Reads to the end, and says what the server answered.
async fn answered(stream: &mut TcpStream) -> io::Result<String> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(status(&answer))
}

fn status(answer: &[u8]) -> String {
    let line = answer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    match line.strip_prefix(b"HTTP/1.1 ") {
        Some(status) => String::from_utf8_lossy(&status[..status.len().min(3)]).into_owned(),
        None => "ended".to_owned(),
    }
}

/// A member that sends the message as fast as it is taken, or never sends anything, not even a
/// pong.
async fn joined(mut wire: Wire, message: Option<&[u8]>) -> io::Result<String> {
    loop {
        if let Some(message) = message {
            for _ in 0..32 {
                if wire.send(1, message).await.is_err() {
                    break;
                }
            }
        }
        // What came meanwhile is read, so that the server can say how it closes.
        loop {
            let frame = match message {
                Some(_) => match timeout(Duration::from_millis(1), wire.frame()).await {
                    Ok(frame) => frame,
                    Err(_) => break,
                },
                None => wire.frame().await,
            };
            match frame {
                Ok((Kind::Close, code)) => {
                    let code = code
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                    return Ok(format!("closed {code}"));
                }
                Ok(_) => {}
                Err(_) => return Ok("ended".to_owned()),
            }
        }
    }
}
