//! Floor 2: a subscription that is made again whenever it fails.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use crate::attempts::{Attempts, Step};
use crate::backoff::Backoff;
use crate::error::SubscriptionError;
use crate::subscription::{CancelToken, Subscription};
use crate::wait::quietly;

/// Keeps a subscription alive: calls `f` to make it, and again whenever `f` or the subscription that it made fails.
///
/// Between two calls it waits, as [`Backoff`] says: from a tenth of `max` at first, doubling while attempts keep failing
/// quickly, up to `max`, and from a tenth again once an attempt has lasted longer than `max`. An attempt lasts from the
/// call of `f` to its failure or that of the subscription. `max` is a [`Duration`](std::time::Duration), or a
/// [`Backoff`] made [from a seed](Backoff::with_seed).
///
/// A subscription that ends without an error has succeeded, and ends the resubscription without an error too.
/// Unsubscribing interrupts the wait, cancels the token that `f` was given, and ends the subscription that is live; it
/// waits for all of that, so an `f` that takes long should look at its token.
///
/// `f` runs on a thread that the resubscription has for itself, so what holds of [`Subscription::spawn`] holds here: of
/// unsubscribing from within `f`, and of [`stats`](Subscription::stats).
///
/// # Errors
///
/// None here, but the resubscription itself fails, which [`err`](Subscription::err) yields, if `f` panics
/// ([`Panicked`](SubscriptionError::Panicked)) or if no thread could be made for it
/// ([`Failed`](SubscriptionError::Failed)). A panic of a producer that `f` has spawned is a failure like any other.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use fanfeed::{Subscription, resubscribe};
///
/// let mut calls = 0;
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let subscription = resubscribe(Duration::from_millis(10), move |_token| {
///     calls += 1;
///     let _ = tx.send(calls);
///     if calls == 1 {
///         return Err("not yet");
///     }
///     let line = if calls == 2 { Err(io::Error::other("line lost")) } else { Ok(()) };
///     Ok(Subscription::spawn(move |_token| line))
/// });
/// subscription.closed().wait();
/// assert!(subscription.err().recv().is_err(), "it ended well");
/// assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
/// ```
pub fn resubscribe<F, E>(max: impl Into<Backoff>, mut f: F) -> Subscription
where
    F: FnMut(CancelToken) -> Result<Subscription, E> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    resubscribe_with_error(max, move |token, error| {
        // An error that panics when it is dropped does not count as a failure of `f`.
        quietly(|| drop(error));
        f(token)
    })
}

/// Keeps a subscription alive as [`resubscribe`] does, and tells `f` why the attempt before failed.
///
/// At the first call there is no error. Afterwards it is what `f` returned, as
/// [`Failed`](SubscriptionError::Failed), or what its subscription failed with.
///
/// # Errors
///
/// As [`resubscribe`]: those of the attempts are handed to `f`, and are not the resubscription's.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use fanfeed::{Subscription, resubscribe_with_error};
///
/// let (tx, rx) = crossbeam_channel::unbounded();
/// let subscription = resubscribe_with_error(Duration::from_millis(10), move |_token, last| {
///     let _ = tx.send(last.as_ref().map(ToString::to_string));
///     match last {
///         None => Err("busy"),
///         Some(_) => Ok(Subscription::spawn(|_token| Ok::<(), &str>(()))),
///     }
/// });
/// subscription.closed().wait();
/// assert_eq!(rx.recv().unwrap(), None);
/// assert_eq!(rx.recv().unwrap().as_deref(), Some("the subscription's producer failed: busy"));
/// ```
pub fn resubscribe_with_error<F, E>(max: impl Into<Backoff>, mut f: F) -> Subscription
where
    F: FnMut(CancelToken, Option<SubscriptionError>) -> Result<Subscription, E> + Send + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let mut attempts = Attempts::new(max.into());
    Subscription::spawn(move |token| {
        let mut step = Step::Attempt(None);
        while !token.is_cancelled() {
            step = match step {
                Step::Attempt(last) => {
                    attempts.begin(Instant::now());
                    let error = match f(token.clone(), last) {
                        Ok(subscription) => run(subscription, &token),
                        Err(error) => Some(SubscriptionError::failed(error)),
                    };
                    attempts.ended(Instant::now(), error)
                }
                Step::Wait(wait, error) => {
                    token.wait_timeout(wait);
                    attempts.waited(error)
                }
                Step::End => break,
            };
        }
        Ok::<(), Infallible>(())
    })
}

/// Waits until the subscription has ended, or until cancelled, and gives the error that it failed with.
fn run(subscription: Subscription, token: &CancelToken) -> Option<SubscriptionError> {
    let mut closed = subscription.closed();
    token.wait_until(None, |waker| {
        Pin::new(&mut closed)
            .poll(&mut Context::from_waker(waker))
            .is_ready()
    });
    subscription.error()
}
