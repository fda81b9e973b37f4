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

/// Keeps a subscription alive: calls `f` to make it, and calls `f` again whenever `f` or the
/// subscription that it made fails.
///
/// Between two calls it waits, as [`Backoff`] says. The wait starts at a tenth of `max`, doubles
/// while attempts keep failing quickly, up to `max`, and starts at a tenth again once an attempt
/// has lasted longer than `max`. An attempt lasts from the call of `f` to the failure of `f` or of
/// the subscription. `max` is a [`Duration`](std::time::Duration), or a [`Backoff`] made [from a
/// seed](Backoff::with_seed).
///
/// A subscription that ends without an error has succeeded, and ends the resubscription without an
/// error too. Unsubscribing interrupts the wait, cancels the token that `f` was given, and ends the
/// live subscription. It waits for all of that, so an `f` that takes long should check its token.
///
/// `f` runs on a thread that the resubscription has for itself. What [`Subscription::spawn`] says
/// of unsubscribing from within the producer, and of [`stats`](Subscription::stats), holds here for
/// `f`.
///
/// # Errors
///
/// This function returns no error, but the resubscription itself fails if `f` panics
/// ([`Panicked`](SubscriptionError::Panicked)) or if no thread could be started for it
/// ([`Failed`](SubscriptionError::Failed)). [`err`](Subscription::err) yields that failure. A panic
/// of a producer that `f` has spawned is a failed attempt like any other.
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

/// Keeps a subscription alive as [`resubscribe`] does, and tells `f` why the previous attempt
/// failed.
///
/// At the first call there is no error. At later calls it is the error that `f` returned, as
/// [`Failed`](SubscriptionError::Failed), or the error that its subscription failed with.
///
/// # Errors
///
/// As [`resubscribe`]. The errors of attempts go to `f`, and are not the resubscription's.
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
#[doc(alias = "ResubscribeErr")]
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

/// Waits until the subscription has ended or the token is cancelled, and returns the subscription's
/// error, if any.
fn run(subscription: Subscription, token: &CancelToken) -> Option<SubscriptionError> {
    let mut closed = subscription.closed();
    token.wait_until(None, |waker| {
        Pin::new(&mut closed)
            .poll(&mut Context::from_waker(waker))
            .is_ready()
    });
    subscription.error()
}
