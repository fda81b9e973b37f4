//! Errors that handlers return, and that the peer may see.

use std::error::Error;
use std::fmt;

use crate::wire::{BodyError, ErrorDetail};

/// Handlers return it to tell the peer what was wrong: `Err(ErrorDetail::new("Not now", "the room
/// sleeps", "423").into())`.
impl Error for ErrorDetail {}

impl fmt::Display for ErrorDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            title,
            description,
            err_code,
        } = self;
        write!(f, "{title}: {description} ({err_code})")
    }
}

/// The body of a request is not what its handler takes. The peer is told.
#[derive(Debug)]
pub struct InvalidBody {
    key: String,
    source: BodyError,
}

impl InvalidBody {
    pub(crate) fn new(key: &str, source: BodyError) -> Self {
        Self {
            key: key.to_owned(),
            source,
        }
    }
}

impl fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the body of {:?} is not what its handler takes: {}",
            self.key, self.source
        )
    }
}

impl Error for InvalidBody {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}
