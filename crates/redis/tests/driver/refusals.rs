//! What cannot work is told, within its timeout, with what would be right, and without secrets.

use std::time::Duration;

use crate::common::{Foreign, LONG, RELEASES, connect, options};
use fanfeed_broker::{ConnectError, Drivers, Message, SubscriberExt};
use fanfeed_redis::Config;
#[cfg(feature = "tls")]
use fanfeed_redis::Tls;
#[cfg(feature = "tls")]
use fanfeed_testkit::Authority;
use fanfeed_testkit::refusal::{self, saying, says};
use fanfeed_testkit::server::free_port;
use fanfeed_testkit::{Line, NatsServer, Proxy, RedisServer, Release, assert_is};

fn refused(config: Config) -> ConnectError {
    let config = config.dial_timeout(Duration::from_secs(1));
    refusal::refused(Duration::from_secs(20), || {
        fanfeed_redis::connect(config, options())
    })
}

fn config(url: &str) -> Config {
    url.parse().unwrap()
}

#[test]
fn a_server_that_is_not_there() {
    let error = refused(Config::new("127.0.0.1", free_port()).password("hunter2"));
    assert_is!(error, ConnectError::Unreachable { .. });
    says(&error, &["127.0.0.1:"]);
}

#[test]
fn a_name_that_nobody_has() {
    let error = refused(Config::new("no-such-host.invalid", 6379));
    assert_is!(error, ConnectError::Unreachable { .. });
}

#[test]
fn a_server_that_does_not_answer() {
    let error = refused(Config::new("127.0.0.1", saying("").port()));
    assert_is!(error, ConnectError::Timeout { .. });
}

#[test]
fn a_paused_server_through_a_stalled_proxy() {
    let server = RedisServer::start(Release::Old);
    let proxy = Proxy::start(server.address());
    proxy.stall(true);
    let error = refused(config(&server.url_through(proxy.address())));
    assert_is!(error, ConnectError::Timeout { .. });
}

#[test]
fn a_server_of_another_kind() {
    let nats = NatsServer::start(Release::Old);
    let error = refused(Config::new("127.0.0.1", nats.address().port()).password("hunter2"));
    assert_is!(error, ConnectError::WrongProtocol(_));

    let http = saying("HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = refused(Config::new("127.0.0.1", http.port()));
    assert_is!(error, ConnectError::WrongProtocol(_));
}

#[test]
fn a_server_that_greets_as_an_old_one() {
    let greeting = "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n6.0.9\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:3\r\n\
                    $4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
    for answer in [greeting, "-ERR unknown command `HELLO`, with args\r\n"] {
        let error = refused(Config::new("127.0.0.1", saying(answer).port()));
        assert_is!(error, ConnectError::TooOld { .. });
        says(&error, &["Redis 7.0"]);
        assert!(
            !error.to_string().contains("the server is a server"),
            "{error}"
        );
    }
}

#[test]
fn a_cluster() {
    for release in RELEASES {
        let server = RedisServer::builder(release)
            .line("cluster-enabled yes")
            .start();
        let error = refused(config(&server.url()));
        assert_is!(error, ConnectError::Failed(_));
        says(&error, &["cluster", "not supported"]);
    }
}

#[test]
fn passwords() {
    for release in RELEASES {
        let server = RedisServer::builder(release).password("right").start();
        let port = server.address().port();
        let error = refused(Config::new("127.0.0.1", port).password("hunter2"));
        says(&error, &["WRONGPASS"]);
        let error = refused(
            Config::new("127.0.0.1", port)
                .user("ann")
                .password("hunter2"),
        );
        assert_is!(error, ConnectError::Denied(_));
        let error = refused(Config::new("127.0.0.1", port));
        says(&error, &["asks for a password"]);
        connect(config(&server.url())).close(LONG).unwrap();
    }
}

#[test]
fn databases() {
    let server = RedisServer::start(Release::Old);
    let error = refused(config(&server.url()).database(99));
    says(&error, &["most servers have 0 to 15"]);
    let broker = connect(config(&server.url()).database(3));
    broker
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap();
    let other = connect(config(&server.url()).database(4));
    let mut foreign = Foreign::new(&server);
    let () = foreign.run("SELECT 3");
    assert_eq!(foreign.run::<usize>("XLEN fanfeed:s:{k}"), 1);
    drop(other);
}

#[test]
fn permissions() {
    let server = RedisServer::builder(Release::Old)
        .line("user writer on >hunter2 ~fanfeed:* +@all -xadd")
        .line("user reader on >hunter2 ~fanfeed:* +@all -xinfo")
        .line("user elsewhere on >hunter2 ~other:* +@all")
        .start();
    let user = |name: &str| config(&server.url()).user(name).password("hunter2");
    let broker = connect(user("writer"));
    let error = broker
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap_err();
    says(&error, &["NOPERM", "give the user XADD"]);
    for name in ["reader", "elsewhere"] {
        let error = refused(user(name));
        assert!(
            matches!(error, ConnectError::Denied(_)),
            "{name}: {error:?}"
        );
    }
    let broker = connect(user("elsewhere").prefix("other:"));
    broker
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap();
}

#[test]
fn names_that_others_use() {
    let server = RedisServer::start(Release::Old);
    let () = Foreign::new(&server).run("SET fanfeed:s:{k} x");
    let broker = connect(config(&server.url()));
    let error = broker
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap_err();
    says(&error, &["choose another prefix"]);
    for result in [
        broker.subscribe("k", |_, _| Ok(())),
        broker.subscribe_group("k", "g", |_, _| Ok(())),
    ] {
        let error = result.map(drop).unwrap_err();
        says(&error, &["WRONGTYPE"]);
    }
    // Others are not harmed.
    broker
        .publish_confirmed(Message::new("k2", "x"), LONG)
        .unwrap();
}

#[test]
fn a_server_without_memory() {
    let server = RedisServer::builder(Release::Old)
        .line("maxmemory 3mb")
        .line("maxmemory-policy noeviction")
        .start();
    let broker = connect(config(&server.url()).max_entries(None));
    let full = (0..10_000).find_map(|_| {
        let message = Message::new("k", vec![b'x'; 10_000]);
        broker.publish_confirmed(message, LONG).err()
    });
    let text = full.expect("memory ends").to_string();
    says(&text, &["OOM", "more memory"]);
}

#[test]
fn urls() {
    let drivers = || Drivers::new().with(fanfeed_redis::driver());
    let error = drivers()
        .connect("redis://:hunter2@localhost/x")
        .map(drop)
        .unwrap_err();
    assert_is!(error, ConnectError::BadUrl(_));
    let error = drivers()
        .connect("http://:hunter2@localhost")
        .map(drop)
        .unwrap_err();
    assert_is!(error, ConnectError::UnknownScheme { .. });
    let server = RedisServer::start(Release::New);
    let broker = drivers()
        .connect(&server.url().replace("redis", "valkey"))
        .unwrap();
    assert_eq!(broker.driver(), "redis");
}

#[cfg(feature = "tls")]
#[test]
fn tls() {
    let authority = Authority::new("fanfeed tests");
    let server = RedisServer::builder(Release::Old)
        .tls(&authority, false)
        .start();
    let url = server.url();
    let trusted = || Tls::new().authority(authority.certificate());
    let broker = connect(config(&url).tls(trusted()));
    broker
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap();
    broker.close(LONG).unwrap();

    let stranger = Authority::new("another one");
    let error = refused(config(&url).tls(Tls::new().authority(stranger.certificate())));
    assert_is!(error, ConnectError::Tls(_));
    let error = refused(config(&url).tls(Tls::new()));
    assert_is!(error, ConnectError::Tls(_));
    let error = refused(config(&url).tls(Tls::new().authority("/no/such/file")));
    says(&error, &["/no/such/file"]);
    // A name that the certificate does not have.
    let error = refused(config(&url.replace("127.0.0.1", "127.0.0.2")).tls(trusted()));
    assert_is!(
        error,
        ConnectError::Tls(_) | ConnectError::Unreachable { .. }
    );
    // TLS to a server without it, and the other way round.
    let plain = RedisServer::start(Release::Old);
    let error = refused(config(&plain.url()).tls(trusted()));
    assert_is!(error, ConnectError::Tls(_));
    let error = refused(config(&url.replace("rediss", "redis")));
    says(&error, &["rediss://"]);
}

#[cfg(feature = "tls")]
#[test]
fn client_certificates() {
    let authority = Authority::new("fanfeed tests");
    let server = RedisServer::builder(Release::Old)
        .tls(&authority, true)
        .start();
    let client = authority.client("worker");
    let tls = || Tls::new().authority(authority.certificate());
    let good = config(&server.url()).tls(tls().identity(&client.certificate, &client.key));
    connect(good)
        .publish_confirmed(Message::new("k", "x"), LONG)
        .unwrap();
    // In a URL, too.
    let url = format!(
        "{}?ca={}&cert={}&key={}",
        server.url(),
        authority.certificate().display(),
        client.certificate.display(),
        client.key.display()
    );
    connect(config(&url)).close(LONG).unwrap();

    let error = refused(config(&server.url()).tls(tls()));
    assert_is!(error, ConnectError::Tls(_));
    let another = Authority::new("another one");
    let stranger = another.client("stranger");
    let error =
        refused(config(&server.url()).tls(tls().identity(&stranger.certificate, &stranger.key)));
    assert_is!(error, ConnectError::Tls(_));
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_that_was_left_out() {
    let error = refused(config("rediss://127.0.0.1:6379"));
    says(&error, &["feature `tls`"]);
}
