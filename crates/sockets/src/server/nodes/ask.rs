//! Questions to the members of a channel on all nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Nodes;
use super::envelope::{Question, What};
use crate::server::awaits::{AwaitError, outcome};
use crate::server::channel::Channel;
use crate::server::core::Core;
use crate::server::mailbox::Frame;
use crate::server::reach::frame_for;
use crate::wire::{Incoming, Message, decode_first, unique_id};

/// How long a node waits at most for the answers to another node's question.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The questions of this node that other nodes may answer.
#[derive(Default)]
pub(super) struct Questions {
    pending: Mutex<HashMap<String, oneshot::Sender<Incoming>>>,
}

impl Questions {
    fn ask(&self, id: String) -> oneshot::Receiver<Incoming> {
        let (sender, receiver) = oneshot::channel();
        self.pending.lock().insert(id, sender);
        receiver
    }
}

/// Forgets a question, also when the asker's future is dropped.
struct Forget<'a> {
    nodes: &'a Nodes,
    here: Option<&'a Channel>,
    id: &'a str,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.nodes.questions.pending.lock().remove(self.id);
        if let Some(here) = self.here {
            here.awaits.forget(self.id);
        }
    }
}

impl Nodes {
    /// Asks the members of a channel on all nodes. See `Server::broadcast_await`.
    pub(in crate::server) async fn ask(
        &self,
        core: &Core,
        channel: &str,
        mut message: Message,
        timeout: Duration,
    ) -> Result<Message, AwaitError> {
        let id = format!("{}{}", core.question_prefix, unique_id());
        message.set_correlation_id(&*id);
        let frame = frame_for(channel, message);
        let here = core.channel(channel).and_then(|channel| {
            let answer = channel.unless_ended(|awaits| awaits.ask(id.clone()))?;
            Some((channel, answer))
        });
        let (here, answer_here) = here.unzip();
        if here.is_none() && !self.remote.lock().has_channel(channel) {
            return Err(AwaitError::ChannelNotFound);
        }
        let answer_there = self.questions.ask(id.clone());
        let _forget = Forget {
            nodes: self,
            here: here.as_deref(),
            id: &id,
        };
        if let Some(here) = &here {
            core.send(here, frame.clone());
        }
        let wait = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let question = Question {
            id: id.as_str().into(),
            wait,
        };
        let is_published = self.publish_to(channel, &frame, Some(question));
        if here.is_none() && !is_published {
            return Err(AwaitError::NotPublished);
        }
        let answers = self.first_answer(channel, answer_here, answer_there);
        match tokio::time::timeout(timeout, answers).await {
            Ok(answer) => answer.map_or(Err(AwaitError::ChannelEmptied), outcome),
            Err(_) => Err(AwaitError::Timeout),
        }
    }

    /// Waits for the first answer, from here or from another node. `None` when no member is
    /// left that could answer.
    async fn first_answer(
        &self,
        channel: &str,
        mut here: Option<oneshot::Receiver<Incoming>>,
        mut there: oneshot::Receiver<Incoming>,
    ) -> Option<Incoming> {
        loop {
            // Made before presence is looked at, so that no change is missed.
            let changed = self.changed.notified();
            if here.is_none() && !self.remote.lock().has_channel(channel) {
                // The answer may have come just before its member left.
                return there.try_recv().ok();
            }
            let answer_here = async {
                match &mut here {
                    Some(here) => here.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = answer_here => match answer {
                    Ok(answer) => return Some(answer),
                    Err(_) => here = None,
                },
                Ok(answer) = &mut there => return Some(answer),
                () = changed => {}
            }
        }
    }

    /// Asks the members of this node for another one.
    pub(super) fn ask_here(
        self: &Arc<Self>,
        core: &Core,
        channel: &str,
        frame: Frame,
        question: &Question<'_>,
        asker: &str,
    ) {
        let Some(here) = core.channel(channel) else {
            return;
        };
        let (id, key) = (question.id.clone().into_owned(), self.keys.node(asker));
        let Some(answer) = here.unless_ended(|awaits| awaits.ask(id.clone())) else {
            return;
        };
        core.send(&here, frame);
        let wait = LONGEST_WAIT.min(Duration::from_millis(question.wait));
        let (nodes, until) = (Arc::clone(self), Instant::now() + wait);
        self.runtime().spawn(async move {
            if let Ok(Ok(answer)) = tokio::time::timeout_at(until, answer).await {
                let frame = match &answer {
                    Incoming::Message(message) => message.encode(),
                    Incoming::Error(error) => error.encode(),
                };
                let question = id.as_str().into();
                nodes.publish(key, None, What::Answer { question }, &frame);
            }
            here.awaits.forget(&id);
        });
    }

    /// Hands an answer of another node to its question.
    pub(super) fn answer(&self, core: &Core, question: &str, frame: &[u8]) -> Result<(), String> {
        let answer = decode_first(frame).map_err(|error| error.to_string())?;
        let asked = self.questions.pending.lock().remove(question);
        if asked.is_none_or(|asked| asked.send(answer).is_err()) {
            core.counters.late_answers.add(1);
        }
        Ok(())
    }
}
