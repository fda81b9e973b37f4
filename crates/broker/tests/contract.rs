//! What the types promise: they are shared between threads, they do not show secrets, and they are found by their names.

use std::sync::Arc;

use fanfeed_broker::{
    Broker, Capabilities, ConnectError, Drivers, Handler, MemoryBroker, Message, PublishError,
    Publisher, Subscriber, SubscriberExt,
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
