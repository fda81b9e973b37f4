//! Faults that every driver has to survive in the same way. All messages have the key `k` and the
//! group `g`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use fanfeed::Receiver;
use fanfeed_broker::{
    Broker, BrokerSubscription, CloseError, Context, Event, Handler, HandlerError, Message,
    Redelivery, Subscribe, SubscribeOptions, SubscriberExt,
};

use crate::numbers::{Census, count, number, publish};
use crate::proxy::{Line, Proxy, Way};
use crate::server::Server;
use crate::tally::Tally;
use crate::wait::{PATIENCE, wait_until};

/// The environment variable that tells a child process where to connect.
const MEMBER: &str = "FANFEED_TEST_MEMBER";

/// Waits for an event for which `pick` returns `Some`, and skips the others.
///
/// # Panics
/// If no event comes within [`PATIENCE`].
#[track_caller]
pub fn event<T>(events: &mut Receiver<Event>, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
    loop {
        let event = events.recv_timeout(PATIENCE).expect("an event comes");
        if let Some(found) = pick(&event) {
            return found;
        }
    }
}

/// Waits until the loss of the connection is reported, and returns the reason.
///
/// # Panics
/// As [`event`].
#[track_caller]
pub fn disconnected(events: &mut Receiver<Event>) -> String {
    event(events, |event| match event {
        Event::Disconnected { reason } => Some(reason.to_string()),
        _ => None,
    })
}

/// Waits until a message that was published before is reported as failed, and returns its key and
/// the reason.
///
/// # Panics
/// As [`event`].
#[track_caller]
pub fn publish_failed(events: &mut Receiver<Event>) -> (String, String) {
    event(events, |event| match event {
        Event::PublishFailed { key, error, .. } => Some((key.to_string(), error.to_string())),
        _ => None,
    })
}

/// Waits for the report of a message that cannot be read, and returns the reason.
///
/// # Panics
/// As [`event`].
#[track_caller]
pub fn undecodable(events: &mut Receiver<Event>) -> String {
    event(events, |event| match event {
        Event::Undecodable { error, .. } => Some(error.to_string()),
        _ => None,
    })
}

/// Waits for a gap, and returns its group and its size.
///
/// # Panics
/// As [`event`].
#[track_caller]
pub fn gap(events: &mut Receiver<Event>) -> (Option<String>, Option<u64>) {
    event(events, |event| match event {
        Event::Gap { group, missed, .. } => {
            Some((group.as_ref().map(ToString::to_string), *missed))
        }
        _ => None,
    })
}

/// Waits for a gap of unknown size of the plain subscription, and for one of the group `g`, in
/// either order.
///
/// # Panics
/// If another gap comes, and as [`event`].
#[track_caller]
pub fn gaps_of_both(events: &mut Receiver<Event>) {
    let mut gaps = [gap(events), gap(events)];
    gaps.sort();
    assert_eq!(gaps, [(None, None), (Some("g".to_owned()), None)]);
}

/// Returns the faults that [`under_load`](crate::numbers::under_load) causes on connections through
/// this proxy.
pub fn spoil(proxy: &Proxy) -> impl FnMut(usize) {
    |part| match part {
        1 => proxy.cut(),
        2 => {
            proxy.delay(Duration::from_millis(5));
            proxy.half_close(Way::ToServer);
        }
        _ => {
            proxy.half_close(Way::ToBroker);
            proxy.delay(Duration::ZERO);
            proxy.cut();
        }
    }
}

/// A server that stalls counts as lost, and is used again when it continues. `resumed` may wait
/// until the member is live again.
///
/// # Panics
/// If messages are lost, or the reason of the loss does not contain `reason`.
#[track_caller]
pub fn stalls(
    [writer, reader]: [&Arc<dyn Broker>; 2],
    server: &Server,
    reason: &str,
    resumed: impl FnOnce(&BrokerSubscription),
) {
    let tally = Arc::new(Tally::new(200));
    let member = reader.subscribe_group("k", "g", count(&tally)).unwrap();
    publish(writer, "k", 0..100);
    tally.wait_for(100, PATIENCE);
    let mut events = reader.events();
    server.pause();
    let said = disconnected(&mut events);
    assert!(said.contains(reason), "{said}");
    server.resume();
    resumed(&member);
    publish(writer, "k", 100..200);
    tally.wait_complete(PATIENCE);
}

/// A server that loses all its data is reported and used again.
///
/// # Panics
/// If it is not.
#[track_caller]
pub fn forgets(writer: &Arc<dyn Broker>, reader: &Arc<dyn Broker>, forget: impl FnOnce()) {
    let census = Census::start(&[reader], 20);
    publish(writer, "k", 0..10);
    census.plain.wait_for(10, PATIENCE);
    census.group.wait_for(10, PATIENCE);
    let mut events = reader.events();
    forget();
    gaps_of_both(&mut events);
    publish(writer, "k", 10..20);
    census.complete();
}

/// A subscription that is made while the server is away becomes live when the server is back.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn becomes_live(broker: &Arc<dyn Broker>, server: &mut Server) {
    let mut events = broker.events();
    server.kill();
    // A receiving side without subscriptions may see the loss later, when it opens this one.
    disconnected(&mut events);
    let tally = Arc::new(Tally::new(10));
    let subscription = broker.subscribe("k", count(&tally)).unwrap();
    assert!(subscription.ready(Duration::from_millis(10)).is_err());
    server.restart();
    subscription.ready(PATIENCE).unwrap();
    publish(broker, "k", 0..10);
    tally.wait_complete(PATIENCE);
}

/// In the child process of [`killed_process`], joins the group and never returns. The test has to
/// call this first.
pub fn be_killed_if_child(connect: impl FnOnce(&str) -> Arc<dyn Broker>) {
    let Ok(url) = std::env::var(MEMBER) else {
        return;
    };
    let broker = connect(&url);
    // The member takes messages and never finishes one.
    let joined = broker.subscribe_group("k", "g", |_, _| {
        println!("took one");
        loop {
            thread::park();
        }
    });
    let _member = joined.unwrap();
    loop {
        thread::park();
    }
}

/// The messages of a killed process go to other members. The process is this test binary, which
/// runs only `test`. Returns a member that has got the messages, and the highest attempt that it
/// saw.
///
/// # Panics
/// If a message is lost or repeated.
#[track_caller]
pub fn killed_process(
    test: &str,
    broker: &Arc<dyn Broker>,
    url: &str,
    all: usize,
) -> (BrokerSubscription, usize) {
    let tally = Arc::new(Tally::new(all));
    // So that the group exists before the child starts.
    drop(broker.subscribe_group("k", "g", count(&tally)).unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MEMBER, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    publish(broker, "k", 0..all);
    let took = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("took one"));
    assert!(took, "the child took nothing");
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counting, most) = (count(&tally), Arc::clone(&attempts));
    let join = || {
        broker.subscribe_group("k", "g", move |message, context| {
            most.fetch_max(context.attempt() as usize, Ordering::Relaxed);
            counting(message, context)
        })
    };
    let member = join().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    tally.wait_complete(PATIENCE);
    tally.assert_exactly_once();
    (member, attempts.load(Ordering::Relaxed))
}

/// A handler that takes three seconds keeps its message while its member lives. In the driver's
/// configuration, a silent member has to count as dead earlier.
///
/// # Panics
/// If a message is lost or repeated.
#[track_caller]
pub fn long_handler(brokers: [Arc<dyn Broker>; 2]) {
    let tally = Arc::new(Tally::new(10));
    let (slow, counting) = (AtomicBool::new(true), count(&tally));
    let handler: Arc<dyn Handler> = Arc::new(move |message: &Message, context: &Context| {
        if slow.swap(false, Ordering::AcqRel) {
            thread::sleep(Duration::from_secs(3));
        }
        counting(message, context)
    });
    let _members = brokers.each_ref().map(|broker| {
        let request = Subscribe::shared("k", Arc::clone(&handler)).group("g");
        broker.subscribe_with(request).unwrap()
    });
    publish(&brokers[0], "k", 0..10);
    tally.wait_complete(PATIENCE);
    for broker in brokers {
        broker.close(PATIENCE).unwrap();
    }
    tally.assert_exactly_once();
}

/// A member whose broker closes while its handler runs hands on all other messages, although the
/// handler still runs at the deadline of `close`. Other members must get them before they could
/// find out that this member is dead.
///
/// # Panics
/// If another member does not get the messages.
#[track_caller]
pub fn closes_with_a_running_handler([leaving, staying]: [Arc<dyn Broker>; 2]) {
    const ALL: usize = 3_000;
    const LONG: usize = 1_000;
    let tally = Arc::new(Tally::new(ALL));
    let (begun, over) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (begins, goes_on, counting) = (Arc::clone(&begun), Arc::clone(&over), count(&tally));
    let handler = move |message: &Message, context: &Context| {
        if number(message) == LONG {
            begins.store(true, Ordering::Release);
            wait_until("it may end", || goes_on.load(Ordering::Acquire));
            return Ok(());
        }
        counting(message, context)
    };
    let _leaving = leaving.subscribe_group("k", "g", handler).unwrap();
    publish(&leaving, "k", 0..ALL);
    leaving.flush(PATIENCE).unwrap();
    wait_until("it has begun", || begun.load(Ordering::Acquire));
    wait_until("others wait behind it", || leaving.health().pending > 0);
    let _staying = staying
        .subscribe_group("k", "g", count(&tally))
        .expect("it joins");
    let closed = leaving.close(Duration::from_millis(50));
    assert!(
        matches!(closed, Err(CloseError::Undelivered { running: 1, .. })),
        "{closed:?}"
    );
    tally.wait_for(ALL - 1, PATIENCE);
    assert_eq!(tally.different(), ALL - 1, "a message came twice");
    over.store(true, Ordering::Release);
}

/// A member whose connection is cut keeps the message of its handler, even if its broker has many
/// subscriptions to open again over a slow line. Opening all of them takes at least 3 s, which has
/// to be longer than a member may be silent.
///
/// # Panics
/// If another member gets the message.
#[track_caller]
pub fn opens_many_again([many, other]: [Arc<dyn Broker>; 2], proxy: &Proxy) {
    const IDLE: usize = 300;
    let (begun, over) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (begins, goes_on) = (Arc::clone(&begun), Arc::clone(&over));
    let handler = move |_: &Message, _: &Context| {
        begins.store(true, Ordering::Release);
        wait_until("it may end", || goes_on.load(Ordering::Acquire));
        Ok(())
    };
    let _member = many.subscribe_group("k", "g", handler).unwrap();
    let idle = |number| many.subscribe(format!("idle{number}"), |_, _| Ok(()));
    let _idle: Vec<_> = (0..IDLE).map(|number| idle(number).unwrap()).collect();
    publish(&other, "k", 0..1);
    wait_until("it has begun", || begun.load(Ordering::Acquire));
    let repeated = Arc::new(AtomicUsize::new(0));
    let repeats = Arc::clone(&repeated);
    let repeat = move |_: &Message, _: &Context| {
        repeats.fetch_add(1, Ordering::AcqRel);
        Ok(())
    };
    let _other = other.subscribe_group("k", "g", repeat).unwrap();
    proxy.delay(Duration::from_millis(5));
    proxy.cut();
    wait_until("the receiving side is cut off", || {
        many.health().inbound_fault.is_some()
    });
    wait_until("all are open again", || many.health().is_up());
    proxy.delay(Duration::ZERO);
    let repeated = repeated.load(Ordering::Acquire);
    over.store(true, Ordering::Release);
    assert_eq!(repeated, 0, "its handler still has the message");
}

/// A message that fails three times and is requeued is tried again by any member. Returns the
/// highest attempt.
///
/// # Panics
/// If a message is lost or repeated, or is not tried four times.
#[track_caller]
pub fn requeued(brokers: [&Arc<dyn Broker>; 2], options: SubscribeOptions) -> usize {
    let tally = Arc::new(Tally::new(20));
    let (failures, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let options = options.redelivery(Redelivery::Requeue);
    let _members = brokers.map(|broker| {
        let (counting, failures, most) = (count(&tally), Arc::clone(&failures), Arc::clone(&most));
        let handler = move |message: &Message, context: &Context| {
            most.fetch_max(context.attempt() as usize, Ordering::AcqRel);
            if number(message) == 3 && failures.fetch_add(1, Ordering::AcqRel) < 3 {
                return Err(HandlerError::failed("not yet"));
            }
            counting(message, context)
        };
        let request = Subscribe::new("k", handler).group("g");
        broker
            .subscribe_with(request.options(options.clone()))
            .unwrap()
    });
    publish(brokers[0], "k", 0..20);
    tally.wait_complete(PATIENCE);
    tally.assert_exactly_once();
    assert_eq!(failures.load(Ordering::Acquire), 4);
    most.load(Ordering::Acquire)
}

/// A member of a group that gets three messages and rejects the second.
///
/// # Panics
/// If it does not get the other messages.
#[track_caller]
pub fn rejects_one(broker: &Arc<dyn Broker>, key: &str, group: &str) -> BrokerSubscription {
    let tally = Arc::new(Tally::new(3));
    let counting = count(&tally);
    let handler = move |message: &Message, context: &Context| match number(message) {
        1 => Err(HandlerError::Reject),
        _ => counting(message, context),
    };
    let member = broker.subscribe_group(key, group, handler).unwrap();
    publish(broker, key, 0..3);
    tally.wait_for(2, PATIENCE);
    member
}

/// A broker is used and dropped on this thread, which has to be a thread of an async runtime.
///
/// # Panics
/// If that does not work.
pub fn used_and_dropped(broker: Arc<dyn Broker>) {
    let tally = Arc::new(Tally::new(10));
    let subscription = broker.subscribe("k", count(&tally)).unwrap();
    publish(&broker, "k", 0..10);
    tally.wait_complete(PATIENCE);
    drop(subscription);
    drop(broker);
}
