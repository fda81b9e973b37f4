//! What an application has set on a server.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::address::Proxies;
use super::authorize::{JoinRequest, Refusal};
use super::limits::Limits;
use super::origin::Origins;
use crate::connection::Identity;
use crate::handler::HandlerError;
use crate::middleware::Next;
use crate::wire::Message;

pub(super) type Authorized = Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>;
pub(super) type Authorize = Box<dyn Fn(JoinRequest) -> Authorized + Send + Sync>;
pub(super) type Lifetime = Box<dyn Fn(&str) -> Option<Duration> + Send + Sync>;
pub(super) type ErrorBody =
    Box<dyn Fn(&Message, &HandlerError) -> Option<serde_json::Value> + Send + Sync>;

/// Where the reply of a handler goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Sender,
    Channel,
}

/// A handler in its middleware.
pub(super) struct Route {
    pub(super) handler: Next,
    pub(super) audience: Audience,
}

/// The settings of a server.
pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) routes: HashMap<String, Route>,
    pub(super) authorize: Option<Authorize>,
    pub(super) origins: Origins,
    pub(super) proxies: Proxies,
    pub(super) lifetime: Option<Lifetime>,
    pub(super) error_body: Option<ErrorBody>,
    pub(super) exposes_errors: bool,
    pub(super) reports_unknown: bool,
    pub(super) answers_info: bool,
    /// Of the session that began last. Hooks have their tasks there when no session is at hand.
    pub(super) runtime: Mutex<Option<Handle>>,
}
