//! Handlers: the callbacks that get each message.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::request::Request;
use crate::wire::Message;

/// Why a handler failed. Any error becomes one by `?`.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// What a handler returns: a message to send, or nothing, or why it failed.
pub type Reply = Result<Option<Message>, HandlerError>;

/// A handler's work on one message.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Handles messages. Async closures `Fn(Request) -> impl Future<Output = Reply>` are handlers.
///
/// ```
/// use fanfeed_sockets::{Handler, Message, Request};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let echo = |request: Request| async move { Ok(Some(request.reply("echo"))) };
/// let reply = echo.handle(Request::new(Message::new("say", "", "room"), "room")).await?;
/// assert_eq!(reply.unwrap().key(), "echo");
/// # Ok::<(), fanfeed_sockets::HandlerError>(())
/// # }).map_err(|error| error.to_string())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Handles one message.
    fn handle(&self, request: Request) -> ReplyFuture;
}

impl<F, R> Handler for F
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    fn handle(&self, request: Request) -> ReplyFuture {
        Box::pin(self(request))
    }
}

impl Handler for Arc<dyn Handler> {
    fn handle(&self, request: Request) -> ReplyFuture {
        (**self).handle(request)
    }
}

/// A handler of decoded bodies, which [`typed`] makes.
pub struct Typed<F, T> {
    handle: Arc<F>,
    bodies: PhantomData<fn(T)>,
}

/// Makes a handler whose first argument is the decoded body.
///
/// A body that does not decode is an error, as if the handler had returned it, and the handler is
/// not called.
///
/// ```
/// use fanfeed_sockets::{Request, typed};
///
/// #[derive(serde::Deserialize)]
/// struct Say { text: String }
///
/// let _shout = typed(|say: Say, request: Request| async move {
///     Ok(Some(request.reply("shout").with_body(&say.text.to_uppercase())?))
/// });
/// ```
pub fn typed<F, T, R>(handle: F) -> Typed<F, T>
where
    F: Fn(T, Request) -> R + Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Typed {
        handle: Arc::new(handle),
        bodies: PhantomData,
    }
}

impl<F, T, R> Handler for Typed<F, T>
where
    F: Fn(T, Request) -> R + Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    fn handle(&self, request: Request) -> ReplyFuture {
        match request.bind() {
            Ok(body) => Box::pin((self.handle)(body, request)),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
    }
}

impl<F, T> fmt::Debug for Typed<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").finish_non_exhaustive()
    }
}

/// Makes a handler that takes a decoded body and answers with a message with this key, whose body
/// is what it returns.
///
/// ```
/// use fanfeed_sockets::{Request, replying};
///
/// let _length = replying("length", |text: String, _: Request| async move { Ok(text.len()) });
/// ```
pub fn replying<F, T, R, B>(key: impl Into<Arc<str>>, handle: F) -> impl Handler
where
    F: Fn(T, Request) -> R + Send + Sync + 'static,
    T: DeserializeOwned + Send + 'static,
    R: Future<Output = Result<B, HandlerError>> + Send + 'static,
    B: Serialize + Send + 'static,
{
    let key = key.into();
    typed(move |body: T, request: Request| {
        let reply = request.reply(&key);
        let result = handle(body, request);
        async move { Ok(Some(reply.with_body(&result.await?)?)) }
    })
}
