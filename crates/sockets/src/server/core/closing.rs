//! The end of a server, and what it waits for.

use std::sync::atomic::Ordering;

use super::Core;
use crate::server::event::ServerEvent;
use crate::server::hooks::ChannelEnd;

impl Core {
    /// Refuses new members, and disconnects all members.
    pub(in crate::server) fn begin_shutdown(&self) {
        let channels: Vec<_> = {
            // Under the locks that `join` and `reserve` hold while they look at the flag.
            let channels = self.channels.write();
            let _slots = self.slots.lock();
            self.is_closing.store(true, Ordering::Relaxed);
            channels.values().cloned().collect()
        };
        self.closing.cancel();
        for channel in channels {
            self.end_channel(&channel, ChannelEnd::Shutdown);
        }
        #[cfg(feature = "nodes")]
        if let Some(nodes) = self.nodes() {
            nodes.closing.cancel();
        }
    }

    pub(in crate::server) fn http_opened(&self) {
        *self.http.lock() += 1;
    }

    pub(in crate::server) fn http_closed(&self) {
        let mut http = self.http.lock();
        *http -= 1;
        let is_empty = *http == 0;
        drop(http);
        if is_empty {
            self.emptied.notify_waiters();
        }
    }

    /// Waits until no connection is left, in its handshake or later, nor one with a response of the
    /// application under way.
    pub(in crate::server) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            // In this order: a connection gets its slot before it is no longer counted here.
            if *self.http.lock() == 0 && self.slots.lock().taken == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Ends all connections at once, also those that are no sessions yet. Returns how many there
    /// were.
    pub(in crate::server) fn kill(&self) -> usize {
        let http = *self.http.lock();
        let count = http + self.slots.lock().taken;
        self.killed.cancel();
        let sessions: Vec<_> = self.sessions.read().values().cloned().collect();
        for member in sessions {
            member.mailbox.kill();
        }
        count
    }

    /// Tells observers that the server has shut down, and ends their events.
    pub(in crate::server) async fn tell_shutdown(&self, cut: usize) {
        self.observers.tell(|| ServerEvent::ShutDown { cut });
        self.observers.end().await;
    }
}
