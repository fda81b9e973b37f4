//! A crate on fanfeed whose own code is model-checked: a meter that adds up amounts.
//!
//! The page `fanfeed::docs::model_checking` explains it. The plain tests, and the models:
//!
//! ```text
//! cargo test -p fanfeed-model-checking-example
//! RUSTFLAGS="--cfg fanfeed_loom" cargo test -p fanfeed-model-checking-example --release
//! ```

mod sync;

use std::sync::Arc;

use fanfeed::{Feed, Receiver};

use sync::{AtomicU64, JoinHandle, Ordering, spawn};

/// Adds up amounts on a thread of its own.
#[derive(Debug)]
pub struct Meter {
    amounts: Feed<u64>,
    total: Arc<AtomicU64>,
    worker: JoinHandle<()>,
}

impl Meter {
    /// A meter whose worker takes one amount at a time.
    pub fn start() -> Self {
        let amounts = Feed::new();
        let mut receiver = amounts.channel(1).expect("a channel may hold one value");
        let total = Arc::new(AtomicU64::new(0));
        let sum = Arc::clone(&total);
        let worker = spawn(move || {
            while let Ok(amount) = receiver.recv() {
                sum.fetch_add(amount, Ordering::Relaxed);
            }
        });
        Self {
            amounts,
            total,
            worker,
        }
    }

    /// The feed of the amounts, for other threads. A send that returns 1 will be counted.
    pub fn amounts(&self) -> &Feed<u64> {
        &self.amounts
    }

    /// The total so far, which may lag behind the sends that have returned.
    pub fn glance(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Takes no more amounts, and returns the total of all that were taken.
    pub fn stop(self) -> u64 {
        self.amounts.close();
        self.worker.join().expect("the worker does not panic");
        self.total.load(Ordering::Relaxed)
    }
}

/// Adds up the amounts of a receiver in a task.
pub async fn add_up(mut amounts: Receiver<u64>) -> u64 {
    let mut total = 0;
    while let Ok(amount) = amounts.recv_async().await {
        total += amount;
    }
    total
}
