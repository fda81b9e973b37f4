//! The proxy imitates the faults of networks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use fanfeed_testkit::proxy::{Line, Way};
use fanfeed_testkit::{Proxy, wait_until};

/// Starts a server that sends back the data that it gets, and closes a connection when its client
/// does.
fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn client(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

fn ask(stream: &mut TcpStream, word: &[u8]) {
    stream.write_all(word).unwrap();
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, word);
}

/// Whether the connection is closed from the other side.
fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

#[test]
fn bytes_pass_both_ways_and_are_counted() {
    let proxy = Proxy::start(echo());
    let mut stream = client(&proxy);
    ask(&mut stream, b"hello");
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
    wait_until("both ways are counted", || {
        proxy.passed(Way::ToServer) == 5 && proxy.passed(Way::ToBroker) == 5
    });
    drop(stream);
    wait_until("the connection is forgotten", || proxy.open() == 0);
}

#[test]
fn a_cut_closes_what_is_open_and_accepts_anew() {
    let proxy = Proxy::start(echo());
    let mut stream = client(&proxy);
    ask(&mut stream, b"before");
    proxy.cut();
    assert!(is_closed(&mut stream));
    ask(&mut client(&proxy), b"after");
}

#[test]
fn refused_connections_are_closed_at_once() {
    let proxy = Proxy::start(echo());
    proxy.refuse(true);
    assert!(is_closed(&mut client(&proxy)));
    proxy.refuse(false);
    ask(&mut client(&proxy), b"again");
}

#[test]
fn a_server_that_is_away_closes_the_connection() {
    let nobody = fanfeed_testkit::server::free_port();
    let proxy = Proxy::start(([127, 0, 0, 1], nobody).into());
    assert!(is_closed(&mut client(&proxy)));
}

#[test]
fn a_delay_holds_each_way() {
    let proxy = Proxy::start(echo());
    proxy.delay(Duration::from_millis(50));
    let started = Instant::now();
    ask(&mut client(&proxy), b"slow");
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_stalled_proxy_passes_nothing_until_it_goes_on() {
    let proxy = Proxy::start(echo());
    let mut stream = client(&proxy);
    ask(&mut stream, b"before");
    proxy.stall(true);
    stream.write_all(b"held").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(stream.read(&mut [0; 4]).is_err());
    assert_eq!(proxy.open(), 1);
    proxy.stall(false);
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"held");
}

#[test]
fn half_a_connection_can_be_closed() {
    // The server reads to the end and then answers, so the way back still has to be open.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        stream.write_all(b"answer").unwrap();
        text
    });
    let mut stream = client(&proxy);
    stream.write_all(b"question").unwrap();
    wait_until("the question passed", || proxy.passed(Way::ToServer) == 8);
    proxy.half_close(Way::ToServer);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    assert_eq!(server.join().unwrap(), b"question");
}

#[test]
fn a_client_may_close_its_half() {
    let proxy = Proxy::start(echo());
    let mut stream = client(&proxy);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"last words");
}

#[test]
fn a_dropped_proxy_leaves_nothing_open() {
    let proxy = Proxy::start(echo());
    let address = proxy.address();
    let mut stream = client(&proxy);
    ask(&mut stream, b"before");
    proxy.stall(true);
    stream.write_all(b"held").unwrap();
    drop(proxy);
    assert!(is_closed(&mut stream));
    assert!(TcpStream::connect(address).is_err());
}
