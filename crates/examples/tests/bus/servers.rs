//! Buses of this process over real servers.

use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use fanfeed_broker::Event as Happened;
use fanfeed_broker::driver::Tls;
use fanfeed_bus::Wire;
use fanfeed_bus::{BusConfig, BusError, BusEvent, Context, Event, EventBus, GoEvent, RedisConfig};
use fanfeed_examples::connect;
use fanfeed_testkit::{Authority, NatsServer, RedisServer, Release};
use serde::{Deserialize, Serialize};

pub(crate) const LONG: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
pub(crate) struct Ordered {
    pub(crate) order: u64,
    #[serde(default)]
    pub(crate) note: String,
}

impl Event for Ordered {
    const NAME: &'static str = "order.ordered";
}

pub(crate) fn ordered(order: u64) -> Ordered {
    Ordered {
        order,
        note: String::new(),
    }
}

pub(crate) fn orders(bus: &EventBus) -> Receiver<u64> {
    bus.register_type::<Ordered>().unwrap();
    let (tx, rx) = unbounded();
    let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    bus.register(listener).unwrap().detach();
    rx
}

pub(crate) fn config(server: &RedisServer) -> RedisConfig {
    let config = RedisConfig::new().address(server.address().to_string());
    // A machine under load may take longer than the default.
    config.dial_timeout(LONG)
}

pub(crate) fn error(events: &mut fanfeed::Receiver<BusEvent>) -> BusError {
    loop {
        if let BusEvent::Error(error) = events.recv_timeout(LONG).unwrap() {
            return error.error().clone();
        }
    }
}

/// Has the server do something, as an administrator.
pub(crate) fn redis_cli(server: &RedisServer, command: &[&str]) -> String {
    let mut redis = std::process::Command::new("redis-cli");
    redis.args(["-p", &server.port().to_string()]).args(command);
    let output = redis.output().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Two buses over a broker of their own each hear one another once, and share the work of a group.
#[track_caller]
pub(crate) fn exchanges(open: impl Fn() -> EventBus, has_groups: bool) {
    let buses = [open(), open()];
    let heard = buses.each_ref().map(orders);
    let (tx, rx) = unbounded();
    if has_groups {
        for bus in &buses {
            let tx = tx.clone();
            let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
            bus.listen_group("billing", listener).unwrap().detach();
        }
    }
    for order in 0..20 {
        let dispatch = buses[order as usize % 2].dispatch(ordered(order));
        dispatch.wait().unwrap();
        assert!(dispatch.errors().is_empty(), "{:?}", dispatch.errors());
    }
    let all: Vec<_> = (0..20).collect();
    let take = |heard: &Receiver<u64>| {
        let mut got: Vec<_> = (0..20).map(|_| heard.recv_timeout(LONG).unwrap()).collect();
        got.sort_unstable();
        got
    };
    for heard in &heard {
        assert_eq!(take(heard), all);
    }
    if has_groups {
        assert_eq!(take(&rx), all);
    }
    for bus in buses {
        bus.close_timeout(LONG).unwrap();
        assert!(bus.errors().is_empty(), "{:?}", bus.errors());
    }
    assert!(heard.iter().all(Receiver::is_empty) && rx.is_empty());
}

#[test]
fn buses_exchange_events_over_redis() {
    let server = RedisServer::start(Release::Old);
    exchanges(|| EventBus::over(connect(&server.url()).unwrap()), true);
    exchanges(|| EventBus::from_config(config(&server)).unwrap(), true);
    for wire in [Wire::PubSub, Wire::GoEvent(GoEvent::new())] {
        let config = config(&server).wire(wire);
        exchanges(|| EventBus::from_config(config.clone()).unwrap(), false);
    }
}

#[test]
fn buses_exchange_events_over_tls_with_a_password() {
    let authority = Authority::new("bus");
    let builder = RedisServer::builder(Release::Old).password("hunter2");
    let server = builder.tls(&authority, false).start();
    let open = |password: &str| {
        let tls = Tls::new().authority(authority.certificate());
        let config = config(&server).password(password).tls(tls);
        EventBus::from_config(config)
    };
    exchanges(|| open("hunter2").unwrap(), true);
    let error = open("hunter3").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter3"), "{error}");
}

#[test]
fn buses_exchange_events_over_newer_servers() {
    let server = RedisServer::start(Release::New);
    exchanges(|| EventBus::from_config(config(&server)).unwrap(), true);
    let server = NatsServer::builder(Release::New).jetstream().start();
    exchanges(|| EventBus::over(connect(&server.url()).unwrap()), true);
}

#[test]
fn buses_exchange_events_over_nats() {
    let server = NatsServer::builder(Release::Old).jetstream().start();
    let core = format!("{}?mode=core", server.url());
    for url in [server.url(), core] {
        exchanges(|| EventBus::over(connect(&url).unwrap()), true);
    }
}

#[test]
fn a_configuration_without_a_server_has_types_and_groups() {
    let bus = EventBus::from_config(BusConfig::Memory).unwrap();
    let heard = orders(&bus);
    let (tx, rx) = unbounded();
    let group = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
    let _group = bus.listen_group("billing", group).unwrap();
    bus.dispatch(ordered(7));
    assert_eq!(heard.recv_timeout(LONG), Ok(7));
    assert_eq!(rx.recv_timeout(LONG), Ok(7));
    bus.close().unwrap();
}

#[test]
fn pubsub_has_no_groups_and_prefixes_keep_buses_apart() {
    let server = RedisServer::start(Release::Old);
    let bus = EventBus::from_config(config(&server).wire(Wire::PubSub)).unwrap();
    let other = config(&server).wire(Wire::PubSub).prefix("other:");
    let other = EventBus::from_config(other).unwrap();
    let group = bus.listen_group("billing", |_: &Ordered, _: &Context<'_>| Ok(()));
    assert!(
        matches!(group, Err(BusError::NotSubscribed(_))),
        "{group:?}"
    );
    let heard = [orders(&bus), orders(&other)];
    bus.dispatch(ordered(1));
    other.dispatch(ordered(2));
    assert_eq!(heard[0].recv_timeout(LONG), Ok(1));
    assert_eq!(heard[1].recv_timeout(LONG), Ok(2));
    bus.close().unwrap();
    other.close().unwrap();
    assert!(heard[0].is_empty() && heard[1].is_empty());
}

#[test]
fn a_server_that_goes_and_comes_back_is_told() {
    let mut server = RedisServer::builder(Release::Old).append_only().start();
    let open = || EventBus::from_config(config(&server)).unwrap();
    let (sending, listening) = (open(), open());
    sending.register_type::<Ordered>().unwrap();
    let heard = orders(&listening);
    let mut events = listening.events();
    sending.dispatch(ordered(1));
    assert_eq!(heard.recv_timeout(LONG), Ok(1));
    server.kill();
    loop {
        if let BusEvent::Broker(Happened::Disconnected { .. }) = events.recv_timeout(LONG).unwrap()
        {
            break;
        }
    }
    // It waits in the queue to the server.
    assert!(sending.dispatch(ordered(2)).errors().is_empty());
    server.restart();
    assert_eq!(heard.recv_timeout(LONG), Ok(2));
    sending.close().unwrap();
    listening.close().unwrap();
}

#[test]
fn what_the_broker_gives_up_later_is_told_to_the_dispatch() {
    let mut server = RedisServer::start(Release::Old);
    let bus = EventBus::from_config(config(&server).wire(Wire::PubSub)).unwrap();
    bus.register_type::<Ordered>().unwrap();
    server.kill();
    let dispatch = bus.dispatch(ordered(1));
    // It may be given up before, or here.
    let _ = bus.close_timeout(Duration::from_millis(300));
    // The bus has an error of `close` too.
    let errors = dispatch.errors();
    let mut each = errors.iter();
    assert!(
        each.any(|error| matches!(error.error(), BusError::NotPublished(_))),
        "{errors:?}"
    );
}

#[test]
fn what_was_dispatched_is_on_the_server_when_the_bus_is_closed() {
    const ALL: u64 = 2000;
    let server = RedisServer::start(Release::Old);
    let open = || EventBus::from_config(config(&server)).unwrap();
    let (sending, listening) = (open(), open());
    sending.register_type::<Ordered>().unwrap();
    let heard = orders(&listening);
    for order in 0..ALL {
        sending.dispatch(ordered(order));
    }
    sending.close_timeout(LONG).unwrap();
    drop(sending);
    let got: Vec<_> = (0..ALL)
        .map(|_| heard.recv_timeout(LONG).unwrap())
        .collect();
    assert_eq!(got, (0..ALL).collect::<Vec<_>>());
    listening.close().unwrap();
}

#[test]
fn a_subscription_that_the_server_refuses_later_is_reported() {
    let server = RedisServer::builder(Release::Old)
        .line("user reader on >hunter2 ~* &* +@all")
        .start();
    let sending = EventBus::from_config(config(&server)).unwrap();
    sending.register_type::<Ordered>().unwrap();
    let reader = config(&server).user("reader").password("hunter2");
    let listening = EventBus::from_config(reader).unwrap();
    listening.register_type::<Ordered>().unwrap();
    let mut events = listening.events();
    let (tx, rx) = unbounded();
    let listen = || {
        let tx = tx.clone();
        let listener = move |event: &Ordered, _: &Context<'_>| Ok(tx.send(event.order)?);
        listening
            .listen_group("billing", listener)
            .unwrap()
            .detach();
    };
    listen();
    redis_cli(&server, &["ACL", "SETUSER", "reader", "-xreadgroup"]);
    sending.dispatch(ordered(1));
    let refused = error(&mut events);
    assert!(
        matches!(&refused, BusError::NotSubscribed(text)
        if text.contains("group billing") && text.contains("XREADGROUP")),
        "{refused:?}"
    );
    redis_cli(&server, &["ACL", "SETUSER", "reader", "+xreadgroup"]);
    listen();
    sending.dispatch(ordered(2));
    let mut got = [(); 2].map(|()| rx.recv_timeout(LONG).unwrap());
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
    sending.close().unwrap();
    listening.close().unwrap();
}

#[test]
fn a_bad_configuration_says_what_would_be_right_and_hides_the_password() {
    let config = RedisConfig::new().password("hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    for (config, part) in [
        (config.clone().address("localhost"), "localhost:6379"),
        (config.clone().address("localhost:x"), "localhost:6379"),
        (
            config.clone().address(":hunter2@localhost:6379"),
            "`password`",
        ),
        (config.clone().pool_size(3), "at least 4"),
        (config.clone().min_idle(11), "idle"),
        (config.clone().address("127.0.0.1:1"), "127.0.0.1:1"),
    ] {
        assert!(!format!("{config:?}").contains("hunter2"));
        let error = EventBus::from_config(config).unwrap_err().to_string();
        assert!(
            error.contains(part) && !error.contains("hunter2"),
            "{error}"
        );
    }
    let away = config.address("127.0.0.1:1");
    let bus = EventBus::from_config_lazy(away).unwrap();
    bus.register_type::<Ordered>().unwrap();
    assert!(bus.is_open());
    drop(bus);
}
