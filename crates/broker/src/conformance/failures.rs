//! Cases about handlers that fail.

use std::sync::Arc;
use std::time::Duration;

use super::tools::{Env, number, numbered, roomy};
use crate::context::Context;
use crate::event::Event;
use crate::handler::{HandlerError, Outcome};
use crate::message::Message;
use crate::subscriber::Subscribe;

type Seen = Arc<parking_lot::Mutex<Vec<(usize, u32)>>>;

/// Publishes three messages to a handler whose first is handled by `first`. Returns what the
/// handler saw.
fn with_first(
    env: &Env<'_>,
    calls: usize,
    attempts: u32,
    first: impl Fn(u32) -> Outcome + Send + Sync + 'static,
) -> Vec<(usize, u32)> {
    let key = env.key("failing");
    let seen = Seen::default();
    let handler = {
        let seen = Arc::clone(&seen);
        move |message: &Message, context: &Context| {
            let n = number(message);
            seen.lock().push((n, context.attempt()));
            match n {
                0 => first(context.attempt()),
                _ => Ok(()),
            }
        }
    };
    let options = roomy()
        .attempts(attempts)
        .backoff(Duration::from_millis(50));
    let request = Subscribe::new(&*key, handler).options(options);
    let subscription = env
        .broker
        .subscribe_with(request)
        .expect("the subscription is made");
    subscription
        .ready(env.patience())
        .expect("the subscription is live");
    for n in 0..3 {
        env.publish(numbered(&key, n));
    }
    env.eventually("all are handled", || seen.lock().len() >= calls);
    seen.lock().clone()
}

pub(crate) fn a_failed_message_is_delivered_again(env: &Env<'_>) {
    let seen = with_first(env, 5, 0, |attempt| match attempt {
        1 => Err(std::io::Error::other("not now").into()),
        2 => Err(HandlerError::Retry(Duration::from_millis(1))),
        _ => Ok(()),
    });
    assert_eq!(seen, [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1)]);
}

pub(crate) fn a_panic_is_a_failure(env: &Env<'_>) {
    let mut events = env.broker.events();
    let seen = with_first(env, 4, 0, |attempt| {
        assert!(attempt > 1, "a panic that the suite wants");
        Ok(())
    });
    assert_eq!(seen, [(0, 1), (0, 2), (1, 1), (2, 1)]);
    let mut failed = false;
    env.eventually("the panic is reported", || {
        failed |= events.try_iter().any(|event| match event {
            Event::HandlerFailed { error, .. } => error.contains("a panic that the suite wants"),
            _ => false,
        });
        failed
    });
}

pub(crate) fn a_rejected_message_is_given_up_and_reported(env: &Env<'_>) {
    given_up(env, 3, 1, 0, |_| Err(HandlerError::Reject));
}

pub(crate) fn a_message_is_given_up_after_its_attempts(env: &Env<'_>) {
    given_up(env, 5, 3, 3, |_| Err(HandlerError::failed("never")));
}

fn given_up(
    env: &Env<'_>,
    calls: usize,
    tries: u32,
    limit: u32,
    first: impl Fn(u32) -> Outcome + Send + Sync + 'static,
) {
    let before = env.broker.stats().given_up;
    let mut events = env.broker.events();
    let seen = with_first(env, calls, limit, first);
    let tried = seen.iter().filter(|(n, _)| *n == 0).count();
    assert_eq!(tried, tries as usize);
    let mut reported = false;
    env.eventually("it is reported", || {
        reported |= events
            .try_iter()
            .any(|event| matches!(event, Event::GaveUp { attempts, .. } if attempts == tries));
        reported
    });
    env.eventually("it is counted", || env.broker.stats().given_up > before);
}
