//! What can be set for a client.

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::error::ClientBuildError;

/// The longest time that is used: an instant that is later by much more cannot be told.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many bytes are read or written at once.
const BUFFER: usize = 4 << 10;

#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The bound of the waits between attempts to connect again. `None`: there are none.
    pub(super) reconnect: Option<Duration>,
    /// How many attempts may fail in a row.
    pub(super) attempts: Option<u32>,
    pub(super) connect_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) ping_interval: Duration,
    /// How long the server may be silent.
    pub(super) silence: Duration,
    pub(super) max_message: usize,
    pub(super) max_publish: usize,
    /// How long a message of the server may take to arrive.
    pub(super) message_timeout: Duration,
    /// Messages that wait for their listeners.
    pub(super) inbox: usize,
    pub(super) inbox_bytes: u32,
    /// Messages that wait to be written.
    pub(super) outbox: usize,
    pub(super) outbox_bytes: u32,
    /// Whether what comes is sent back as it is, for the cases of Autobahn.
    #[cfg(test)]
    pub(super) echoes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reconnect: Some(Duration::from_secs(30)),
            attempts: None,
            connect_timeout: Duration::from_secs(15),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            ping_interval: Duration::from_secs(20),
            silence: Duration::from_secs(50),
            max_message: 1 << 20,
            max_publish: 1 << 20,
            message_timeout: Duration::from_secs(120),
            inbox: 256,
            inbox_bytes: 4 << 20,
            outbox: 256,
            outbox_bytes: 4 << 20,
            #[cfg(test)]
            echoes: false,
        }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), ClientBuildError> {
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("write_timeout", self.write_timeout),
            ("ping_interval", self.ping_interval),
            ("silence_timeout", self.silence),
            ("message_timeout", self.message_timeout),
        ];
        for (setting, time) in times {
            if time.is_zero() {
                let expected = "longer than zero";
                return Err(ClientBuildError::BadSetting { setting, expected });
            }
        }
        if self.silence <= self.ping_interval {
            return Err(ClientBuildError::BadSetting {
                setting: "silence_timeout",
                expected: "longer than `ping_interval`, so that the server has time to answer",
            });
        }
        for (setting, count) in [("inbox", self.inbox), ("outbox", self.outbox)] {
            if !(1..=1 << 20).contains(&count) {
                let expected = "from 1 to 1048576";
                return Err(ClientBuildError::BadSetting { setting, expected });
            }
        }
        for (setting, bytes) in [
            ("max_message_bytes", self.max_message),
            ("max_publish_bytes", self.max_publish),
        ] {
            if bytes == 0 {
                let expected = "at least 1";
                return Err(ClientBuildError::BadSetting { setting, expected });
            }
        }
        for (setting, bytes) in [
            ("inbox_bytes", self.inbox_bytes),
            ("outbox_bytes", self.outbox_bytes),
        ] {
            // A semaphore of tokio's has room for it on every platform.
            if !(1..=1 << 28).contains(&bytes) {
                let expected = "from 1 to 268435456";
                return Err(ClientBuildError::BadSetting { setting, expected });
            }
        }
        Ok(())
    }

    /// Limits each time to a year, which stands for "never", as `Duration::MAX` does.
    pub(super) fn bounded(mut self) -> Self {
        for time in [
            &mut self.connect_timeout,
            &mut self.write_timeout,
            &mut self.close_timeout,
            &mut self.ping_interval,
            &mut self.silence,
            &mut self.message_timeout,
        ] {
            *time = LONGEST.min(*time);
        }
        self.reconnect = self.reconnect.map(|wait| LONGEST.min(wait));
        self
    }

    pub(super) fn websocket(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(BUFFER)
            .max_message_size(Some(self.max_message))
            .max_frame_size(Some(self.max_message))
    }
}
