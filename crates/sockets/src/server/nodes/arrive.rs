//! What arrives from other nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use fanfeed_broker::{Context, Message, Outcome};

use super::Nodes;
use super::envelope::{self, What};
use super::events::{NodeEvent, count};
use super::gate::Gate;
use super::route::Link;
use crate::observe::shown_error;
use crate::server::mailbox::Frame;

impl Nodes {
    /// Handles what arrives on a key, until the gate is shut.
    pub(super) fn handler(
        self: &Arc<Self>,
        link: &Arc<Link>,
        gate: Arc<Gate>,
    ) -> impl Fn(&Message, &Context) -> Outcome + Send + Sync + 'static {
        let (nodes, link) = (Arc::downgrade(self), Arc::downgrade(link));
        let known = AtomicU64::new(0);
        move |message, _| {
            if let (Some(nodes), Some(link)) = (nodes.upgrade(), link.upgrade())
                && let Some(_pass) = gate.pass()
            {
                let dropped = link.dropped();
                let missed = dropped.saturating_sub(known.swap(dropped, Ordering::Relaxed));
                if missed > 0 {
                    nodes.lost(&link, Some(missed));
                }
                nodes.arrive(&link, message.payload());
                link.has_handled_one();
            }
            Ok(())
        }
    }

    fn undecodable(&self, reason: String) {
        let reason = shown_error(&reason);
        self.emit([NodeEvent::Undecodable { reason }]);
        count(&self.counters.undecodable);
    }

    fn arrive(self: &Arc<Self>, link: &Arc<Link>, payload: &Bytes) {
        let (header, body) = match envelope::read(payload) {
            Ok(read) => read,
            Err(reason) => return self.undecodable(reason),
        };
        let (origin, body) = (&*header.origin, payload.slice(body..));
        let is_other_channel = match &header.what {
            What::Frame { channel, .. } | What::Close { channel } => {
                link.channel.as_deref() != Some(&**channel)
            }
            _ => false,
        };
        if *origin == *self.id || is_other_channel {
            return;
        }
        count(&self.counters.received);
        // Whatever a node sends, it lives. Where the lock is taken, the next message says so.
        if let Some(mut remote) = self.remote.try_lock() {
            remote.lives(origin, Instant::now());
        }
        let is_numbered = matches!(
            header.what,
            What::Frame { .. } | What::Close { .. } | What::Direct { .. } | What::Answer { .. }
        );
        if is_numbered && !self.seen.lock().insert(origin, header.number) {
            return count(&self.counters.duplicates);
        }
        if let Err(reason) = self.handle(origin, header.what, body) {
            self.undecodable(reason);
        }
    }

    fn handle(self: &Arc<Self>, origin: &str, what: What<'_>, body: Bytes) -> Result<(), String> {
        let Some(core) = self.core() else {
            return Ok(());
        };
        let now = Instant::now();
        let wants_snapshot = match what {
            What::Frame { channel, question } => {
                match question {
                    None => drop(core.deliver(&channel, frame_of(body)?)),
                    Some(question) => {
                        self.ask_here(&core, &channel, frame_of(body)?, &question, origin);
                    }
                }
                false
            }
            What::Close { channel } => {
                core.close_channel(&channel);
                false
            }
            What::Direct { client } => {
                core.send_frame(&client, frame_of(body)?);
                false
            }
            What::Answer { question } => {
                self.answer(&core, &question, &body)?;
                false
            }
            What::Want => {
                self.promise_snapshot();
                false
            }
            What::Beat {
                interval,
                version,
                hello,
            } => {
                if hello {
                    self.promise_snapshot();
                }
                self.apply(|remote| remote.beat(origin, interval, version, now))
            }
            What::Changes { from, to } => {
                let changes = json(&body)?;
                self.apply(|remote| remote.changes(origin, (from, to), changes, now))
            }
            What::Snapshot {
                interval,
                version,
                part,
                parts,
            } => {
                let entries = json(&body)?;
                let part = (part, parts);
                self.apply(|remote| remote.snapshot(origin, interval, version, part, entries, now))
            }
            What::Bye => self.apply(|remote| remote.bye(origin)),
        };
        if wants_snapshot {
            self.publish(self.keys.node(origin), None, What::Want, "");
        }
        Ok(())
    }

    fn promise_snapshot(&self) {
        self.wants_snapshot.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }
}

fn frame_of(body: Bytes) -> Result<Frame, String> {
    Frame::try_from(body).map_err(|error| format!("the frame is no text: {error}"))
}

fn json<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}
