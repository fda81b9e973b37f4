//! Brokers inside async code.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::eventually;
use fanfeed_broker::{
    AsyncBroker, AsyncHandler, Broker, Event, MemoryBroker, Message, Subscribe, SubscribeOptions,
};

const SOON: Duration = Duration::from_secs(10);

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn everything_works_and_is_dropped_inside_a_runtime_of_one_thread() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let (tx, mut rx) = tokio::sync::mpsc::channel(16);
    let handler = AsyncHandler::new(move |message: Message| {
        let tx = tx.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(tx.send(message).await?)
        }
    });
    let subscription = broker
        .subscribe_async(Subscribe::new("k", handler))
        .await
        .unwrap();
    for n in 0..10 {
        broker.publish_async(common::payload("k", n)).await.unwrap();
    }
    for n in 0..10 {
        assert_eq!(
            rx.recv().await.unwrap().payload(),
            common::payload("k", n).payload()
        );
    }
    broker
        .publish_confirmed_async(common::payload("k", 10), SOON)
        .await
        .unwrap();
    broker.flush_async(SOON).await.unwrap();
    assert!(rx.recv().await.is_some());
    broker.close_async(SOON).await.unwrap();
    assert!(
        broker
            .publish_async(common::payload("k", 0))
            .await
            .unwrap_err()
            .is_closed()
    );
    drop(subscription);
    drop(broker);
}

#[tokio::test]
async fn the_future_of_an_ended_subscription_is_dropped() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let (began, mut begins) = tokio::sync::mpsc::channel(1);
    let dropped = Arc::new(AtomicBool::new(false));
    let in_future = Arc::clone(&dropped);
    let handler = AsyncHandler::new(move |_: Message| {
        let (began, guard) = (began.clone(), Dropped(Arc::clone(&in_future)));
        async move {
            let _guard = guard;
            began.send(()).await?;
            std::future::pending().await
        }
    });
    let subscription = broker
        .subscribe_async(Subscribe::new("k", handler))
        .await
        .unwrap();
    broker.publish_async(Message::new("k", "")).await.unwrap();
    begins.recv().await.unwrap();
    // The runtime's one thread waits here for the handler, which does not need it in order to end.
    drop(subscription);
    while !dropped.load(Ordering::SeqCst) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_future_of_an_overrun_is_dropped_and_a_panic_is_an_error() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let mut events = broker.events();
    let stuck = AsyncHandler::new(|_: Message| std::future::pending());
    let options = SubscribeOptions::new()
        .timeout(Duration::from_millis(20))
        .attempts(1);
    let request = Subscribe::new("stuck", stuck).options(options);
    let _stuck = broker.subscribe_async(request).await.unwrap();
    let panicking = AsyncHandler::new(|_: Message| async { panic!("a panic that the test wants") });
    let request = Subscribe::new("panicking", panicking);
    let _panicking = broker.subscribe_async(request).await.unwrap();
    broker
        .publish_async(Message::new("stuck", ""))
        .await
        .unwrap();
    broker
        .publish_async(Message::new("panicking", ""))
        .await
        .unwrap();
    let (mut overran, mut panicked) = (false, false);
    tokio::task::spawn_blocking(move || {
        eventually("both are reported", || {
            for event in events.try_iter() {
                overran |= matches!(event, Event::HandlerOverran { .. });
                panicked |= event.to_string().contains("a panic that the test wants");
            }
            overran && panicked
        });
    })
    .await
    .unwrap();
}
