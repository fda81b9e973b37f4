//! Requests as many messages from consumers as there is room for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfeed_broker::driver::LinkError;

use super::{Role, Work};
use crate::link::Wire;

/// The beginning of the subject of a request. The stream and the consumer follow.
pub(super) const REQUESTS: &str = "$JS.API.CONSUMER.MSG.NEXT.";
/// How long the server keeps a request. When it reports that this time has passed, it gets another
/// request.
const EXPIRES: Duration = Duration::from_secs(20);
/// How late that report may come.
const LATE: Duration = Duration::from_secs(5);
/// The most messages on their way to a plain subscription.
const MOST: usize = 4096;
/// The most messages of one member. Other members get the rest.
const MOST_HELD: usize = 512;

impl Work {
    /// Sends requests for all ready subscriptions.
    pub(super) async fn ask_all(&mut self, wire: &Wire) -> Result<(), LinkError> {
        let ready: Vec<u64> = self.ready.drain().collect();
        for id in ready {
            self.ask(wire, id).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, wire: &Wire, id: u64) -> Result<(), LinkError> {
        let Some(subscription) = self.kept.subscriptions.get_mut(&id) else {
            return Ok(());
        };
        if self.stale.contains(&id) || subscription.listener.is_none() || subscription.is_ending() {
            return Ok(());
        }
        let room = subscription.sink.room();
        if room == 0 {
            self.full.insert(id);
            return Ok(());
        }
        // The library would drop messages that its buffer cannot hold.
        let room = room.min(self.shared.config.client_buffer);
        let target = match &subscription.role {
            Role::Plain(_) => room.min(MOST),
            Role::Member(member) if member.closed => 0,
            Role::Member(member) => room.min(MOST_HELD.saturating_sub(member.held.len())),
        };
        // While half of the messages are on their way, no new request is needed.
        if target == 0 || subscription.asked > target / 2 {
            return Ok(());
        }
        let batch = target - subscription.asked;
        subscription.asked = target;
        subscription.asked_at = Instant::now();
        let stream = self.shared.names.stream();
        let consumer = &subscription.consumer;
        let subject = format!("{REQUESTS}{stream}.{consumer}");
        let reply = format!("{}.s{id}.{}", wire.inbox, subscription.generation);
        let expires = EXPIRES.as_nanos();
        let request = Bytes::from(format!("{{\"batch\":{batch},\"expires\":{expires}}}"));
        let sent = wire.client.publish_with_reply(subject, reply, request);
        let answer = self.shared.config.answer;
        match wire.within(answer, sent).await? {
            Ok(()) => Ok(()),
            Err(error) => Err(LinkError::new(error.to_string())),
        }
    }

    /// Makes subscriptions whose request the server refused or has dropped send another request.
    pub(super) fn ask_overdue(&mut self) {
        self.ready.extend(self.later.drain());
        for (id, subscription) in &mut self.kept.subscriptions {
            if subscription.asked > 0 && subscription.asked_at.elapsed() > EXPIRES + LATE {
                subscription.asked = 0;
                self.ready.insert(*id);
            }
        }
    }
}
