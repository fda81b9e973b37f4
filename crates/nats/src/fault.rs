//! Turns errors of the client library into errors of the broker.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectErrorKind;
use async_nats::rustls;
use fanfeed_broker::ConnectError;

use crate::config::Config;
use crate::shared::Shared;

/// Turns an error of the client library about connecting into an error of the broker.
pub(crate) fn connecting(config: &Config, error: &async_nats::ConnectError) -> ConnectError {
    let text = config.redact(&whole(error));
    let unreachable = |reason: &str| ConnectError::Unreachable {
        address: config.address().into(),
        reason: reason.into(),
    };
    match error.kind() {
        ConnectErrorKind::Dns => unreachable(&text),
        ConnectErrorKind::TimedOut => timed_out(config),
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            ConnectError::Denied(
                format!("{text}: check the user and the password, the token, the nkey or the credentials").into(),
            )
        }
        _ if text.contains("InvalidContentType") => ConnectError::Tls(
            format!("{text}: the server does not answer with TLS; write nats:// if the port has none").into(),
        ),
        ConnectErrorKind::Tls => ConnectError::Tls(text.into()),
        _ if is_tls(error) => ConnectError::Tls(text.into()),
        ConnectErrorKind::Io => match io_kind(error) {
            Some(
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable,
            ) => unreachable(&text),
            Some(io::ErrorKind::InvalidInput) => wrong_protocol(&text),
            _ if text.contains("expected INFO, got nothing") => ConnectError::Failed(
                format!("{text}: the server closed the connection at once").into(),
            ),
            _ if text.contains("expected INFO") => wrong_protocol(&text),
            _ if config.tls.is_some() => ConnectError::Tls(
                format!("{text}: the server ended the connection; it may want another certificate of the client, or have no TLS").into(),
            ),
            _ => ConnectError::Failed(text.into()),
        },
        _ => ConnectError::Failed(text.into()),
    }
}

fn wrong_protocol(text: &str) -> ConnectError {
    ConnectError::WrongProtocol(
        format!("{text}: a NATS server begins with INFO; see the port (4222 unless it was told otherwise)").into(),
    )
}

/// Called when no server greeted in time.
pub(crate) fn timed_out(config: &Config) -> ConnectError {
    let said = config
        .servers
        .iter()
        .find_map(|server| says(config, server));
    match said {
        Some(said) => answers(&said),
        None => ConnectError::Timeout {
            address: config.address().into(),
            timeout: config.dial,
        },
    }
}

/// How long a server may take for its greeting before [`other_protocol`] asks it.
const GREETS: Duration = Duration::from_millis(500);

/// Waits some time for greetings, and then returns when every server has answered a request, which
/// no NATS server does.
pub(crate) async fn other_protocol(shared: &Arc<Shared>) -> ConnectError {
    tokio::time::sleep(GREETS).await;
    let shared = Arc::clone(shared);
    loop {
        let shared = Arc::clone(&shared);
        let asked = tokio::task::spawn_blocking(move || {
            let config = &shared.config;
            let said = config.servers.iter().map(|server| says(config, server));
            said.collect::<Option<Vec<String>>>()
        });
        if let Ok(Some(said)) = asked.await
            && !said.is_empty()
        {
            return answers(&said[0]);
        }
        // A busy server may answer the next time.
        tokio::time::sleep(GREETS).await;
    }
}

fn answers(said: &str) -> ConnectError {
    let line = said.lines().next().unwrap_or_default();
    wrong_protocol(&format!("it answers {line:?}"))
}

/// Returns the answer of a server of another protocol. Sends a request, because such a server may
/// wait for one.
fn says(config: &Config, (host, port): &(String, u16)) -> Option<String> {
    let address = (&**host, *port).to_socket_addrs().ok()?.next()?;
    let limit = Duration::from_millis(500).min(config.dial);
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 64];
    let count = stream.read(&mut answer).ok()?;
    let said = String::from_utf8_lossy(&answer[..count]).into_owned();
    (count > 0 && !said.starts_with("INFO ")).then_some(said)
}

/// The text of an error and of its causes.
pub(crate) fn whole(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    causes(error).find_map(|error| Some(error.downcast_ref::<io::Error>()?.kind()))
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|error| {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>())
    })
}
