//! What a client is told about a message that failed.

use serde_json::Value;

use super::mailbox::Frame;
use super::settings::Settings;
use crate::error::InvalidBody;
use crate::handler::HandlerError;
use crate::middleware::guard;
use crate::wire::{DecodeError, ErrorDetail, Message};

/// What a client learns of an error that is the server's own affair.
const UNEXPLAINED: &str = "the server could not handle the message";

/// The error message for a message whose handler failed. `None` if the application does not want
/// one sent.
pub(super) fn failed(settings: &Settings, message: &Message, error: HandlerError) -> Option<Frame> {
    // The application's code: its `on_error`, and the error's `Display` and `Drop`.
    let report = guard(|| report(settings, message, &error));
    let dropped = guard(|| drop(error));
    match report.and_then(|frame| dropped.map(|()| frame)) {
        Ok(frame) => frame,
        Err(_) => Some(encode(settings, message, &unexpected(UNEXPLAINED.into()))),
    }
}

fn report(settings: &Settings, message: &Message, error: &HandlerError) -> Option<Frame> {
    let Some(error_body) = &settings.error_body else {
        return Some(encode(settings, message, &detail(settings, error)));
    };
    let body = error_body(message, error)?;
    Some(encode_body(settings, message, &body))
}

fn detail(settings: &Settings, error: &HandlerError) -> ErrorDetail {
    if let Some(detail) = error.downcast_ref::<ErrorDetail>() {
        return detail.clone();
    }
    if error.is::<InvalidBody>() {
        return ErrorDetail::new("invalid body", error.to_string(), "400");
    }
    let text = match settings.exposes_errors {
        true => error.to_string(),
        false => UNEXPLAINED.to_owned(),
    };
    unexpected(text)
}

fn unexpected(text: String) -> ErrorDetail {
    ErrorDetail::new("unexpected server error", text, "500")
}

/// The error message for what is not a message.
pub(super) fn malformed(settings: &Settings, addressed: &Message, error: &DecodeError) -> Frame {
    let detail = ErrorDetail::new("malformed message", error.to_string(), "400");
    encode(settings, addressed, &detail)
}

/// The error message for a message that has no handler.
pub(super) fn unknown(settings: &Settings, message: &Message) -> Frame {
    let text = format!("no handler for messages of type {:?}", message.key());
    let detail = ErrorDetail::new("unknown message type", text, "404");
    encode(settings, message, &detail)
}

/// Where the whole does not fit, the description is shortened.
fn encode(settings: &Settings, message: &Message, detail: &ErrorDetail) -> Frame {
    let limit = settings.limits.error_size;
    let frame = encode_body(settings, message, detail);
    if frame.len() <= limit {
        return frame;
    }
    let excess = frame.len() - limit + "…".len();
    let mut kept = detail.description.len().saturating_sub(excess);
    while !detail.description.is_char_boundary(kept) {
        kept -= 1;
    }
    let short = ErrorDetail {
        description: format!("{}…", &detail.description[..kept]),
        ..detail.clone()
    };
    encode_body(settings, message, &short)
}

fn encode_body(settings: &Settings, message: &Message, body: &impl serde::Serialize) -> Frame {
    let limit = settings.limits.error_size;
    // Text and JSON values can be written as JSON; what cannot is reported without a detail.
    let error = |message: &Message| {
        let error = message
            .to_error(body)
            .or_else(|_| message.to_error(&Value::Null));
        error.expect("null is JSON")
    };
    let mut whole = error(message);
    let encoded = whole.encode();
    if encoded.len() <= limit {
        return encoded.into();
    }
    whole.clear_origin_body();
    let encoded = whole.encode();
    if encoded.len() <= limit || message.headers().is_empty() {
        return encoded.into();
    }
    let mut bare = message.new_from(message.key());
    bare.set_headers(None);
    error(&bare).encode().into()
}
