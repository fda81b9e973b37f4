//! What the server said when it took a message.

use std::sync::Arc;

use crate::id::MessageId;

/// The server has the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The identity of the message.
    pub id: MessageId,
    /// Where the server put it, if it says so: [`Start::After`](crate::Start::After) takes this.
    pub position: Option<Arc<str>>,
}

impl Receipt {
    /// A receipt, for drivers.
    pub fn new(id: MessageId, position: Option<Arc<str>>) -> Self {
        Self { id, position }
    }
}
