//! Why a sender did not get room.

use crate::error::TrySendError;

/// Why there is no room for a value. Returned to a sender that does not wait, or that waits no
/// longer.
pub(crate) enum Refusal {
    Full,
    Closed,
}

impl Refusal {
    /// Gives the value back.
    #[cold]
    pub(crate) fn of<T>(self, value: T) -> TrySendError<T> {
        match self {
            Self::Full => TrySendError::Full(value),
            Self::Closed => TrySendError::Closed(value),
        }
    }
}
