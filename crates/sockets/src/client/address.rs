//! The URL of a channel.

use std::collections::BTreeMap;

use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::http::uri::{Authority, PathAndQuery, Scheme};

use super::error::JoinError;

/// The URL under which `channel` is joined at `host`, a URL with the scheme `ws` or `wss`.
pub(super) fn url(
    host: &str,
    channel: &str,
    params: &BTreeMap<String, String>,
) -> Result<Uri, JoinError> {
    if channel.is_empty() {
        return Err(JoinError::NoChannel);
    }
    let bad = |what| JoinError::BadHost { what };
    let base: Uri = host.parse().map_err(|_| bad("it is not a URL"))?;
    let scheme = match base.scheme_str() {
        Some("ws" | "wss") => base.scheme().cloned().expect("it was just there"),
        Some("http") => scheme("ws"),
        Some("https") => scheme("wss"),
        Some(_) => return Err(bad("its scheme is none of ws, wss, http and https")),
        None => {
            return Err(bad(
                "it has no scheme: it has to begin with ws:// or wss://",
            ));
        }
    };
    let authority: &Authority = base.authority().ok_or(bad("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad(
            "it has a user or a password: give them in a header instead",
        ));
    }
    if authority.host().is_empty() {
        return Err(bad("it names no host"));
    }
    let port = authority.as_str().strip_prefix(authority.host());
    let port = port.and_then(|port| port.strip_prefix(':'));
    if port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
        return Err(bad("its port is no number from 0 to 65535"));
    }
    let mut path = base.path().trim_end_matches('/').to_owned();
    path.push('/');
    escape_segment(&mut path, channel);
    let mut separator = '?';
    if let Some(query) = base.query().filter(|query| !query.is_empty()) {
        path.push('?');
        path.push_str(query);
        separator = '&';
    }
    for (name, value) in params {
        path.push(separator);
        escape(&mut path, name);
        path.push('=');
        escape(&mut path, value);
        separator = '&';
    }
    let path: PathAndQuery = path
        .parse()
        .map_err(|_| bad("with the channel and the parameters it is too long"))?;
    Uri::builder()
        .scheme(scheme)
        .authority(authority.clone())
        .path_and_query(path)
        .build()
        .map_err(|_| bad("it is not a URL"))
}

fn scheme(name: &str) -> Scheme {
    name.parse().expect("it is the name of a scheme")
}

/// Appends a channel as one segment of a path. A segment of dots alone would be taken as a way up
/// the path.
fn escape_segment(out: &mut String, channel: &str) {
    match channel {
        "." => out.push_str("%2E"),
        ".." => out.push_str("%2E%2E"),
        _ => escape(out, channel),
    }
}

/// Appends a text with all but the unreserved characters of RFC 3986 percent-encoded.
fn escape(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::url;

    fn joined(host: &str, channel: &str, params: &[(&str, &str)]) -> String {
        let params = params
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        match url(host, channel, &params.collect()) {
            Ok(url) => url.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_channel_is_one_segment_whatever_it_is_called() {
        for (channel, path) in [
            ("room1", "room1"),
            ("a?x=1", "a%3Fx%3D1"),
            ("a#f", "a%23f"),
            ("a/b", "a%2Fb"),
            ("%zz", "%25zz"),
            ("a b", "a%20b"),
            ("é", "%C3%A9"),
            ("..", "%2E%2E"),
            (".", "%2E"),
        ] {
            assert_eq!(
                joined("ws://h:1/ws", channel, &[]),
                format!("ws://h:1/ws/{path}")
            );
        }
    }

    #[test]
    fn parameters_are_sorted_and_follow_those_of_the_host() {
        let params = [("b", "2&3"), ("a", "1")];
        assert_eq!(
            joined("ws://h:1/ws", "r", &params),
            "ws://h:1/ws/r?a=1&b=2%263"
        );
        assert_eq!(
            joined("wss://h/?k=v", "r", &params),
            "wss://h/r?k=v&a=1&b=2%263"
        );
    }

    #[test]
    fn a_host_is_given_with_or_without_a_path() {
        assert_eq!(joined("ws://h", "r", &[]), "ws://h/r");
        assert_eq!(joined("https://h/ws/", "r", &[]), "wss://h/ws/r");
        assert_eq!(joined("http://[::1]:9", "r", &[]), "ws://[::1]:9/r");
    }

    #[test]
    fn what_is_no_host_is_refused_without_being_shown() {
        for host in [
            "",
            "h:1/ws",
            "ftp://h",
            "ws://",
            "ws://user:hush@h",
            "ws:// h",
            "ws://h:99999",
            "ws://h:65536/ws",
            "ws://[::1]:99999",
            "ws://h:abc",
            "/ws",
        ] {
            let error = joined(host, "r", &[]);
            assert!(
                error.contains("host") && !error.contains("hush"),
                "{host}: {error}"
            );
        }
        assert!(joined("ws://h", "", &[]).contains("channel"));
    }
}
