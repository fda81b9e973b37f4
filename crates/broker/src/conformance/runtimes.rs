//! A case inside a tokio runtime of one thread, in which nothing may block on another runtime.

use super::tools::{Env, number, numbered};
use crate::asynchronous::AsyncBroker;
use crate::context::Context;
use crate::message::Message;
use crate::subscriber::Subscribe;

pub(crate) fn a_broker_works_and_is_dropped_inside_a_runtime(env: &Env<'_>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("the system has a runtime");
    runtime.block_on(async {
        for close in [false, true] {
            let broker = env.server.connect();
            let key = env.key(if close { "closed" } else { "dropped" });
            let (sender, receiver) = crossbeam_channel::unbounded();
            let handler = move |message: &Message, _: &Context| Ok(sender.send(number(message))?);
            let subscription = broker
                .subscribe_async(Subscribe::new(&*key, handler))
                .await
                .expect("the subscription is made");
            subscription
                .ready(env.patience())
                .expect("the subscription is live");
            for n in 0..10 {
                broker
                    .publish_async(numbered(&key, n))
                    .await
                    .expect("the message is published");
            }
            let confirmed = broker.publish_confirmed_async(numbered(&key, 10), env.patience());
            confirmed.await.expect("the server confirms");
            // The thread of the runtime waits here, and the broker goes on.
            for n in 0..=10 {
                assert_eq!(receiver.recv_timeout(env.patience()), Ok(n));
            }
            if close {
                let closed = broker.close_async(env.patience()).await;
                closed.expect("nothing is left over");
            }
            drop(subscription);
            drop(broker);
        }
    });
}
