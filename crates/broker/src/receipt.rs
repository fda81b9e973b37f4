//! The server's confirmation of a message.

use std::sync::Arc;

use crate::id::MessageId;

/// Confirms that the server has the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The identity of the message.
    pub id: MessageId,
    /// The position at which the server stored the message, if the server reports it.
    /// [`Start::After`](crate::Start::After) takes this position.
    pub position: Option<Arc<str>>,
}

impl Receipt {
    /// Makes a receipt; for drivers.
    pub fn new(id: MessageId, position: Option<Arc<str>>) -> Self {
        Self { id, position }
    }
}
