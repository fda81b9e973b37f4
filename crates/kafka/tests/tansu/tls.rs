//! TLS and SCRAM, over Tansu. The mock cluster has neither, and Tansu asks no client for a
//! certificate: a front ends the encryption before it.

use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use fanfeed_broker::driver::Tls;
use fanfeed_broker::{ConnectError, Drivers, Message, SubscriberExt};
use fanfeed_kafka::{Config, Mechanism};
use fanfeed_testkit::refusal::{SECRET, saying, says};
use fanfeed_testkit::{Authority, KafkaServer, TlsFront, assert_is};

use crate::common::{LONG, connect, options, quick};
use crate::sasl::{Guard, USER};
use crate::{refused, refused_within, works};

/// A front, and the server behind it.
struct Encrypted {
    front: TlsFront,
    _server: KafkaServer,
}

impl Encrypted {
    fn start(authority: &Authority, name: &str, verify: bool) -> Self {
        let front = TlsFront::new(authority, &[name], verify);
        let server = KafkaServer::behind(&front);
        Encrypted {
            front,
            _server: server,
        }
    }

    fn url(&self) -> String {
        format!("kafkas://localhost:{}", self.front.address().port())
    }

    fn config(&self, tls: Tls) -> Config {
        quick(&self.url()).tls(tls)
    }

    #[track_caller]
    fn refuses(&self, tls: Tls, parts: &[&str]) {
        let error = refused(self.config(tls));
        assert_is!(error, ConnectError::Tls(_));
        says(&error, parts);
    }
}

#[test]
fn a_private_authority() {
    let authority = Authority::new("fanfeed tests");
    let server = Encrypted::start(&authority, "localhost", false);
    let trusted = || Tls::new().authority(authority.certificate());
    works(&server.config(trusted()), "chat.42", 500);

    let stranger = Authority::new("another one");
    let untrusted = ["authority that is not trusted", "`ca`"];
    server.refuses(Tls::new().authority(stranger.certificate()), &untrusted);
    // The authorities of the system.
    server.refuses(Tls::new(), &untrusted);

    let plain = server.url().replace("kafkas:", "kafka:");
    let error = refused(quick(&plain));
    assert_is!(error, ConnectError::WrongProtocol(_));
    says(&error, &["wants TLS (kafkas://)"]);
}

#[test]
fn a_certificate_for_another_name() {
    let authority = Authority::new("fanfeed tests");
    let server = Encrypted::start(&authority, "elsewhere.example", false);
    let trusted = Tls::new().authority(authority.certificate());
    server.refuses(trusted, &["for another name"]);
}

#[test]
fn client_certificates() {
    let authority = Authority::new("fanfeed tests");
    let server = Encrypted::start(&authority, "localhost", true);
    let client = authority.client("worker");
    let url = format!(
        "{}?ca={}&cert={}&key={}",
        server.url(),
        authority.certificate().display(),
        client.certificate.display(),
        client.key.display()
    );
    works(&quick(&url), "chat.42", 500);
    // The batches and the intervals of a broker that is chosen by its URL.
    let broker = Drivers::new()
        .with(fanfeed_kafka::driver())
        .connect(&url)
        .unwrap();
    broker
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap();

    let trusted = || Tls::new().authority(authority.certificate());
    let wanted = ["asks for a certificate", "`cert` and `key`"];
    server.refuses(trusted(), &wanted);
    let another = Authority::new("another one");
    let stranger = another.client("stranger");
    server.refuses(
        trusted().identity(&stranger.certificate, &stranger.key),
        &wanted,
    );
}

#[test]
fn connections_that_break_are_made_again() {
    let authority = Authority::new("fanfeed tests");
    let server = Encrypted::start(&authority, "localhost", false);
    let broker = connect(server.config(Tls::new().authority(authority.certificate())));
    let (sender, receiver) = crossbeam_channel::unbounded();
    let _member = broker
        .subscribe_group("k", "g", move |message, _| {
            Ok(sender.send(message.payload().clone())?)
        })
        .unwrap();
    for number in 0..3 {
        let payload = format!("{number}");
        broker.publish(Message::new("k", payload.clone())).unwrap();
        assert_eq!(receiver.recv_timeout(LONG).unwrap(), payload.as_bytes());
        server.front.cut();
    }
    broker.close(LONG).unwrap();
}

/// At the end of a process, OpenSSL frees what its threads use, unless it was told not to before it
/// was used.
#[test]
fn a_process_may_end_while_it_connects() {
    const URL: &str = "FANFEED_TLS_URL";
    const TEST: &str = "tls::a_process_may_end_while_it_connects";
    if let Ok(url) = std::env::var(URL) {
        end_while_it_connects(&url);
    }
    let authority = Authority::new("fanfeed tests");
    let server = Encrypted::start(&authority, "localhost", false);
    let url = format!("{}?ca={}", server.url(), authority.certificate().display());
    let started = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(URL, &url)
        .status();
    assert_eq!(child.unwrap().code(), Some(0));
    // What uses OpenSSL after its end can also hang, for 20 s.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(18), "{took:?}");
}

fn end_while_it_connects(url: &str) -> ! {
    extern "C" fn goes_on() {
        thread::sleep(Duration::from_millis(300));
    }
    unsafe extern "C" {
        fn atexit(function: extern "C" fn()) -> std::ffi::c_int;
    }
    // SAFETY: the function takes nothing and does not unwind. What is registered first is called
    // last, after OpenSSL.
    assert_eq!(unsafe { atexit(goes_on) }, 0);
    let (connected, connections) = crossbeam_channel::unbounded();
    for _ in 0..2 {
        let (url, connected) = (url.to_owned(), connected.clone());
        thread::spawn(move || {
            loop {
                // An error after the end of OpenSSL is no harm.
                let broker = fanfeed_kafka::connect(quick(&url), options());
                let _ = connected.send(broker.map(drop));
            }
        });
    }
    connections.recv_timeout(LONG).unwrap().unwrap();
    std::process::exit(0)
}

#[test]
fn files_that_cannot_be_used() {
    let authority = Authority::new("fanfeed tests");
    let (one, other) = (authority.client("one"), authority.client("other"));
    // Nobody is asked: the client cannot be made.
    let refuses = |tls: Tls, parts: &[&str]| {
        let error = refused(quick("kafkas://localhost:1").tls(tls));
        assert_is!(error, ConnectError::Tls(_));
        says(&error, parts);
    };
    let trusted = || Tls::new().authority(authority.certificate());
    let missing = "/no/such/file";
    let named = |name: &'static str| [missing, name, "PEM file"];
    refuses(Tls::new().authority(missing), &named("`ca`"));
    refuses(trusted().identity(missing, &one.key), &named("`cert`"));
    refuses(
        trusted().identity(&one.certificate, missing),
        &named("`key`"),
    );
    refuses(
        trusted().identity(&one.certificate, &other.key),
        &["private key of the certificate"],
    );
}

#[test]
fn servers_without_tls() {
    let authority = Authority::new("fanfeed tests");
    let refuses = |url: &str, timeout| {
        let url = url.replace("kafka:", "kafkas:");
        let config = quick(&url).tls(Tls::new().authority(authority.certificate()));
        let error = refused_within(config, timeout);
        assert_is!(error, ConnectError::Tls(_));
        says(&error, &["kafka:// instead of kafkas://"]);
    };
    // It waits for the rest of a long request.
    refuses(&KafkaServer::start().url(), Duration::from_secs(5));
    let long = Duration::from_secs(10);
    // It closes the connection.
    let closing = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = closing.local_addr().unwrap();
    thread::spawn(move || closing.incoming().for_each(drop));
    refuses(&format!("kafka://{address}"), long);
    // It says something else.
    let address = saying("HTTP/1.1 400 Bad Request\r\n\r\n");
    refuses(&format!("kafka://{address}"), long);
}

#[test]
fn scram_refuses_a_user_that_it_does_not_know() {
    let server = KafkaServer::without_users();
    let open = KafkaServer::start();
    for (mechanism, name) in [
        (Mechanism::ScramSha256, "SCRAM-SHA-256"),
        (Mechanism::ScramSha512, "SCRAM-SHA-512"),
    ] {
        let config = |url: &str| quick(url).user("ann", SECRET).mechanism(mechanism);
        let error = refused(config(&server.url()));
        assert_is!(error, ConnectError::Denied(_));
        says(&error, &["unknown-user"]);
        // A server without passwords has no mechanism.
        let error = refused(config(&open.url()));
        assert_is!(error, ConnectError::Denied(_));
        says(&error, &["Unsupported SASL mechanism", name]);
    }
}

/// The server's side of SCRAM (RFC 5802, RFC 7677).
pub(crate) struct Scram {
    digest: &'static ring::digest::Algorithm,
    hmac: ring::hmac::Algorithm,
    pbkdf2: ring::pbkdf2::Algorithm,
    /// The client's first message and the answer.
    said: Option<String>,
}

impl Scram {
    pub(crate) fn new(name: &str) -> Self {
        use ring::{digest, hmac, pbkdf2};
        let (digest, hmac, pbkdf2) = match name {
            "SCRAM-SHA-256" => (
                &digest::SHA256,
                hmac::HMAC_SHA256,
                pbkdf2::PBKDF2_HMAC_SHA256,
            ),
            "SCRAM-SHA-512" => (
                &digest::SHA512,
                hmac::HMAC_SHA512,
                pbkdf2::PBKDF2_HMAC_SHA512,
            ),
            name => panic!("{name}"),
        };
        Scram {
            digest,
            hmac,
            pbkdf2,
            said: None,
        }
    }

    /// The answer, and whether the client is signed in; `None` if it is refused.
    pub(crate) fn step(&mut self, said: &str) -> Option<(String, bool)> {
        const SALT: &[u8] = b"sea";
        // A server has thousands. Here they would take half of the test's time.
        const ROUNDS: u32 = 16;
        let Some(before) = self.said.take() else {
            let bare = said.strip_prefix("n,,")?;
            let nonce = bare.strip_prefix(&format!("n={USER},r="))?;
            let answer = format!("r={nonce}more,s={},i={ROUNDS}", base64(SALT));
            self.said = Some(format!("{bare},{answer}"));
            return Some((answer, false));
        };
        let (last, proof) = said.rsplit_once(",p=")?;
        let all = format!("{before},{last}");
        let sign = |key: &[u8], text: &[u8]| {
            let key = ring::hmac::Key::new(self.hmac, key);
            ring::hmac::sign(&key, text).as_ref().to_vec()
        };
        let mut salted = vec![0; self.digest.output_len()];
        let rounds = ROUNDS.try_into().unwrap();
        ring::pbkdf2::derive(self.pbkdf2, rounds, SALT, SECRET.as_bytes(), &mut salted);
        let key = sign(&salted, b"Client Key");
        let stored = ring::digest::digest(self.digest, &key);
        let signature = sign(stored.as_ref(), all.as_bytes());
        let right: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server = sign(&sign(&salted, b"Server Key"), all.as_bytes());
        (proof == base64(&right)).then(|| (format!("v={}", base64(&server)), true))
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes(three);
        for at in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[test]
fn the_right_password_is_let_in_over_tls() {
    let authority = Authority::new("fanfeed tests");
    let front = TlsFront::new(&authority, &["localhost"], false);
    let guard = Guard::new();
    let server = KafkaServer::known_as(front.address().port());
    front.serve(guard.address());
    guard.serve(server.address());
    let url = format!("kafkas://localhost:{}", front.address().port());
    let with = |password: &str, mechanism| {
        let tls = Tls::new().authority(authority.certificate());
        quick(&url)
            .tls(tls)
            .user(USER, password)
            .mechanism(mechanism)
    };
    works(&with(SECRET, Mechanism::ScramSha512), "chat.42", 200);
    for mechanism in [
        Mechanism::Plain,
        Mechanism::ScramSha256,
        Mechanism::ScramSha512,
    ] {
        connect(with(SECRET, mechanism))
            .publish_confirmed(Message::new("k", "x"), LONG)
            .unwrap();
        let error = refused(with("mistaken", mechanism));
        assert_is!(error, ConnectError::Denied(_));
        says(&error, &["wrong password"]);
    }
}
