//! What cannot work is told, within its timeout, with what would be right, and without secrets.

mod common;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use common::{
    LONG, RELEASES, connect, core, count, jetstream, options, publish, quick, with_jetstream,
};
use fanfeed_broker::{ConnectError, Context, Drivers, Event, HandlerError, Message, SubscriberExt};
use fanfeed_nats::{Config, Mode, Tls};
use fanfeed_testkit::nats::Builder;
use fanfeed_testkit::refusal::{self, saying, says};
use fanfeed_testkit::server::free_port;
use fanfeed_testkit::{
    Authority, Line, NatsServer, Proxy, RedisServer, Release, Tally, assert_is, scenario,
    wait_until,
};
use futures_core::Stream;

fn refused(config: Config) -> ConnectError {
    let config = config.dial_timeout(Duration::from_secs(1));
    refusal::refused(Duration::from_secs(20), || {
        fanfeed_nats::connect(config, options())
    })
}

fn config(url: &str) -> Config {
    url.parse().unwrap()
}

#[test]
fn a_server_that_is_not_there() {
    let error = refused(Config::new("127.0.0.1", free_port()).user("ann", "hunter2"));
    assert_is!(error, ConnectError::Unreachable { .. });
    says(&error, &["127.0.0.1:"]);
}

#[test]
fn a_name_that_nobody_has() {
    let error = refused(Config::new("no-such-host.invalid", 4222));
    assert_is!(error, ConnectError::Unreachable { .. });
}

#[test]
fn one_of_two_servers_is_enough() {
    let server = NatsServer::start(Release::Old);
    let config = Config::new("127.0.0.1", free_port()).server("127.0.0.1", server.port());
    connect(config.mode(Mode::Core)).close(LONG).unwrap();
}

#[test]
fn a_server_that_does_not_answer() {
    let error = refused(Config::new("127.0.0.1", saying("").port()));
    assert_is!(error, ConnectError::Timeout { .. });
    let server = NatsServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    proxy.stall(true);
    let error = refused(config(&server.url_through(proxy.address())));
    assert_is!(error, ConnectError::Timeout { .. });
}

#[test]
fn a_server_of_another_kind() {
    let redis = RedisServer::start(Release::Old);
    let error = refused(Config::new("127.0.0.1", redis.address().port()).token("hunter2"));
    assert_is!(error, ConnectError::WrongProtocol(_));
    let http = saying("HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = refused(Config::new("127.0.0.1", http.port()));
    assert_is!(error, ConnectError::WrongProtocol(_));
    // Its answer is told although there is time left to connect.
    let patient = Config::new("127.0.0.1", redis.address().port()).dial_timeout(2 * LONG);
    let error = refusal::refused(LONG, || fanfeed_nats::connect(patient, options()));
    assert_is!(error, ConnectError::WrongProtocol(_));
}

#[test]
fn a_stream_that_cannot_be_made_is_refused_with_the_reason() {
    for release in RELEASES {
        let server = with_jetstream(release);
        let error = refused(config(&format!("{}?replicas=3", server.url())));
        says(&error, &["10074", "replicas"]);
    }
}

#[test]
fn a_server_that_is_too_old() {
    let old = saying(concat!(
        "INFO {\"server_id\":\"x\",\"version\":\"2.8.4\",\"max_payload\":1048576,\"headers\":true}\r\n",
        "PONG\r\n"
    ));
    let error = refused(Config::new("127.0.0.1", old.port()));
    assert_is!(error, ConnectError::TooOld { .. });
    let text = error.to_string();
    says(&text, &["2.8.4", "2.9"]);
}

#[test]
fn passwords_and_tokens() {
    for release in RELEASES {
        let server = NatsServer::builder(release)
            .part("authorization { user: ann, password: right }")
            .start();
        let good = Config::new("127.0.0.1", server.port()).mode(Mode::Core);
        for bad in [
            good.clone(),
            good.clone().user("ann", "hunter2"),
            good.clone().token("hunter2"),
        ] {
            let error = refused(bad);
            assert_is!(error, ConnectError::Denied(_));
        }
        connect(good.user("ann", "right")).close(LONG).unwrap();
        let server = NatsServer::builder(release)
            .part("authorization { token: \"right\" }")
            .start();
        let url = server.url().replace("nats://", "nats://right@");
        connect(config(&url).mode(Mode::Core)).close(LONG).unwrap();
        let error = refused(config(&server.url().replace("nats://", "nats://hunter2@")));
        assert_is!(error, ConnectError::Denied(_));
    }
}

/// A pair that was made for these tests.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

#[test]
fn nkeys() {
    let server = NatsServer::builder(Release::Old)
        .part(&format!(
            "authorization {{ users = [ {{ nkey: {PUBLIC} }} ] }}"
        ))
        .start();
    let file = server.folder().join("seed");
    std::fs::write(&file, format!("# a comment\n{SEED}\n")).unwrap();
    let url = format!("{}?mode=core&nkey={}", server.url(), file.display());
    connect(config(&url)).close(LONG).unwrap();
    let error = refused(config(&server.url()));
    assert_is!(error, ConnectError::Denied(_));
    for (name, text) in [("nkey", "nothing"), ("creds", "nothing")] {
        std::fs::write(&file, text).unwrap();
        let url = format!("{}?{name}={}", server.url(), file.display());
        let error = refused(config(&url));
        assert_is!(error, ConnectError::BadConfig(_));
        let error = refused(config(&format!("{}?{name}=/no/such/file", server.url())));
        says(&error, &["/no/such/file"]);
    }
}

#[test]
fn permissions() {
    let user = |name: &str, rules: &str| {
        format!("{{ user: {name}, password: hunter2, permissions: {{ {rules} }} }}")
    };
    let users = [
        user("writer", "publish: [\"_INBOX.>\"], subscribe: [\">\"]"),
        user("reader", "publish: [\">\"], subscribe: [\"_INBOX.>\"]"),
        user(
            "mute",
            "publish: [\"fanfeed.>\"], subscribe: [\"fanfeed.>\"]",
        ),
        user(
            "noapi",
            "publish: [\"_INBOX.>\", \"fanfeed.>\"], subscribe: [\">\"]",
        ),
    ];
    for release in RELEASES {
        let server = NatsServer::builder(release)
            .jetstream()
            .part(&format!(
                "authorization {{ users = [ {} ] }}",
                users.join(", ")
            ))
            .start();
        let user = |name: &str| core(&server).user(name, "hunter2");
        let error = connect(user("writer"))
            .publish_confirmed(Message::new("k", "x"), LONG)
            .unwrap_err();
        let text = error.to_string();
        says(&text, &["fanfeed.k.k", "allow the user to publish"]);
        let reader = connect(user("reader"));
        for subscribed in [
            reader.subscribe("k", |_, _| Ok(())),
            reader.subscribe_group("k", "g", |_, _| Ok(())),
        ] {
            let text = subscribed.map(drop).unwrap_err().to_string();
            says(&text, &["allow the user to subscribe"]);
        }
        // Others are not harmed.
        reader
            .publish_confirmed(Message::new("k", "x"), LONG)
            .unwrap();
        let error = refused(user("mute"));
        assert_is!(error, ConnectError::Denied(_));
        says(&error, &["_INBOX.>"]);
        let error = refused(user("noapi").mode(Mode::JetStream));
        assert_is!(error, ConnectError::Denied(_));
        says(&error, &["$JS.API.>"]);
    }
}

/// A server on which the user `ann` may do all but this.
fn denying(server: Builder, publish: &str, subscribe: &str) -> Builder {
    let rules = format!(
        "publish: {{ allow: \">\", deny: [{publish}] }}, subscribe: {{ allow: \">\", deny: [{subscribe}] }}"
    );
    server.part(&format!(
        "authorization {{ users = [ {{ user: ann, password: hunter2, permissions: {{ {rules} }} }} ] }}"
    ))
}

#[test]
fn a_subscription_of_core_that_is_no_longer_allowed_ends_and_others_go_on() {
    for release in RELEASES {
        let denying = |subject: &str| denying(NatsServer::builder(release), "", subject);
        let mut server = denying("").start();
        let broker = connect(core(&server).user("ann", "hunter2"));
        let plain = broker.subscribe("gone", |_, _| Ok(())).unwrap();
        let member = broker.subscribe_group("gone", "g", |_, _| Ok(())).unwrap();
        let tally = Arc::new(Tally::new(20));
        let _stays = broker.subscribe("stays", count(&tally)).unwrap();
        let mut events = broker.events();

        server.reload(denying("\"fanfeed.k.gone\""));
        for ended in [plain, member] {
            let ended = ended.into_subscription();
            let error = ended.err().recv_timeout(LONG).unwrap().to_string();
            says(&error, &["fanfeed.k.gone", "allow the user to subscribe"]);
        }
        publish(&broker, "stays", 0..10);
        tally.wait_for(10, LONG);
        let again = broker.subscribe("gone", |_, _| Ok(()));
        says(again.unwrap_err(), &["allow the user to subscribe"]);
        let is_gap = |event| matches!(event, Event::Gap { .. });
        assert!(!events.try_iter().any(is_gap));

        server.reload(denying(""));
        let _again = broker.subscribe("gone", count(&tally)).unwrap();
        publish(&broker, "gone", 10..20);
        tally.wait_complete(LONG);

        // Without the server's answers, the connection is of no use.
        server.reload(denying("\"_INBOX.>\""));
        scenario::disconnected(&mut events);
        server.reload(denying(""));
        wait_until("it is connected again", || broker.health().is_up());
    }
}

#[test]
fn a_subscription_to_a_stream_that_is_no_longer_allowed_ends_and_others_go_on() {
    for release in RELEASES {
        let denying =
            |subject: &str| denying(NatsServer::builder(release).jetstream(), subject, "");
        let mut server = denying("").start();
        let broker = connect(jetstream(&server).user("ann", "hunter2"));
        for (key, denied) in [
            ("one", "$JS.API.CONSUMER.MSG.NEXT.fanfeed.g@one"),
            ("two", "$JS.ACK.fanfeed.g@two.>"),
        ] {
            let (tally, all) = (Arc::new(Tally::new(2_000)), Arc::new(Tally::new(2_000)));
            let member = broker.subscribe_group(key, "g", |_, _| Ok(())).unwrap();
            let _stays = broker.subscribe_group(key, "h", count(&tally)).unwrap();

            server.reload(denying(&format!("\"{denied}\"")));
            // More than were asked for before.
            publish(&broker, key, 0..1_000);
            let ended = member.into_subscription();
            let error = ended.err().recv_timeout(LONG).unwrap().to_string();
            let subject = denied.trim_end_matches('>');
            says(&error, &[subject, "allow the user to publish"]);
            tally.wait_for(1_000, LONG);

            server.reload(denying(""));
            let _again = broker.subscribe_group(key, "g", count(&all)).unwrap();
            publish(&broker, key, 1_000..2_000);
            tally.wait_complete(LONG);
            // What it could not acknowledge comes again.
            let handled = if key == "two" { 2_000 } else { 1_000 };
            all.wait_for(handled, LONG);
        }
    }
}

#[test]
fn a_dead_letter_that_is_refused_is_reported() {
    for release in RELEASES {
        let denying = |subject| denying(NatsServer::builder(release).jetstream(), subject, "");
        let mut server = denying("\"fanfeed.d.>\"").start();
        let config = jetstream(&server).user("ann", "hunter2");
        let broker = connect(config.answer_timeout(2 * LONG));
        let reject = |_: &Message, _: &Context| Err(HandlerError::Reject);
        let _member = broker.subscribe_group("k", "g", reject).unwrap();
        let mut events = broker.events();
        publish(&broker, "k", 0..1);
        let reason = scenario::undecodable(&mut events);
        says(reason, &["not kept", "fanfeed.d.g.k", "allow the user"]);
        // The next one is kept, if it may be.
        server.reload(denying(""));
        publish(&broker, "k", 1..2);
        let options = async_nats::ConnectOptions::new();
        let options = options.user_and_password("ann".into(), "hunter2".into());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(options.connect(server.url())).unwrap();
        let info = "$JS.API.STREAM.INFO.fanfeed=dead";
        wait_until("the next one is kept", || {
            let answer = runtime.block_on(client.request(info, "".into())).unwrap();
            let answer = String::from_utf8(answer.payload.to_vec()).unwrap();
            answer.contains("\"messages\":1")
        });
        let is_bad = |event| {
            matches!(
                event,
                Event::Undecodable { .. } | Event::Disconnected { .. }
            )
        };
        assert!(!events.try_iter().any(is_bad));
    }
}

/// The server gives the message to another member while the first one is cut off.
#[test]
fn a_refused_dead_letter_is_not_counted_by_a_member_whose_claim_lapsed() {
    for release in RELEASES {
        let builder = NatsServer::builder(release).jetstream();
        let server = denying(builder, "\"fanfeed.d.>\"", "").start();
        let proxy = Proxy::start(server.address());
        let member = |url: &str| {
            let config = quick(url).user("ann", "hunter2");
            connect(config.answer_timeout(2 * LONG))
        };
        let cut_off = member(&server.url_through(proxy.address()));
        let other = member(&server.url());
        let options = async_nats::ConnectOptions::new();
        let options = options.user_and_password("ann".into(), "hunter2".into());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(options.connect(server.url())).unwrap();
        let subscribed = client.subscribe("$JS.ACK.fanfeed.>");
        let mut outcomes = runtime.block_on(subscribed).unwrap();
        runtime.block_on(client.flush()).unwrap();
        let mut outcome = || {
            let next = poll_fn(|context| Pin::new(&mut outcomes).poll_next(context));
            let next = async { tokio::time::timeout(LONG, next).await };
            let next = runtime.block_on(next).unwrap().unwrap();
            (next.subject.to_string(), next.payload)
        };

        let (begin, begun) = crossbeam_channel::bounded::<()>(1);
        let (go, gate) = crossbeam_channel::bounded::<()>(0);
        let reject = move |_: &Message, _: &Context| {
            let _ = begin.try_send(());
            let _ = gate.recv();
            Err(HandlerError::Reject)
        };
        let _first = cut_off.subscribe_group("k", "g", reject).unwrap();
        publish(&other, "k", 0..1);
        begun.recv_timeout(LONG).unwrap();
        proxy.refuse(true);
        proxy.cut();
        let tally = Arc::new(Tally::new(1));
        let _second = other.subscribe_group("k", "g", count(&tally)).unwrap();
        tally.wait_complete(LONG);
        let of_second = |subject: &str| subject.starts_with("$JS.ACK.fanfeed.g@k.2.");
        while !of_second(&outcome().0) {}

        let mut events = cut_off.events();
        proxy.refuse(false);
        let of_first = |subject: &str| subject.starts_with("$JS.ACK.fanfeed.g@k.1.");
        wait_until("the first member tells that it is at work again", || {
            let (subject, what) = outcome();
            of_first(&subject) && what == "+WPI"
        });
        drop(go);
        wait_until("it gives the message up", || cut_off.stats().given_up == 1);
        // It counts the next letter, and its outcome comes after that of the first letter.
        let reject = |_: &Message, _: &Context| Err(HandlerError::Reject);
        let _next = cut_off.subscribe_group("next", "g", reject).unwrap();
        publish(&other, "next", 0..1);
        let key = scenario::event(&mut events, |event| match event {
            Event::Undecodable { key, .. } => Some(key.clone()),
            _ => None,
        });
        assert_eq!(key.as_str(), "next");
        let over = std::iter::repeat_with(outcome).find(|(_, what)| what == "+TERM");
        let (subject, _) = over.unwrap();
        assert!(subject.starts_with("$JS.ACK.fanfeed.g@next."), "{subject}");
        assert_eq!(cut_off.stats().dead_letters_lost, 1);
    }
}

#[test]
fn a_server_without_jetstream() {
    for release in RELEASES {
        let server = NatsServer::start(release);
        let text = refused(jetstream(&server)).to_string();
        says(&text, &["-js", "mode=core"]);
    }
}

#[test]
fn streams_that_others_made() {
    let server = NatsServer::builder(Release::Old).jetstream().start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(async_nats::connect(server.url())).unwrap();
    let make = |name: &str, more: &str| {
        let body = format!("{{\"name\":\"{name}\",\"storage\":\"memory\"{more}}}");
        let subject = format!("$JS.API.STREAM.CREATE.{name}");
        let made = runtime.block_on(client.request(subject, body.into()));
        let made = String::from_utf8(made.unwrap().payload.to_vec()).unwrap();
        assert!(!made.contains("error"), "{made}");
    };
    make("one", ",\"subjects\":[\"other.>\"]");
    make(
        "two",
        ",\"subjects\":[\"two.k.>\"],\"retention\":\"workqueue\"",
    );
    make("three", ",\"subjects\":[\"four.>\"]");
    for (prefix, part) in [
        ("one", "lack `one.k.>`"),
        ("two", "workqueue"),
        ("four", "JetStream refused"),
    ] {
        let error = refused(jetstream(&server).prefix(prefix));
        says(&error, &[part]);
    }
}

#[test]
fn what_is_too_large_for_the_server() {
    for mode in [Mode::Core, Mode::JetStream] {
        let server = NatsServer::builder(Release::New)
            .jetstream()
            .part("max_payload: 1000")
            .start();
        let broker = connect(quick(&server.url()).mode(mode));
        let large = Message::new("k", vec![0; 2_000]);
        let error = broker.publish_confirmed(large, LONG).unwrap_err();
        says(&error, &["max_payload"]);
        broker
            .publish_confirmed(Message::new("k", "x"), LONG)
            .unwrap();
    }
}

#[test]
fn urls() {
    let drivers = || Drivers::new().with(fanfeed_nats::driver());
    let error = drivers()
        .connect("nats://u:hunter2@localhost/x")
        .map(drop)
        .unwrap_err();
    assert_is!(error, ConnectError::BadUrl(_));
    let error = drivers()
        .connect("http://u:hunter2@localhost")
        .map(drop)
        .unwrap_err();
    assert_is!(error, ConnectError::UnknownScheme { .. });
}

fn tls_server(release: Release, authority: &Authority, verify: bool) -> NatsServer {
    let identity = authority.server(&["127.0.0.1", "localhost"]);
    NatsServer::builder(release)
        .part(&format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: {verify} }}",
            identity.certificate.display(),
            identity.key.display(),
            authority.certificate().display()
        ))
        .start()
}

fn tls_url(server: &NatsServer) -> String {
    server.url().replace("nats://", "tls://")
}

#[test]
fn tls() {
    let authority = Authority::new("fanfeed tests");
    for release in RELEASES {
        let server = tls_server(release, &authority, false);
        let trusted = || Tls::new().authority(authority.certificate());
        let with = |tls| core(&server).tls(tls);
        connect(with(trusted()))
            .publish_confirmed(Message::new("k", "x"), LONG)
            .unwrap();
        let stranger = Authority::new("another one");
        for bad in [
            with(Tls::new().authority(stranger.certificate())),
            with(Tls::new()),
            // A server that asks for TLS gets it.
            core(&server),
        ] {
            let error = refused(bad);
            assert_is!(error, ConnectError::Tls(_));
        }
        let error = refused(with(Tls::new().authority("/no/such/file")));
        says(&error, &["/no/such/file"]);
        let plain = NatsServer::start(release);
        let error = refused(core(&plain).tls(trusted()));
        assert_is!(error, ConnectError::Tls(_));
        says(&error, &["nats://"]);
    }
}

#[test]
fn client_certificates() {
    let authority = Authority::new("fanfeed tests");
    for release in RELEASES {
        let server = tls_server(release, &authority, true);
        let client = authority.client("worker");
        let url = format!(
            "{}?mode=core&ca={}&cert={}&key={}",
            tls_url(&server),
            authority.certificate().display(),
            client.certificate.display(),
            client.key.display()
        );
        connect(config(&url))
            .publish_confirmed(Message::new("k", "x"), LONG)
            .unwrap();
        let tls = || Tls::new().authority(authority.certificate());
        let error = refused(core(&server).tls(tls()));
        assert_is!(error, ConnectError::Tls(_));
        let another = Authority::new("another one");
        let stranger = another.client("stranger");
        let error =
            refused(core(&server).tls(tls().identity(&stranger.certificate, &stranger.key)));
        assert_is!(error, ConnectError::Tls(_));
    }
}
