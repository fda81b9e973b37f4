//! Turns the reports of librdkafka into errors that say why a cluster cannot be used and what would
//! be right.

use fanfeed_broker::ConnectError;
use rdkafka::error::RDKafkaErrorCode;

use crate::config::Config;

const PLAIN: &str = "it may have no TLS: then write kafka:// instead of kafkas://";

/// The errors that persist on another attempt.
pub(crate) fn at_once(code: RDKafkaErrorCode, reason: &str) -> Option<ConnectError> {
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => {
            Some(ConnectError::Denied(reason.into()))
        }
        RDKafkaErrorCode::SSL => Some(of_handshake(reason)),
        // librdkafka reports some of these errors as failures of the connection. In TLS 1.3, the
        // server reads the client's certificate after the client has finished the handshake.
        _ if reason.contains("SSL routines") && !reason.contains("unexpected eof") => {
            Some(of_handshake(reason))
        }
        _ => None,
    }
}

/// The error when no server can be reached, or when it is `late`.
pub(crate) fn at_last(
    config: &Config,
    late: bool,
    handshaking: bool,
    last: Option<(RDKafkaErrorCode, String)>,
) -> ConnectError {
    let address = config.address().into();
    match last {
        Some((_, reason)) if reason.contains("SSL_HANDSHAKE") => tls(
            &format!("the server did not finish the handshake, {PLAIN}"),
            &reason,
        ),
        // The server answers the first request, and closes the connection on the next one.
        Some((_, reason))
            if config.user.is_none()
                && reason.contains("Disconnected")
                && reason.contains("in state UP") =>
        {
            let what = "the server closed the connection, it may want a password (kafka://user:password@host)";
            ConnectError::Denied(format!("{what}: {reason}").into())
        }
        // The server closes the connection on the first request, or answers it with something else.
        Some((_, reason))
            if reason.contains("APIVERSION_QUERY")
                || reason.contains("ApiVersion")
                || reason.contains("Receive failed")
                || reason.contains("protocol") =>
        {
            let what =
                "it is not Kafka, or older than 0.10, or wants TLS (kafkas://) or a password";
            ConnectError::WrongProtocol(format!("{what}: {reason}").into())
        }
        _ if late && handshaking => {
            let what = format!("the server at {address} did not answer the handshake, {PLAIN}");
            tls(&what, &format!("no answer within {:?}", config.dial))
        }
        Some((_, reason)) if !reason.contains("timed out") => ConnectError::Unreachable {
            address,
            reason: reason.into(),
        },
        _ if late => ConnectError::Timeout {
            address,
            timeout: config.dial,
        },
        _ => ConnectError::Unreachable {
            address,
            reason: "no server can be reached".into(),
        },
    }
}

/// The error if librdkafka cannot use the files of TLS.
pub(crate) fn of_files(config: &Config, text: &str) -> ConnectError {
    let files = config.tls.as_ref();
    let (certificate, key) = files.and_then(|tls| tls.identity_files()).unzip();
    let authority = files.and_then(|tls| tls.authority_file());
    let named = [
        (
            "ssl.ca.location",
            "ca",
            authority,
            "certificates of authorities",
        ),
        (
            "ssl.certificate.location",
            "cert",
            certificate,
            "a certificate",
        ),
        (
            "ssl.key.location",
            "key",
            key,
            "the private key of the certificate",
        ),
    ];
    for (property, name, file, content) in named {
        if let Some(file) = file
            && text.contains(property)
        {
            let file = file.display();
            let what = format!("`{file}` (`{name}`) has to be a PEM file with {content}");
            return tls(&what, text);
        }
    }
    ConnectError::Tls(text.into())
}

fn of_handshake(reason: &str) -> ConnectError {
    let has = |part: &str| reason.contains(part);
    if has("certificate verify failed") {
        tls(
            "the server's certificate is for another name, or of an authority that is not trusted: name the server as its \
             certificate does, and the file of the authority by `ca` (`Tls::authority`)",
            reason,
        )
    } else if has("SSL alert")
        && (has("certificate") || has("unknown ca") || has("handshake failure"))
    {
        tls(
            "the server asks for a certificate of an authority that it trusts: give one by `cert` and `key` \
             (`Tls::identity`)",
            reason,
        )
    } else if has("wrong version number") {
        tls(
            &format!("the server did not answer with TLS, {PLAIN}"),
            reason,
        )
    } else {
        ConnectError::Tls(reason.into())
    }
}

fn tls(what: &str, reason: &str) -> ConnectError {
    ConnectError::Tls(format!("{what}: {reason}").into())
}
