//! The body of a message: JSON that is passed on as it is.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::text;

/// A valid JSON text other than `null`.
#[derive(Clone)]
pub(super) struct Body {
    json: Box<str>,
    /// Whether it is as it goes on the wire: compact and escaped. `false` for what a peer sent.
    normal: bool,
}

/// Equal if they are spelled alike.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Body {}

impl Body {
    /// The body of a value. `None` for a value that is `null` in JSON.
    pub(super) fn of(value: &(impl Serialize + ?Sized)) -> Result<Option<Self>, BodyError> {
        let json = text::to_normal(value)
            .map_err(|error| BodyError::new("the value cannot be written as JSON", error))?;
        Ok((&*json != "null").then_some(Self { json, normal: true }))
    }

    /// The body that a text has. `None` for `null`.
    pub(super) fn of_json(json: &str) -> Result<Option<Self>, BodyError> {
        let raw: &RawValue = serde_json::from_str(json)
            .map_err(|error| BodyError::new("the body is not JSON", error))?;
        Ok(Self::of_raw(raw))
    }

    /// The body that is this part of a message.
    pub(super) fn of_raw(raw: &RawValue) -> Option<Self> {
        let json = raw.get();
        (json != "null").then(|| Self {
            json: Box::from(json),
            normal: false,
        })
    }

    pub(super) fn as_json(&self) -> &str {
        &self.json
    }

    pub(super) fn push(&self, out: &mut String) {
        if self.normal {
            out.push_str(&self.json);
        } else {
            text::push_normal(out, &self.json);
        }
    }
}

/// The JSON of a body that may be absent.
pub(super) fn json_of(body: Option<&Body>) -> &str {
    body.map_or("null", Body::as_json)
}

/// Reads a body as a value of a type.
pub(super) fn bind<'a, T: Deserialize<'a>>(body: Option<&'a Body>) -> Result<T, BodyError> {
    serde_json::from_str(json_of(body)).map_err(|error| {
        BodyError::new(
            "the body is not a value of the type that was asked for",
            error,
        )
    })
}

/// Appends a body, or `null`.
pub(super) fn push(body: Option<&Body>, out: &mut String) {
    match body {
        Some(body) => body.push(out),
        None => out.push_str("null"),
    }
}

/// A body is not valid JSON, or not the JSON of the type that was asked for.
///
/// `Display` and `Debug` say where, and show nothing of the body, which may be confidential. So the
/// error of `serde_json`, which may quote the body, is no [source](Error::source), of which loggers
/// print the whole chain: ask for it with [`into_inner`](Self::into_inner).
pub struct BodyError {
    what: &'static str,
    source: serde_json::Error,
}

impl BodyError {
    fn new(what: &'static str, source: serde_json::Error) -> Self {
        Self { what, source }
    }

    /// The error of `serde_json`. Its text may quote the body.
    pub fn into_inner(self) -> serde_json::Error {
        self.source
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        match self.source.line() {
            // What is written has no lines.
            0 => Ok(()),
            line => write!(f, " (line {line}, column {})", self.source.column()),
        }
    }
}

impl fmt::Debug for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyError")
            .field("what", &self.what)
            .field("category", &self.source.classify())
            .field("line", &self.source.line())
            .field("column", &self.source.column())
            .finish_non_exhaustive()
    }
}

impl Error for BodyError {}
