//! One connection, on the thread that uses it.
//!
//! The client library needs a runtime. Each side of a broker has its own runtime, which uses only
//! the side's thread. The runtime runs only while the side waits. Callers never see it, and it is
//! dropped on that thread.
//!
//! The library would reconnect by itself, without reporting what was lost. This module prevents
//! that: a lost connection ends the side, and the engine opens another one.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr, Subscriber, rustls};
use bytes::Bytes;
use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::LinkError;
use futures_core::Stream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::config::{Config, Login};
use crate::fault;
use crate::shared::Shared;
use crate::signs::Signs;

/// The oldest supported server. Since this release, the subject of a request names the consumer.
const OLDEST: (u32, u32) = (2, 9);

/// The sides of a broker, as in the names of their connections.
pub(crate) const OUT: &str = "out";
pub(crate) const IN: &str = "in";

/// The least number of answers that the publishing side can hold: enough for several usual batches.
const ANSWERS: usize = 1 << 16;

/// A connection and the runtime that drives it.
#[derive(Debug)]
pub(crate) struct Link {
    // This field is dropped before the runtime.
    pub(crate) wire: Wire,
    runtime: Option<Runtime>,
}

/// The part of a connection that tasks need.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) client: Client,
    pub(crate) signs: Arc<Signs>,
    pub(crate) shared: Arc<Shared>,
    /// The beginning of the subjects of answers on this connection. No other connection uses it.
    pub(crate) inbox: String,
    echoes: Subscriber,
    echoed: u64,
}

impl Link {
    /// Connects and logs in. When it returns, the server has answered.
    pub(crate) fn open(shared: &Arc<Shared>, side: &str) -> Result<Self, ConnectError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            ConnectError::Failed(format!("the runtime cannot be made: {error}").into())
        })?;
        let dial = shared.config.dial;
        let wire = runtime.block_on(async {
            tokio::select! {
                biased;
                opened = timeout(dial, Wire::open(shared, side)) => {
                    opened.unwrap_or_else(|_| Err(fault::timed_out(&shared.config)))
                }
                error = fault::other_protocol(shared) => Err(error),
            }
        });
        match wire {
            Ok(wire) => Ok(Link {
                wire,
                runtime: Some(runtime),
            }),
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Runs `work`, and the connection's tasks at the same time.
    pub(crate) fn run<T>(&mut self, work: impl AsyncFnOnce(&mut Wire) -> T) -> T {
        let runtime = self
            .runtime
            .as_ref()
            .expect("it is there until the link is dropped");
        runtime.block_on(work(&mut self.wire))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The name resolver may hang: do not wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Wire {
    async fn open(shared: &Arc<Shared>, side: &str) -> Result<Self, ConnectError> {
        let config = &shared.config;
        let signs = Signs::new();
        let options = options(shared, side, &signs).await?;
        let client = options
            .connect(addresses(config)?)
            .await
            .map_err(|error| fault::connecting(config, &error))?;
        signs.set_connected();
        check_version(&client.server_info().version)?;
        let inbox = client.new_inbox();
        let echoes = client.subscribe(format!("{inbox}.echo")).await;
        let echoes = echoes.map_err(|error| ConnectError::Failed(error.to_string().into()))?;
        let mut wire = Wire {
            client,
            signs,
            shared: Arc::clone(shared),
            inbox,
            echoes,
            echoed: 0,
        };
        // The echo never comes if the user is not allowed to receive it.
        let refusing = Arc::clone(&wire.signs);
        let echoed = tokio::select! {
            biased;
            echoed = wire.echo() => echoed,
            () = refused(&refusing) => Ok(()),
        };
        if let Some(error) = refusing.errors().iter().find(|error| is_refusal(error)) {
            let inbox = &config.inbox;
            return Err(ConnectError::Denied(
                format!("{error}: allow the user to publish and to subscribe to `{inbox}.>`, or choose another `inbox`")
                    .into(),
            ));
        }
        echoed.map_err(|error| ConnectError::Failed(error.reason().clone()))?;
        Ok(wire)
    }

    /// Checks whether the connection has ended, before anything is sent over it.
    pub(crate) async fn look(&self) -> Result<(), LinkError> {
        // One task reads from the connection, and another one passes the events on.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        match self.signs.is_lost() {
            true => Err(LinkError::new("the server closed it, or it broke").before_sending()),
            false => Ok(()),
        }
    }

    /// Waits for `work`, until the connection ends or the timeout for answers has passed.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, LinkError> {
        tokio::select! {
            biased;
            done = timeout(limit, work) => {
                done.map_err(|_| LinkError::new(format!("the server did not answer within {limit:?}")))
            }
            reason = self.signs.lost() => Err(LinkError::new(self.shared.config.redact(&reason))),
        }
    }

    /// Returns when the server has processed everything that was sent before on this connection.
    /// This side sends a message to itself, and a server processes a connection's input in order.
    /// The library's `flush` returns even if the server is gone.
    pub(crate) async fn echo(&mut self) -> Result<(), LinkError> {
        self.echo_within(self.shared.config.answer).await
    }

    /// Does the same with its own timeout, for an echo after a batch that is still to be sent.
    pub(crate) async fn echo_within(&mut self, limit: Duration) -> Result<(), LinkError> {
        self.echoed += 1;
        let number = self.echoed.to_string();
        let subject = format!("{}.echo", self.inbox);
        let (client, signs, shared) = (&self.client, &self.signs, &self.shared);
        let echoes = &mut self.echoes;
        let work = async {
            let sent = client.publish(subject, Bytes::from(number.clone())).await;
            sent.map_err(|error| LinkError::new(error.to_string()))?;
            loop {
                match next(echoes).await {
                    Some(echo) if echo.payload == number.as_bytes() => return Ok(()),
                    Some(_) => {}
                    None => return Err(LinkError::new("the client library ended")),
                }
            }
        };
        let done = tokio::select! {
            biased;
            done = timeout(limit, work) => done.unwrap_or_else(|_| {
                Err(LinkError::new(format!("the server did not answer within {limit:?}")))
            }),
            reason = signs.lost() => Err(LinkError::new(shared.config.redact(&reason))),
        };
        // Another task passes on errors that came before the echo.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        done
    }
}

/// Waits until the server has reported that the user is not allowed to do something.
async fn refused(signs: &Signs) {
    loop {
        signs.next_error().await;
        if signs.errors().iter().any(|error| is_refusal(error)) {
            return;
        }
    }
}

/// Whether the server reports that the user is not allowed to do something.
pub(crate) fn is_refusal(error: &str) -> bool {
    error.to_lowercase().contains("permissions violation")
}

/// Returns the next message of a subscription.
pub(crate) async fn next(subscriber: &mut Subscriber) -> Option<async_nats::Message> {
    poll_fn(|context| Pin::new(&mut *subscriber).poll_next(context)).await
}

fn addresses(config: &Config) -> Result<Vec<ServerAddr>, ConnectError> {
    let scheme = match config.tls {
        Some(_) => "tls",
        None => "nats",
    };
    let one = |(host, port): &(String, u16)| {
        let host = match host.contains(':') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let address = format!("{scheme}://{host}:{port}").parse();
        address.map_err(|_| ConnectError::BadConfig(format!("`{host}` is not a host").into()))
    };
    config.servers.iter().map(one).collect()
}

async fn options(
    shared: &Arc<Shared>,
    side: &str,
    signs: &Arc<Signs>,
) -> Result<ConnectOptions, ConnectError> {
    let config = &shared.config;
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have installed one in the meantime, which also works.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let (events, connected) = (Arc::clone(signs), Arc::clone(signs));
    // The answers to a whole batch may wait in one buffer. The user's limit is for received
    // messages.
    let capacity = match side {
        OUT => config.client_buffer.max(ANSWERS),
        _ => config.client_buffer,
    };
    let mut options = ConnectOptions::new()
        .name(format!("fanfeed {} {side}", shared.member))
        .connection_timeout(config.dial)
        .custom_inbox_prefix(&config.inbox)
        .subscription_capacity(capacity)
        .request_timeout(Some(config.answer))
        .ping_interval(config.heartbeat)
        .skip_subject_validation(true)
        .event_callback(move |event| {
            events.take(event);
            std::future::ready(())
        })
        .reconnect_delay_callback(move |_| match connected.is_connected() {
            // Never connects again: the engine opens another connection.
            true => Duration::from_secs(365 * 24 * 60 * 60),
            false => Duration::ZERO,
        });
    options = match &config.login {
        Login::None => options,
        Login::User(user, password) => {
            options.user_and_password(user.clone(), password.reveal().to_owned())
        }
        Login::Token(token) => options.token(token.reveal().to_owned()),
        Login::Nkey(file) => {
            let text =
                std::fs::read_to_string(file).map_err(|error| unreadable("nkey", file, &error))?;
            options.nkey(seed(&text, file)?)
        }
        Login::Credentials(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| unreadable("credentials", file, &error))?;
            options
                .credentials(&text)
                .map_err(|error| unreadable("credentials", file, &error))?
        }
    };
    if let Some(tls) = &config.tls {
        options = options.require_tls(true);
        if let Some(file) = tls.authority_file() {
            readable(file)?;
            options = options.add_root_certificates(file.to_owned());
        }
        if let Some((certificate, key)) = tls.identity_files() {
            readable(certificate)?;
            readable(key)?;
            options = options.add_client_certificate(certificate.to_owned(), key.to_owned());
        }
    }
    Ok(options)
}

fn unreadable(what: &str, file: &std::path::Path, error: &std::io::Error) -> ConnectError {
    ConnectError::BadConfig(
        format!(
            "the file of the {what}, {}, cannot be used: {error}",
            file.display()
        )
        .into(),
    )
}

/// Returns the seed in a file that may contain comments and other lines.
fn seed(text: &str, file: &std::path::Path) -> Result<String, ConnectError> {
    let seed = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("SU"));
    seed.map(str::to_owned).ok_or_else(|| {
        let text = format!(
            "the file of the nkey, {}, has no line that begins with SU, as the seed of a user does",
            file.display()
        );
        ConnectError::BadConfig(text.into())
    })
}

/// The library does not say which file it could not read.
fn readable(file: &std::path::Path) -> Result<(), ConnectError> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(error) => Err(ConnectError::Tls(
            format!("{}: {error}", file.display()).into(),
        )),
    }
}

fn check_version(version: &str) -> Result<(), ConnectError> {
    let mut parts = version.split(['.', '-']).map(str::parse::<u32>);
    let found = match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        // A server that does not report its version counts as new.
        _ => return Ok(()),
    };
    if found >= OLDEST {
        return Ok(());
    }
    Err(ConnectError::TooOld {
        found: format!("nats-server {version}").into(),
        needed: "nats-server 2.9".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::check_version;

    #[test]
    fn old_servers_are_refused() {
        for good in ["2.9.0", "2.9.10", "2.10.0-RC.1", "2.15.1", "3.0.0", ""] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for old in ["2.8.4", "1.4.1", "0.9.6"] {
            assert!(check_version(old).unwrap_err().to_string().contains(old));
        }
    }
}
