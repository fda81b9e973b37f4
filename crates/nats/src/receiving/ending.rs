//! Ends the requests of a member before it gives messages back.
//!
//! The server keeps a request until it is filled or its time has passed. A message that is given
//! back before that is delivered again and again to the requests of the same member, and the server
//! counts each delivery. So a member that has messages to give back first unsubscribes from its
//! answers, and then the server drops its requests. Messages that still arrive are `late`: they are
//! given back once, together with the others.
//!
//! When the library unsubscribes, it removes the subscription at once and loses the messages on
//! their way. Therefore this side unsubscribes after a number of messages, and sends itself as many
//! messages as may be missing. The server and the library count the same messages, so both end the
//! subscription at the same message, and none is lost between them.

use std::time::Instant;

use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use fanfeed_broker::driver::LinkError;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::settling::Settlement;
use super::{Subscription, Work};
use crate::api::ApiFault;
use crate::link::{Wire, next};

/// How many more messages than requested may be on their way: reports of the server about requests.
const REPORTS: usize = 64;

/// The messages of a listener to its side.
#[derive(Debug)]
pub(super) enum Answer {
    Message(Message),
    /// The server has dropped the requests, and this listener passes on no more messages.
    Over(u64),
}

/// The task that passes on the answers to the requests of one subscription.
#[derive(Debug)]
pub(super) struct Listener {
    number: u64,
    task: AbortHandle,
    /// Tells the task to end the requests, and how many messages may be on their way.
    end: Option<oneshot::Sender<usize>>,
    /// The time at which it was told.
    ending: Option<Instant>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Begins to pass on the messages of `subscriber`. `subject` is a subject that reaches it.
    pub(super) fn start(
        (id, number): (u64, u64),
        subscriber: Subscriber,
        (client, subject): (Client, String),
        sender: UnboundedSender<(u64, Answer)>,
    ) -> Self {
        let (end, told) = oneshot::channel();
        let body = async move {
            listen(id, subscriber, (client, subject), told, &sender).await;
            let _ = sender.send((id, Answer::Over(number)));
        };
        Listener {
            number,
            task: tokio::spawn(body).abort_handle(),
            end: Some(end),
            ending: None,
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    fn end(&mut self, asked: usize) {
        if let Some(end) = self.end.take() {
            let _ = end.send(asked);
            self.ending = Some(Instant::now());
        }
    }
}

async fn listen(
    id: u64,
    mut subscriber: Subscriber,
    (client, subject): (Client, String),
    mut told: oneshot::Receiver<usize>,
    sender: &UnboundedSender<(u64, Answer)>,
) {
    let mut count: u64 = 0;
    let mut asked = None;
    while asked.is_none() {
        tokio::select! {
            biased;
            message = next(&mut subscriber) => {
                let Some(message) = message else { return };
                count += 1;
                if sender.send((id, Answer::Message(message))).is_err() {
                    return;
                }
            }
            told = &mut told => match told {
                Ok(most) => asked = Some(most),
                Err(_) => return,
            },
        }
    }
    let missing = asked.unwrap_or_default() + REPORTS;
    if subscriber
        .unsubscribe_after(count + missing as u64)
        .await
        .is_err()
    {
        return;
    }
    for _ in 0..missing {
        if client.publish(subject.clone(), Bytes::new()).await.is_err() {
            return;
        }
    }
    while let Some(message) = next(&mut subscriber).await {
        if sender.send((id, Answer::Message(message))).is_err() {
            return;
        }
    }
}

impl Subscription {
    pub(super) fn is_ending(&self) -> bool {
        self.listener.as_ref().is_some_and(Listener::is_ending)
    }

    /// Called when it has no open request left.
    pub(super) fn end_requests(&mut self, settled: &mut Vec<Settlement>) {
        self.listener = None;
        self.asked = 0;
        if let Some(member) = self.member_mut() {
            settled.extend(member.late.drain(..).map(Settlement::give));
        }
    }
}

impl Work {
    pub(super) fn answered(&mut self, id: u64, answer: Answer) {
        match answer {
            Answer::Message(message) => self.arrived(id, &message),
            Answer::Over(number) => {
                let subscription = self.kept.subscriptions.get(&id);
                let listener = subscription.and_then(|of| of.listener.as_ref());
                if listener.is_some_and(|listener| listener.number == number) {
                    self.over.insert(id);
                }
            }
        }
    }

    /// Ends the requests whose listener has ended.
    ///
    /// The server removes a request without a waiting subscriber when it next looks for a request.
    /// If it has taken a message for that request before, server 2.9 holds the message back until
    /// `ack_wait` has passed. A request for information about the consumer makes the server look
    /// earlier.
    pub(super) async fn end_over(&mut self, wire: &Wire) -> Result<(), LinkError> {
        let over: Vec<u64> = self.over.drain().collect();
        for id in over {
            let Some(subscription) = self.kept.subscriptions.get(&id) else {
                continue;
            };
            let (stream, consumer) = (self.shared.names.stream(), &subscription.consumer);
            let info = format!("CONSUMER.INFO.{stream}.{consumer}");
            // A deleted consumer has no requests.
            if let Err(ApiFault::Lost(error)) = wire.ask(&info, &Value::Null).await {
                return Err(error);
            }
            self.ended(id);
        }
        Ok(())
    }

    /// Gives a message back to its group, at once or when the requests of the member have ended.
    pub(super) fn give_back(&mut self, id: u64, position: u64, reply: Subject) {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            self.kept.settled.push(Settlement::give(reply));
            return;
        };
        self.kept.unseen.count(&subscription.consumer, position);
        let is_listening = subscription.listener.is_some();
        match subscription.member_mut() {
            Some(member) if is_listening => {
                member.late.push(reply);
                self.begin_to_end(id);
            }
            _ => self.kept.settled.push(Settlement::give(reply)),
        }
    }

    /// Makes the server drop the requests of a subscription.
    pub(super) fn begin_to_end(&mut self, id: u64) {
        if let Some(subscription) = self.kept.subscriptions.get_mut(&id)
            && let Some(listener) = &mut subscription.listener
        {
            listener.end(subscription.asked);
        }
    }

    /// Called when the requests of a subscription have ended.
    fn ended(&mut self, id: u64) {
        if let Some(subscription) = self.kept.subscriptions.get_mut(&id) {
            subscription.end_requests(&mut self.kept.settled);
            if !subscription.is_over() {
                // A member that continues sends another request when it has room.
                self.stale.insert(id);
            }
        }
        self.forget_over(id);
    }

    /// Gives up waiting for the end of requests. Some messages may come once more.
    pub(super) fn end_overdue(&mut self) {
        let answer = self.shared.config.answer;
        let is_due = |of: &Subscription| {
            let since = of.listener.as_ref().and_then(|listener| listener.ending);
            since.is_some_and(|since| since.elapsed() >= answer)
        };
        let all = self.kept.subscriptions.iter();
        let due: Vec<u64> = all
            .filter(|(_, of)| is_due(of))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.ended(id);
        }
    }

    /// Waits until all requests that are being ended have ended.
    pub(super) async fn wait_for_ends(&mut self, wire: &Wire) -> Result<(), LinkError> {
        let deadline = Instant::now() + self.shared.config.answer;
        while self
            .kept
            .subscriptions
            .values()
            .any(Subscription::is_ending)
        {
            tokio::select! {
                biased;
                reason = wire.signs.lost() => {
                    return Err(LinkError::new(wire.shared.config.redact(&reason)));
                }
                arrived = self.arrivals.recv() => {
                    if let Some((id, answer)) = arrived {
                        self.answered(id, answer);
                        self.end_over(wire).await?;
                    }
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    self.end_overdue();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Ends the requests of all members.
    pub(super) async fn end_all(&mut self, wire: &Wire) -> Result<(), LinkError> {
        let all = self.kept.subscriptions.iter();
        let members = all.filter(|(_, of)| of.member().is_some());
        let members: Vec<u64> = members.map(|(id, _)| *id).collect();
        for id in members {
            self.begin_to_end(id);
        }
        self.wait_for_ends(wire).await
    }
}
