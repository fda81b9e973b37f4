//! One connection: opens it, and sends commands to the server.

use std::error::Error;
#[cfg(feature = "tls")]
use std::fs;
use std::io;
#[cfg(feature = "tls")]
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::Tls;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, Value,
};
#[cfg(feature = "tls")]
use redis::{ClientTlsConfig, TlsCertificates};

use crate::command::Commands;
use crate::config::{Config, Mode};
use crate::fault::Fault;
use crate::reply::{field, integer};

/// The oldest release in which XINFO reports how many entries a stream has ever had.
const OLDEST: (u32, &str) = (7, "Redis 7.0");

/// A connection whose commands are answered in order. After [`Fault::Lost`] it is no longer usable.
pub(crate) struct Wire {
    connection: redis::Connection,
    /// The server's number of this connection.
    client: u64,
}

impl Wire {
    /// Connects, authenticates and selects the database, all within the dial timeout.
    pub(crate) fn open(config: &Config) -> Result<Self, ConnectError> {
        let started = Instant::now();
        let client = client(config)?;
        let connection = client
            .get_connection_with_timeout(config.dial)
            .map_err(|error| refused(config, &error))?;
        let mut wire = Wire {
            connection,
            client: 0,
        };
        // Each of the next answers, at most two, may take the rest of the time.
        let left = config.dial.saturating_sub(started.elapsed());
        let timeout = left.max(Duration::from_millis(1));
        wire.timeouts(config, timeout, timeout)?;
        wire.greet(config)?;
        if config.database != 0 {
            wire.select(config)?;
        }
        wire.timeouts(config, config.read, config.write)?;
        Ok(wire)
    }

    /// Extends the timeout of answers, for commands that block at the server.
    pub(crate) fn patient(self, config: &Config, wait: Duration) -> Result<Self, ConnectError> {
        self.timeouts(config, wait + config.read, config.write)?;
        Ok(self)
    }

    /// The server's number of this connection.
    pub(crate) fn client(&self) -> u64 {
        self.client
    }

    /// Sends all commands, and returns their answers in order. A refusal is returned as the answer
    /// of its command.
    pub(crate) fn run(&mut self, commands: &Commands) -> Result<Vec<Value>, Fault> {
        self.send(commands)?;
        (0..commands.count()).map(|_| self.receive()).collect()
    }

    /// Sends one command and returns its answer. A refusal is a fault.
    pub(crate) fn ask(&mut self, parts: &[&[u8]]) -> Result<Value, Fault> {
        self.send(&Commands::one(parts))?;
        accepted(self.receive()?)
    }

    pub(crate) fn send(&mut self, commands: &Commands) -> Result<(), Fault> {
        self.connection
            .send_packed_command(commands.bytes())
            .map_err(|error| lost(&error))
    }

    pub(crate) fn receive(&mut self) -> Result<Value, Fault> {
        self.connection
            .recv_response()
            .map_err(|error| lost(&error))
    }

    fn timeouts(
        &self,
        config: &Config,
        read: Duration,
        write: Duration,
    ) -> Result<(), ConnectError> {
        self.connection
            .set_read_timeout(Some(read))
            .and_then(|()| self.connection.set_write_timeout(Some(write)))
            .map_err(|error| refused(config, &error))
    }

    fn greet(&mut self, config: &Config) -> Result<(), ConnectError> {
        let mut parts: Vec<&[u8]> = vec![b"HELLO", b"2"];
        if let Some(password) = &config.password {
            let user = config.user.as_deref().unwrap_or("default");
            parts.extend([b"AUTH", user.as_bytes(), password.reveal().as_bytes()]);
        }
        parts.extend([&b"SETNAME"[..], b"fanfeed"]);
        let answer = self.first(config, &parts)?;
        let version = match field(&answer, "version") {
            Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            _ => {
                let what = "its greeting has no version, as that of Redis and Valkey has";
                return Err(ConnectError::WrongProtocol(what.into()));
            }
        };
        let major = version
            .split('.')
            .next()
            .and_then(|digits| digits.parse().ok());
        if major.is_none_or(|major: u32| major < OLDEST.0) {
            return Err(too_old(&format!("Redis {version}")));
        }
        let is_cluster =
            |mode: &Value| matches!(mode, Value::BulkString(mode) if mode == b"cluster");
        if config.mode == Mode::Streams && field(&answer, "mode").is_some_and(is_cluster) {
            let what = "it is a node of a cluster, and streams of a cluster are not supported: \
                        take one server, or a primary with replicas";
            return Err(ConnectError::Failed(what.into()));
        }
        self.client = field(&answer, "id").and_then(integer).unwrap_or(0);
        Ok(())
    }

    fn select(&mut self, config: &Config) -> Result<(), ConnectError> {
        let database = config.database.to_string();
        match self.ask(&[b"SELECT", database.as_bytes()]) {
            Ok(_) => Ok(()),
            Err(fault @ Fault::Refused { .. }) if fault.is("NOPERM") => {
                Err(ConnectError::Denied(fault.to_string().into()))
            }
            Err(fault) => {
                let text = format!(
                    "database {database} cannot be selected: {fault}; most servers have 0 to 15"
                );
                Err(ConnectError::BadConfig(text.into()))
            }
        }
    }

    /// Sends the first command. Its faults show that the server is not a usable Redis server.
    fn first(&mut self, config: &Config, parts: &[&[u8]]) -> Result<Value, ConnectError> {
        let sent = self
            .connection
            .send_packed_command(Commands::one(parts).bytes());
        let answer = sent.and_then(|()| self.connection.recv_response());
        match answer {
            Ok(Value::ServerError(error)) => {
                let text = format!("{} {}", error.code(), error.details().unwrap_or_default());
                let text = config.redact(text.trim_end());
                Err(match error.code() {
                    "WRONGPASS" => {
                        ConnectError::Denied(format!("{text} (check the user and password)").into())
                    }
                    "NOAUTH" => ConnectError::Denied(
                        "it asks for a password, and there is none: write redis://:password@host"
                            .into(),
                    ),
                    "NOPERM" => ConnectError::Denied(text.into()),
                    _ if text.contains("unknown command") => {
                        too_old("older than Redis 6: it does not know HELLO")
                    }
                    _ => ConnectError::Failed(text.into()),
                })
            }
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == ErrorKind::Parse => {
                let text = format!(
                    "its answer is not that of Redis ({})",
                    config.redact(&error.to_string())
                );
                Err(ConnectError::WrongProtocol(text.into()))
            }
            // A server without TLS reads the handshake as the beginning of a command, and waits for
            // the rest.
            Err(error) if config.tls.is_some() && error.is_timeout() => {
                let text = format!(
                    "{} did not answer the handshake within {:?}; write redis:// if the port has no TLS",
                    config.address(),
                    config.dial
                );
                Err(ConnectError::Tls(text.into()))
            }
            Err(error) => Err(refused(config, &error)),
        }
    }
}

fn too_old(found: &str) -> ConnectError {
    ConnectError::TooOld {
        found: found.into(),
        needed: OLDEST.1.into(),
    }
}

/// Turns a refusal into a fault, and everything else into an answer.
pub(crate) fn accepted(value: Value) -> Result<Value, Fault> {
    match value {
        Value::ServerError(error) => Err(Fault::Refused {
            code: error.code().to_owned(),
            text: error.details().unwrap_or_default().to_owned(),
        }),
        value => Ok(value),
    }
}

fn lost(error: &RedisError) -> Fault {
    Fault::Lost(if error.is_timeout() {
        "the server did not answer in time".to_owned()
    } else if error.is_connection_dropped() {
        "the server closed the connection".to_owned()
    } else {
        error.to_string()
    })
}

/// The error of a connection that could not be made.
fn refused(config: &Config, error: &RedisError) -> ConnectError {
    let address = config.address().into();
    let reason = config.redact(&error.to_string());
    if error.is_timeout() {
        return ConnectError::Timeout {
            address,
            timeout: config.dial,
        };
    }
    let kind = system(error).map(io::Error::kind);
    match kind {
        // The errors of rustls have this kind.
        Some(io::ErrorKind::InvalidData) if config.tls.is_some() => {
            let hint = "look at the authority, at the name in the certificate, and whether the port speaks TLS";
            ConnectError::Tls(format!("{reason} ({hint})").into())
        }
        Some(
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe,
        ) => {
            let hint = if config.tls.is_some() {
                "redis:// if it has no TLS"
            } else {
                "rediss:// if it speaks TLS"
            };
            ConnectError::WrongProtocol(
                format!("it closed the connection before it answered; write {hint}").into(),
            )
        }
        None if error.kind() == ErrorKind::InvalidClientConfig => {
            ConnectError::BadConfig(reason.into())
        }
        None => ConnectError::Failed(reason.into()),
        Some(_) => ConnectError::Unreachable {
            address,
            reason: reason.into(),
        },
    }
}

/// The text of the system or of rustls.
fn system(error: &RedisError) -> Option<&io::Error> {
    let source = error.source()?;
    // The library wraps the error in an `Arc`, which is itself the source.
    match source.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
        Some(shared) => shared.downcast_ref(),
        None => source.downcast_ref(),
    }
}

fn client(config: &Config) -> Result<Client, ConnectError> {
    let host = config.host.clone();
    let address = match &config.tls {
        None => ConnectionAddr::Tcp(host, config.port),
        Some(_) => ConnectionAddr::TcpTls {
            host,
            port: config.port,
            insecure: false,
            tls_params: None,
        },
    };
    // Nothing is sent while connecting, because no timeout would apply there: `greet`
    // authenticates.
    let settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    let info: ConnectionInfo = address
        .into_connection_info()
        .map_err(|error| refused(config, &error))?
        .set_redis_settings(settings);
    match &config.tls {
        None => Client::open(info).map_err(|error| refused(config, &error)),
        Some(tls) => encrypted(info, tls),
    }
}

#[cfg(feature = "tls")]
fn encrypted(info: ConnectionInfo, tls: &Tls) -> Result<Client, ConnectError> {
    provide();
    Client::build_with_tls(info, certificates(tls)?)
        .map_err(|error| ConnectError::Tls(error.to_string().into()))
}

#[cfg(not(feature = "tls"))]
fn encrypted(_: ConnectionInfo, _: &Tls) -> Result<Client, ConnectError> {
    let what = "this program was built without TLS: give fanfeed-redis its feature `tls`";
    Err(ConnectError::Tls(what.into()))
}

/// Installs a provider of cryptography if the process has none, because rustls panics without one.
/// Does not replace the choice of another library.
#[cfg(feature = "tls")]
fn provide() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have installed one in the meantime, which also works.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

#[cfg(feature = "tls")]
fn certificates(tls: &Tls) -> Result<TlsCertificates, ConnectError> {
    let read = |file: &Path| {
        fs::read(file)
            .map_err(|error| ConnectError::Tls(format!("{}: {error}", file.display()).into()))
    };
    let client_tls = match tls.identity_files() {
        None => None,
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read(certificate)?,
            client_key: read(key)?,
        }),
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert: tls.authority_file().map(read).transpose()?,
    })
}
