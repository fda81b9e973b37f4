//! `TypeMux::post` to one receiver, compared with a plain crossbeam send of the same shared event.

#![allow(deprecated)]

use std::any::Any;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use fanfeed::{Feed, TypeMux};
use fanfeed_benches::{Contender, check_burst, compare, pin};

const BURST: u64 = 128;

struct Event(u64);

fn post(c: &mut Criterion) {
    pin::to_core(0);
    let (sender, receiver) = crossbeam_channel::bounded::<u64>(1024);
    let (shared_sender, shared_receiver) =
        crossbeam_channel::bounded::<Arc<dyn Any + Send + Sync>>(1024);
    let feed = Feed::new();
    let mut own = feed.channel(1024).expect("a fair capacity");
    let mux = TypeMux::new();
    let mut events = mux.subscribe::<(Event,)>();
    let contenders = vec![
        Contender::timed("crossbeam, a u64", || {
            for value in 0..BURST {
                sender.try_send(black_box(value)).expect("there is room");
            }
            check_burst(BURST, || receiver.try_recv().ok());
        }),
        Contender::timed("crossbeam, an Arc<dyn Any>", || {
            for value in 0..BURST {
                shared_sender
                    .try_send(Arc::new(Event(black_box(value))))
                    .expect("there is room");
            }
            check_burst(BURST, || {
                let event = shared_receiver.try_recv().ok()?;
                event.downcast_ref::<Event>().map(|event| event.0)
            });
        }),
        Contender::timed("Feed::send, an own channel", || {
            for value in 0..BURST {
                black_box(feed.send(black_box(value)));
            }
            check_burst(BURST, || own.try_recv().ok());
        }),
        Contender::timed("TypeMux::post", || {
            for value in 0..BURST {
                black_box(mux.post(Event(black_box(value))).is_ok());
            }
            check_burst(BURST, || {
                let event = events.try_recv().ok()?;
                event.downcast_ref::<Event>().map(|event| event.0)
            });
        }),
    ];
    compare(c, "post", "one receiver", BURST, contenders);
}

criterion_group!(benches, post);
criterion_main!(benches);
