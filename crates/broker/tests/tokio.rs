//! Brokers inside async code.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::eventually;
use fanfeed_broker::driver::EngineOptions;
use fanfeed_broker::{
    AsyncBroker, AsyncHandler, Broker, Context, Drivers, Event, MemoryBroker, Message, Overflow,
    PublishError, ReadyError, Subscribe, SubscribeOptions,
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
async fn every_blocking_method_has_an_async_variant() {
    let drivers = Drivers::new();
    let broker = drivers.connect_async("memory:").await.unwrap();
    let unknown = drivers.connect_with_async("carrier-pigeon://loft", EngineOptions::new());
    assert!(unknown.await.is_err());
    let stuck = |_: &Message, context: &Context| {
        let _ = context.token().channel().recv();
        Ok(())
    };
    let options = SubscribeOptions::new().buffer(1).overflow(Overflow::Block);
    let request = Subscribe::new("k", stuck).options(options);
    let subscription = broker.subscribe_async(request).await.unwrap();
    subscription.ready_async(SOON).await.unwrap();
    let short = Duration::from_millis(20);
    let mut sent = 0;
    let error = loop {
        match broker
            .publish_timeout_async(common::payload("k", sent), short)
            .await
        {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, PublishError::Timeout(_)), "{error}");
    assert!((1..=2).contains(&sent), "{sent}");
    subscription.cancel_soon();
    let closed = subscription.closed();
    closed.await;
    assert_eq!(subscription.ready_async(SOON).await, Err(ReadyError::Ended));
    broker.close_async(SOON).await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_handler_publishes_and_waits_for_the_answer_while_the_broker_drains() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let (tx, mut rx) = tokio::sync::mpsc::channel(4);
    let own = Arc::clone(&broker);
    let answers = tx.clone();
    let handler = AsyncHandler::new(move |_: Message| {
        let (own, tx) = (Arc::clone(&own), answers.clone());
        async move {
            tx.send("begun".to_owned()).await?;
            while !own.is_closed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let next = Message::new("next", "");
            let answer = own.publish_confirmed_async(next, SOON).await;
            tx.send(format!("{:?}", answer.map(|_| ()))).await?;
            Ok(())
        }
    });
    let _first = broker
        .subscribe_async(Subscribe::new("k", handler))
        .await
        .unwrap();
    let handler = AsyncHandler::new(move |_: Message| {
        let tx = tx.clone();
        async move { Ok(tx.send("handled".to_owned()).await?) }
    });
    let _next = broker
        .subscribe_async(Subscribe::new("next", handler))
        .await
        .unwrap();
    broker.publish_async(Message::new("k", "")).await.unwrap();
    assert_eq!(rx.recv().await.unwrap(), "begun");
    broker.close_async(SOON).await.unwrap();
    let mut last = [rx.recv().await.unwrap(), rx.recv().await.unwrap()];
    last.sort();
    assert_eq!(last, ["Ok(())", "handled"]);
}

/// A thousand that are pending hold no thread, and delay no other handler.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn pending_handlers_hold_no_thread() {
    const COUNT: usize = 1000;
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let (gate, _) = tokio::sync::broadcast::channel::<()>(1);
    let pending = Arc::new(AtomicUsize::new(0));
    let mut subscriptions = Vec::new();
    for n in 0..COUNT {
        let (gate, pending) = (gate.clone(), Arc::clone(&pending));
        let handler = AsyncHandler::new(move |_: Message| {
            let mut gate = gate.subscribe();
            let pending = Arc::clone(&pending);
            async move {
                pending.fetch_add(1, Ordering::SeqCst);
                let _ = gate.recv().await;
                pending.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        let key = format!("k{n}");
        let request = Subscribe::new(key.as_str(), handler);
        subscriptions.push(broker.subscribe_with(request).unwrap());
        broker.try_publish(Message::new(key, "")).unwrap();
    }
    let all = Arc::clone(&pending);
    let other = Arc::clone(&broker);
    tokio::task::spawn_blocking(move || {
        eventually("all are pending", || all.load(Ordering::SeqCst) == COUNT);
        let (tx, rx) = crossbeam_channel::bounded(1);
        let handler = move |_: &Message, _: &fanfeed_broker::Context| Ok(tx.send(())?);
        let _subscription = other
            .subscribe_with(Subscribe::new("sync", handler))
            .unwrap();
        other.publish(Message::new("sync", "")).unwrap();
        rx.recv_timeout(SOON).unwrap();
    })
    .await
    .unwrap();
    assert!(broker.health().threads <= 8, "{:?}", broker.health());
    let closing = {
        let broker = Arc::clone(&broker);
        tokio::task::spawn_blocking(move || broker.close(SOON))
    };
    let mut closed = std::pin::pin!(closing);
    loop {
        let _ = gate.send(());
        let wait = tokio::time::timeout(Duration::from_millis(5), &mut closed);
        if let Ok(closed) = wait.await {
            // It waited for the futures.
            assert_eq!(closed.unwrap(), Ok(()));
            break;
        }
    }
    assert_eq!(pending.load(Ordering::SeqCst), 0);
    assert_eq!(broker.stats().delivered, COUNT as u64 + 1);
}

/// A poll that is under way when the subscription ends is waited for, and nothing of the future
/// runs after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_future_runs_after_unsubscribe() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    for _ in 0..100 {
        let (steps, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (in_future, flag) = (Arc::clone(&steps), Arc::clone(&dropped));
        let handler = AsyncHandler::new(move |_: Message| {
            let (steps, guard) = (Arc::clone(&in_future), Dropped(Arc::clone(&flag)));
            async move {
                let _guard = guard;
                loop {
                    steps.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            }
        });
        let subscription = broker.subscribe_with(Subscribe::new("k", handler)).unwrap();
        broker.publish_async(Message::new("k", "")).await.unwrap();
        let taken = tokio::task::spawn_blocking(move || {
            eventually("it runs", || steps.load(Ordering::SeqCst) > 3);
            subscription.unsubscribe();
            let taken = steps.load(Ordering::SeqCst);
            (steps, taken)
        });
        let (steps, taken) = taken.await.unwrap();
        assert!(dropped.load(Ordering::SeqCst));
        tokio::task::yield_now().await;
        assert_eq!(steps.load(Ordering::SeqCst), taken);
    }
}

/// Publishers that wait for room are no threads: a runtime with one thread for blocking work has
/// hundreds of them.
#[test]
fn publishers_wait_for_room_without_threads() {
    const COUNT: usize = 300;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
    let gate = common::Gate::new();
    let (tx, rx) = crossbeam_channel::unbounded();
    let handler = {
        let gate = gate.clone();
        move |message: &Message, _: &fanfeed_broker::Context| {
            gate.pass();
            Ok(tx.send(message.clone())?)
        }
    };
    let options = SubscribeOptions::new()
        .buffer(1)
        .overflow(fanfeed_broker::Overflow::Block);
    let request = Subscribe::new("k", handler).options(options);
    let _subscription = broker.subscribe_with(request).unwrap();
    runtime.block_on(async {
        let publishers: Vec<_> = (0..COUNT)
            .map(|n| {
                let broker = Arc::clone(&broker);
                tokio::spawn(async move { broker.publish_async(common::payload("k", n)).await })
            })
            .collect();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let waiting = publishers
            .iter()
            .filter(|publisher| !publisher.is_finished());
        assert!(waiting.count() >= COUNT - 2);
        // Other blocking work goes on.
        broker.flush_async(SOON).await.unwrap();
        gate.open();
        for publisher in publishers {
            publisher.await.unwrap().unwrap();
        }
    });
    for _ in 0..COUNT {
        rx.recv_timeout(SOON).unwrap();
    }
}
