//! Servers start, can be killed, and restart with their data.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use fanfeed_testkit::{Authority, NatsServer, RedisServer, Release, wait_until};

const RELEASES: [Release; 2] = [Release::Old, Release::New];

/// The first line of the answer.
fn redis(server: &RedisServer, command: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

#[test]
fn redis_answers() {
    for release in RELEASES {
        let mut server = RedisServer::start(release);
        assert_eq!(redis(&server, "PING"), "+PONG");
        assert!(server.url().starts_with("redis://127.0.0.1:"));
        assert!(server.is_running() && server.folder().is_dir());
    }
}

#[test]
fn redis_keeps_what_it_appended_when_it_is_killed() {
    for release in RELEASES {
        let mut server = RedisServer::builder(release).append_only().start();
        let address = server.address();
        assert_eq!(redis(&server, "SET key value"), "+OK");
        server.kill();
        assert!(!server.is_running() && TcpStream::connect(address).is_err());
        server.restart();
        assert_eq!(server.address(), address);
        assert_eq!(redis(&server, "STRLEN key"), ":5");
    }
}

#[test]
fn redis_without_a_file_forgets() {
    let mut server = RedisServer::start(Release::Old);
    assert_eq!(redis(&server, "SET key value"), "+OK");
    server.stop();
    server.restart();
    assert_eq!(redis(&server, "EXISTS key"), ":0");
}

#[test]
fn a_password_is_asked_for_and_stands_in_the_url() {
    let server = RedisServer::builder(Release::New)
        .password("s3cret")
        .start();
    assert!(redis(&server, "PING").starts_with("-NOAUTH"));
    assert!(server.url().contains(":s3cret@"));
}

#[test]
fn a_paused_server_answers_when_it_goes_on() {
    let server = RedisServer::start(Release::Old);
    server.pause();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(stream.read(&mut [0]).is_err());
    server.resume();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG");
}

#[test]
fn a_dropped_server_is_gone_with_its_folder() {
    let server = RedisServer::start(Release::Old);
    let (address, folder) = (server.address(), server.folder().to_owned());
    drop(server);
    assert!(TcpStream::connect(address).is_err());
    assert!(!Path::new(&folder).exists());
}

#[test]
fn redis_speaks_tls_with_a_certificate_of_the_authority() {
    let authority = Authority::new("fanfeed tests");
    let client = authority.client("worker");
    let server = RedisServer::builder(Release::Old)
        .tls(&authority, true)
        .start();
    assert!(server.url().starts_with("rediss://"));
    for file in [authority.certificate(), &client.certificate, &client.key] {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.starts_with("-----BEGIN "), "{}", file.display());
    }
    // The server does not answer without TLS: it waits for a handshake, and closes the connection.
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"+PONG"));
}

#[test]
fn a_configuration_that_is_refused_is_told_with_what_the_server_said() {
    let failed = std::panic::catch_unwind(|| {
        RedisServer::builder(Release::Old)
            .line("maxmemory-policy nonsense")
            .start()
    });
    let message = failed.err().unwrap().downcast::<String>().unwrap();
    assert!(
        message.contains("redis did not start") && message.contains("maxmemory-policy nonsense"),
        "{message}"
    );
}

fn nats(server: &NatsServer) -> String {
    let stream = TcpStream::connect(server.address()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn nats_answers_and_comes_back() {
    for release in RELEASES {
        let mut server = NatsServer::builder(release).jetstream().start();
        assert!(nats(&server).contains("\"jetstream\":true"));
        server.kill();
        wait_until("the port is closed", || {
            TcpStream::connect(server.address()).is_err()
        });
        server.restart();
        assert!(nats(&server).starts_with("INFO "));
        assert!(server.url().starts_with("nats://127.0.0.1:"));
    }
    let plain = NatsServer::start(Release::Old);
    assert!(!nats(&plain).contains("\"jetstream\":true"));
}
