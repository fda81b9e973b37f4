//! Requests to JetStream.

use async_nats::{Message, Request, RequestErrorKind};
use bytes::Bytes;
use fanfeed_broker::ConnectError;
use fanfeed_broker::driver::{LinkError, SinkError};
use serde_json::Value;

use crate::link::Wire;

/// The error code for a missing stream.
pub(crate) const NO_STREAM: u64 = 10059;
/// The error code for a missing consumer.
pub(crate) const NO_CONSUMER: u64 = 10014;

/// Why a request did not get the wanted answer.
#[derive(Debug, Clone)]
pub(crate) enum ApiFault {
    /// The connection was lost, or the server did not answer.
    Lost(LinkError),
    /// No service answers such requests.
    Off,
    /// The user is not allowed to send the request.
    Denied(String),
    /// JetStream refused the request.
    Refused(ApiError),
}

/// An error of JetStream.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) number: u64,
    code: u64,
    pub(crate) text: String,
}

impl ApiError {
    /// Makes an error of this driver about the server's configuration.
    pub(crate) fn own(text: String) -> Self {
        ApiError {
            number: 1,
            code: 0,
            text,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        // JetStream is not available at the moment; a cluster has no leader; the request came too
        // early; the server has too many messages that it has not stored yet.
        matches!(self.number, 10008 | 10009 | 10004 | 10167)
            || (self.code == 503 && self.number == 0)
    }
}

/// Returns the error in an answer, if there is one.
pub(crate) fn error(answer: &Value) -> Option<ApiError> {
    let error = answer.get("error")?;
    let number = error["err_code"].as_u64().unwrap_or(0);
    let description = error["description"].as_str().unwrap_or("no description");
    let hint = match number {
        10039 => ": turn on JetStream for the account",
        10047 | 10023 | 10077 => ": give the stream or the server more room",
        10026 => ": raise the `max_consumers` of the stream",
        10065 => ": another stream has these subjects; choose another prefix",
        10074 => ": there are fewer servers than `replicas`",
        _ => "",
    };
    Some(ApiError {
        number,
        code: error["code"].as_u64().unwrap_or(0),
        text: format!("JetStream refused: {description} ({number}){hint}"),
    })
}

impl ApiFault {
    pub(crate) fn connecting(self) -> ConnectError {
        match self {
            ApiFault::Lost(error) => ConnectError::Failed(error.reason().clone()),
            ApiFault::Off => ConnectError::Failed(OFF.into()),
            ApiFault::Denied(text) => ConnectError::Denied(text.into()),
            ApiFault::Refused(error) => ConnectError::Failed(error.text.into()),
        }
    }

    pub(crate) fn opening(self) -> SinkError {
        match self {
            ApiFault::Lost(error) => SinkError::Link(error),
            ApiFault::Off => SinkError::Link(LinkError::new(OFF)),
            ApiFault::Denied(text) => SinkError::Refused(text.into()),
            ApiFault::Refused(error) if error.is_passing() => {
                SinkError::Link(LinkError::new(error.text))
            }
            ApiFault::Refused(error) => SinkError::Refused(error.text.into()),
        }
    }
}

const OFF: &str =
    "the server has no JetStream: start it with `-js` or a `jetstream` block, or take `mode=core`";

impl Wire {
    /// Sends a request to JetStream. Its subject is `$JS.API.` and `verb`.
    pub(crate) async fn ask(&self, verb: &str, body: &Value) -> Result<Value, ApiFault> {
        let subject = format!("$JS.API.{verb}");
        let payload = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let request = Request::new().payload(payload);
        let message = self.request(&subject, "$JS.API.>", request).await?;
        let answer: Value = serde_json::from_slice(&message.payload).map_err(|_| {
            ApiFault::Lost(LinkError::new(format!(
                "JetStream's answer to {verb} cannot be read"
            )))
        })?;
        match error(&answer) {
            Some(error) => Err(ApiFault::Refused(error)),
            None => Ok(answer),
        }
    }

    /// Sends a request, and returns the answer. If the user is not allowed to send it, the error
    /// says to allow `needed`.
    pub(crate) async fn request(
        &self,
        subject: &str,
        needed: &str,
        request: Request,
    ) -> Result<Message, ApiFault> {
        let answer = self.shared.config.answer;
        let request = request.timeout(Some(answer));
        let asked = self.client.send_request(subject.to_owned(), request);
        // A request that is not allowed gets no answer.
        let signs = &self.signs;
        let refused = async {
            loop {
                if let Some(error) = signs.refusal("Publish to", subject) {
                    return error;
                }
                signs.next_error().await;
            }
        };
        let asked = async {
            tokio::select! {
                biased;
                answer = asked => Ok(answer),
                error = refused => Err(error),
            }
        };
        let answered = self.within(answer * 2, asked).await;
        match answered.map_err(ApiFault::Lost)? {
            Err(error) => {
                let text = format!("{error}: allow the user to publish to `{needed}`");
                Err(ApiFault::Denied(text))
            }
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Err(ApiFault::Off),
            Ok(Err(error)) => {
                let text = format!("JetStream did not answer to {subject}: {error}");
                Err(ApiFault::Lost(LinkError::new(text)))
            }
            Ok(Ok(message)) => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::error;
    use serde_json::json;

    #[test]
    fn what_may_succeed_in_a_moment_is_no_refusal() {
        for (code, number, passing) in [
            (503, 10008, true),
            (500, 10009, true),
            (503, 0, true),
            (429, 10167, true),
            (400, 10054, false),
            (500, 10047, false),
        ] {
            let answer = json!({ "error": { "code": code, "err_code": number } });
            assert_eq!(error(&answer).unwrap().is_passing(), passing, "{number}");
        }
    }
}
