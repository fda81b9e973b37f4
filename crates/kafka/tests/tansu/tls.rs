//! TLS and SCRAM, over Tansu. The mock cluster has neither, and Tansu asks no client for a certificate: a front ends the
//! encryption before it.

use fanfeed_broker::driver::Tls;
use fanfeed_broker::{ConnectError, Drivers, Message, SubscriberExt};
use fanfeed_kafka::{Config, Mechanism};
use fanfeed_testkit::refusal::{SECRET, saying, says};
use fanfeed_testkit::{Authority, KafkaServer, TlsFront, assert_is};

use crate::common::{Cluster, LONG, connect, quick};
use crate::{refused, works};

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
    works(&server.config(trusted()), 500);

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
    works(&quick(&url), 500);
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
    let refuses = |url: &str| {
        let url = url.replace("kafka:", "kafkas:");
        let error = refused(quick(&url).tls(Tls::new().authority(authority.certificate())));
        assert_is!(error, ConnectError::Tls(_));
        says(&error, &["kafka:// instead of kafkas://"]);
    };
    // It waits for the rest of a long request.
    refuses(&KafkaServer::start().url());
    // It closes the connection.
    refuses(&Cluster::start(1).url());
    // It says something else.
    let address = saying("HTTP/1.1 400 Bad Request\r\n\r\n");
    refuses(&format!("kafka://{address}"));
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
