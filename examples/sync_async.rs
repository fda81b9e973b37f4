//! Synchronous and asynchronous subscribers on one feed, and a send that blocks no thread.
//!
//! `cargo run --example sync_async --features tokio`

use std::thread;

use fanfeed::Feed;
use futures_util::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), fanfeed::CapacityError> {
    let feed = Feed::new();

    // A thread that blocks in `recv`, a task that reads a stream, and a task behind tokio's own
    // channel.
    let receiver = feed.channel(1)?;
    let thread = thread::spawn(move || receiver.into_iter().sum::<u32>());
    let stream = feed.channel(1)?;
    let task = tokio::spawn(stream.fold(0, |sum, value| async move { sum + value }));
    let (sender, mut tokio_receiver) = tokio::sync::mpsc::channel(1);
    feed.subscribe(sender).detach();
    let tokio_task = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(value) = tokio_receiver.recv().await {
            sum += value;
        }
        sum
    });

    // Each subscriber has a capacity of 1, so most of these sends wait. The tasks run meanwhile, on
    // this thread.
    let mut deliveries = 0;
    for value in 1..=100 {
        deliveries += feed.send_async(value).await;
    }
    feed.close();

    println!("deliveries: {deliveries}");
    println!("sum in the thread: {}", thread.join().unwrap_or_default());
    println!("sum in the stream: {}", task.await.unwrap_or_default());
    println!(
        "sum behind tokio's channel: {}",
        tokio_task.await.unwrap_or_default()
    );
    Ok(())
}
