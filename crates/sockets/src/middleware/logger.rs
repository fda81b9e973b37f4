//! Middleware that tells of each request and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Middleware, Next, Skip};
use crate::handler::HandlerError;
use crate::request::Request;
use crate::wire::Message;

type Write = Arc<dyn Fn(&Entry<'_>) + Send + Sync>;

/// Calls a function with one [`Entry`] for each request that comes in, and one for what came of it.
///
/// ```
/// use fanfeed_sockets::middleware::Logger;
///
/// let _logger = Logger::new(|entry| eprintln!("{entry}")).skip(|request| request.key() == "ping");
/// ```
#[derive(Clone)]
pub struct Logger {
    write: Write,
    skip: Option<Skip>,
}

impl Logger {
    /// Calls `write` with each entry. It runs on the task of the connection, and must not block.
    pub fn new(write: impl Fn(&Entry<'_>) + Send + Sync + 'static) -> Self {
        Self {
            write: Arc::new(write),
            skip: None,
        }
    }

    /// Leaves the requests alone for which `skip` returns true.
    #[must_use]
    pub fn skip(mut self, skip: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.skip = Some(Arc::new(skip));
        self
    }
}

/// What happened to a request. `Display` writes it as one line, with ids and keys but without
/// bodies or headers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// The channel that the request came on.
    pub channel: &'a str,
    /// The key of the request.
    pub key: &'a str,
    /// The id of the request.
    pub message_id: &'a str,
    /// The client that the request names.
    pub client_id: &'a str,
    /// What came of it.
    pub outcome: Outcome<'a>,
}

/// What came of a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<'a> {
    /// It came in, and goes to its handler now.
    Received,
    /// The handler replied, or had nothing to reply, after this time.
    Replied(Option<&'a Message>, Duration),
    /// The handler failed after this time.
    Failed(&'a HandlerError, Duration),
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            channel,
            key,
            message_id,
            client_id,
            outcome,
        } = self;
        // Keys and ids are the peer's: escaped, so that they cannot forge lines.
        write!(
            f,
            "channel {channel:?} client {client_id:?} message {message_id:?} key {key:?}: "
        )?;
        match outcome {
            Outcome::Received => f.write_str("received"),
            Outcome::Replied(Some(reply), time) => {
                write!(f, "replied {:?} in {time:?}", reply.key())
            }
            Outcome::Replied(None, time) => write!(f, "no reply, in {time:?}"),
            Outcome::Failed(error, time) => {
                write!(f, "failed in {time:?}: {:?}", error.to_string())
            }
        }
    }
}

impl Middleware for Logger {
    fn wrap(&self, next: Next) -> Next {
        let Self { write, skip } = self.clone();
        Arc::new(move |request: Request| {
            let next = Arc::clone(&next);
            let is_skipped = skip.as_ref().is_some_and(|skip| skip(&request));
            let write = Arc::clone(&write);
            async move {
                if is_skipped {
                    return next.handle(request).await;
                }
                let (channel, key) = (request.channel().to_owned(), request.key().to_owned());
                let message_id = request.message().id().to_owned();
                let client_id = request.message().client_id().to_owned();
                let tell = |outcome| {
                    write(&Entry {
                        channel: &channel,
                        key: &key,
                        message_id: &message_id,
                        client_id: &client_id,
                        outcome,
                    });
                };
                tell(Outcome::Received);
                let started = Instant::now();
                let reply = next.handle(request).await;
                tell(match &reply {
                    Ok(reply) => Outcome::Replied(reply.as_ref(), started.elapsed()),
                    Err(error) => Outcome::Failed(error, started.elapsed()),
                });
                reply
            }
        })
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger")
            .field("has_skip", &self.skip.is_some())
            .finish_non_exhaustive()
    }
}
