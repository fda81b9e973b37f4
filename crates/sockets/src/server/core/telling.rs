//! What observers are told of a server. None of it is said while a lock is held.

use std::net::IpAddr;
use std::sync::Arc;

use super::Core;
use crate::middleware::PanicError;
use crate::observe::{cut, shown_error};
use crate::server::channel::Channel;
use crate::server::event::ServerEvent;
use crate::server::hooks::ChannelEnd;

impl Core {
    /// Tells observers that a channel ended.
    pub(super) fn tell_end(&self, channel: &Channel, end: ChannelEnd) {
        channel.uncount();
        self.observers.tell(|| ServerEvent::ChannelEnded {
            channel: Arc::clone(&channel.id),
            end,
        });
    }

    /// Tells observers that a callback of the application panicked.
    pub(in crate::server) fn tell_failed(
        &self,
        callback: &'static str,
        channel: &str,
        panic: &PanicError,
    ) {
        self.observers.tell(|| ServerEvent::CallbackFailed {
            callback,
            channel: channel.into(),
            error: shown_error(&panic.text()),
        });
    }

    /// Tells observers that the HTTP request of a handshake could not be read.
    pub(in crate::server) fn tell_unread(&self, address: IpAddr, reason: &'static str) {
        self.counters.refused.add(1);
        self.observers
            .tell(|| ServerEvent::HandshakeFailed { address, reason });
    }

    /// Tells observers that a client may not join.
    pub(in crate::server) fn tell_refused(
        &self,
        address: Option<IpAddr>,
        channel: &str,
        code: u16,
        reason: &str,
    ) {
        self.counters.refused.add(1);
        let longest = self.settings.limits.channel_id_size;
        self.observers.tell(|| ServerEvent::Refused {
            address,
            // One that is longer is why it was refused.
            channel: cut(channel, longest).into(),
            code,
            reason: shown_error(reason),
        });
    }
}
