//! What the types promise: they are shared between threads, they do not show secrets, and they are
//! found by their names.

use std::sync::Arc;
use std::time::Duration;

use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{
    Broker, Capabilities, CloseError, ConnectError, Drivers, Event, FlushError, Handler,
    MemoryBroker, Message, PoolOptions, PublishError, Publisher, Subscriber, SubscriberExt,
};

#[test]
fn the_traits_are_objects_that_threads_share() {
    fn shared<T: Send + Sync + ?Sized>() {}
    shared::<dyn Broker>();
    shared::<dyn Publisher>();
    shared::<dyn Subscriber>();
    shared::<dyn Handler>();
    shared::<Message>();
    shared::<MemoryBroker>();
    shared::<fanfeed_broker::BrokerSubscription>();
    shared::<fanfeed_broker::CancelToken>();
    shared::<fanfeed_broker::driver::Sink>();
    shared::<fanfeed_broker::driver::Engine>();
}

#[test]
fn a_broker_is_chosen_by_its_url() {
    let drivers = Drivers::new();
    for url in ["memory:", "memory://", "MEMORY:"] {
        let broker: Arc<dyn Broker> = drivers.connect(url).unwrap();
        let promises: &Capabilities = broker.capabilities();
        assert_eq!((broker.driver(), promises.remote), ("memory", false));
        // By the trait object, with closures.
        let _subscription = broker.subscribe("k", |_, _| Ok(())).unwrap();
    }
    for bad in ["", "memory", ":", "mem ory:", "//x"] {
        assert!(
            matches!(drivers.connect(bad), Err(ConnectError::BadUrl(_))),
            "{bad}"
        );
    }
    let error = drivers.connect("redis://user:hunter2@host").err().unwrap();
    assert!(matches!(error, ConnectError::UnknownScheme { .. }));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    // The scheme was forgotten: the text before the colon is no scheme.
    let error = drivers.connect("hunter2:foo@host").err().unwrap();
    assert!(matches!(error, ConnectError::BadUrl(_)));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let error = drivers.connect("memory:hunter2").err().unwrap();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn debug_shows_neither_payloads_nor_values_of_headers() {
    let message = Message::new("k", "hunter2").header("authorization", "hunter2");
    let errors = [
        PublishError::Full(message.clone()),
        PublishError::Timeout(message.clone()),
        PublishError::Closed(message.clone()),
        PublishError::Uncertain(message.clone()),
    ];
    let shown = format!("{message:?} {:?} {errors:?} {errors:#?}", message.headers());
    assert!(
        shown.contains("authorization") && !shown.contains("hunter2"),
        "{shown}"
    );
}

/// A driver that notes the options that it gets.
#[derive(Clone, Default)]
struct Noting(Arc<std::sync::Mutex<String>>);

impl fanfeed_broker::Driver for Noting {
    fn schemes(&self) -> &'static [&'static str] {
        &["noting"]
    }

    fn connect(&self, _: &str, options: EngineOptions) -> Result<Arc<dyn Broker>, ConnectError> {
        *self.0.lock().unwrap() = format!("{:?}", options.default_batch(7));
        Err(ConnectError::Failed("it only takes notes".into()))
    }
}

#[test]
fn options_go_with_any_url() {
    let (tx, rx) = crossbeam_channel::unbounded();
    let options = EngineOptions::new()
        .logger(move |event| drop(tx.send(event.to_string())))
        .pool(PoolOptions::new().threads(1).limit(1))
        .queue(9);
    let noting = Noting::default();
    let drivers = Drivers::new().with(noting.clone());
    for (options, parts) in [
        (options.clone(), ["queue: 9", "batch: 7", "lazy: false"]),
        (
            options.clone().batch(3).lazy(true),
            ["queue: 9", "batch: 3", "lazy: true"],
        ),
    ] {
        let refused = drivers.connect_with("noting://h", options);
        assert!(refused.is_err());
        let noted = noting.0.lock().unwrap().clone();
        assert!(parts.iter().all(|part| noted.contains(part)), "{noted}");
    }
    assert!(drivers.connect_lazy("noting://h").is_err());
    assert!(noting.0.lock().unwrap().contains("lazy: true"));

    let broker = drivers.connect_with("memory:", options).unwrap();
    broker.close(Duration::from_secs(10)).unwrap();
    assert_eq!(rx.recv_timeout(Duration::from_secs(10)).unwrap(), "closed");
}

#[test]
fn error_texts_are_right_for_one_and_for_many() {
    let text = |error: FlushError| error.to_string();
    assert!(text(FlushError::Timeout(1)).starts_with("1 message was not confirmed"));
    assert!(text(FlushError::Timeout(2)).starts_with("2 messages were not confirmed"));
    assert!(text(FlushError::Failed(1)).starts_with("1 message was not published"));
    assert!(text(FlushError::Uncertain(1)).starts_with("1 message may have arrived"));
    assert!(text(FlushError::Uncertain(2)).starts_with("2 messages may have arrived"));
    let close = |running| CloseError::Undelivered {
        outbound: 0,
        inbound: 1,
        running,
    };
    assert!(close(1).to_string().ends_with("1 handler still running"));
    assert!(close(2).to_string().ends_with("2 handlers still running"));
    let missed = |missed| Event::EventsMissed { missed }.to_string();
    assert!(missed(1).ends_with("missed 1 event") && missed(2).ends_with("missed 2 events"));
}
