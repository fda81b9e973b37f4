//! What the example serves beside its channels, and what it says of a wrong command line.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::example::{Board, SPEED, command};

/// The head and the body of the answer to a GET.
fn get(board: &Board, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(board.address()).expect("it listens");
    let limited = stream.set_read_timeout(Some(Duration::from_secs(60)));
    limited.expect("a socket can have a timeout");
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        board.address()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("it answers in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_page_is_one_file_that_asks_for_nothing_from_outside() {
    let board = Board::start(&["--speed", SPEED]);
    let (head, page) = get(&board, "");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/html"), "{head}");
    // The name space of SVG is a name, and not an address.
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn the_airports_are_served_busiest_first() {
    let board = Board::start(&["--speed", SPEED]);
    let (head, body) = get(&board, "board.json");
    assert!(head.contains("application/json"), "{head}");
    let data: Value = serde_json::from_str(&body).expect("it is JSON");
    let airports = data["airports"].as_array().expect("a list");
    assert_eq!(airports.len(), 224);
    assert_eq!(airports[0][0], "ORD");
    let flights: Vec<_> = airports.iter().map(|one| one[5].as_u64()).collect();
    assert!(flights.is_sorted_by(|a, b| a >= b), "{flights:?}");
    // A flight has two airports.
    assert_eq!(flights.iter().flatten().sum::<u64>(), 2 * 20_000);
}

/// What the example says about a command line that is wrong.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let mut child = command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut ended = None;
    for _ in 0..2000 {
        ended = child.try_wait().expect("it is a child");
        if ended.is_some() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("it is piped");
    stderr.read_to_string(&mut said).expect("UTF-8");
    let ended = ended.unwrap_or_else(|| panic!("{arguments:?} was taken: {said}"));
    assert!(!ended.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn a_wrong_command_line_is_told_what_would_be_right() {
    assert!(refused(&["--speed", "0"]).contains("above 0"));
    assert!(refused(&["--speed", "fast"]).contains("above 0"));
    assert!(refused(&["--listen", "here"]).contains("127.0.0.1:8080"));
}

#[test]
fn a_port_that_is_taken_is_told() {
    let board = Board::start(&["--speed", SPEED]);
    let said = refused(&["--listen", &board.address()]);
    assert!(said.contains(&board.address()), "{said}");
}

/// Far more events are due than a timer has ticks.
#[test]
fn the_replay_keeps_up_and_leaves_nothing_out() {
    let board = Board::start(&["--speed", "500000"]);
    let url = format!("ws://{}/ws/ORD", board.address());
    let (mut socket, _) = tungstenite::connect(url).expect("it listens");
    let started = Instant::now();
    let mut last = None;
    loop {
        let text = socket.read().expect("messages come");
        let Ok(message) = serde_json::from_str::<Value>(text.to_text().unwrap_or_default()) else {
            continue;
        };
        let due = match message["type"].as_str() {
            Some("departed") => &message["body"]["off"],
            Some("arrived") => &message["body"]["on"],
            _ => continue,
        };
        let number = message["body"]["seq"].as_u64().expect("a number");
        if let Some(last) = last.replace(number) {
            assert_eq!(number, last + 1, "after {:?}", started.elapsed());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("the clock is right").as_secs_f64();
        let late = now - due.as_f64().expect("a time") / 1e3;
        if started.elapsed() > Duration::from_secs(5) && late < 1.0 {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{late} s late"
        );
    }
}
