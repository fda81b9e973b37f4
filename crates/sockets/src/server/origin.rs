//! Cross-site requests: which pages may connect.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

/// The origins that are allowed besides the server's own host.
#[derive(Debug, Default)]
pub(super) struct Origins {
    any: bool,
    allowed: Vec<String>,
}

impl Origins {
    /// # Errors
    ///
    /// The first text that is no origin.
    pub(super) fn new(texts: &[String]) -> Result<Self, String> {
        let mut origins = Self::default();
        for text in texts {
            match text.as_str() {
                "*" => origins.any = true,
                _ => match written(text) {
                    Some(origin) => origins.allowed.push(origin),
                    None => return Err(text.clone()),
                },
            }
        }
        Ok(origins)
    }

    /// Whether a request may connect. A client that is no browser sends no origin, and may. A page
    /// may if it comes from the host that the request is for, or from an origin that was allowed.
    pub(super) fn allow(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return true;
        };
        if self.any {
            return true;
        }
        let (Ok(origin), None) = (origin.to_str(), origins.next()) else {
            return false;
        };
        if self
            .allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return true;
        }
        let host = match headers.get(header::HOST) {
            Some(host) => host.to_str().ok(),
            None => uri.authority().map(Authority::as_str),
        };
        host.is_some_and(|host| is_same_host(origin, host))
    }
}

/// An origin as browsers write it: a scheme and a host, and a port unless it is the default.
fn written(text: &str) -> Option<String> {
    if text == "null" || text == "file://" {
        return Some(text.to_owned());
    }
    let (scheme, host) = text.split_once("://")?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || "+-.".contains(one));
    let authority: Authority = host.parse().ok()?;
    // An `Authority` whose text behind the colon is not a number has no port.
    let has_port = authority.port_u16().is_some();
    let is_whole = has_port || authority.host().len() == host.len();
    if !is_scheme || !is_whole || host.contains(['@', '*']) || authority.host().is_empty() {
        return None;
    }
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(default).unwrap_or(host);
    Some(format!("{scheme}://{host}"))
}

/// Whether an origin, such as `https://example.com:8443`, has the host and the port of a `Host`
/// header. A server behind a proxy that ends TLS does not know the scheme, so the default port of
/// either scheme may be left out.
fn is_same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, origin)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let split = |text: &str| {
        let authority: Authority = text.parse().ok()?;
        let port = authority.port_u16().unwrap_or(port);
        (!authority.as_str().contains('@')).then(|| (authority.host().to_ascii_lowercase(), port))
    };
    split(origin).is_some_and(|origin| Some(origin) == split(host))
}

#[cfg(test)]
mod tests {
    use super::{is_same_host, written};

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for (text, origin) in [
            ("https://example.com", "https://example.com"),
            ("https://example.com/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:80/", "http://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("null", "null"),
            ("file://", "file://"),
        ] {
            assert_eq!(written(text).as_deref(), Some(origin), "{text}");
        }
        for text in [
            "",
            "example.com",
            "https://",
            "https:///",
            "://example.com",
            "https://example.com/path",
            "https://example.com?query",
            "https://*.example.com",
            "https://ada@example.com",
            "https://münchen.example",
            "https://a b",
            "https://example.com:99999",
        ] {
            assert_eq!(written(text), None, "{text}");
        }
    }

    #[test]
    fn the_same_host_has_the_same_port() {
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://Example.com", "example.COM:443"),
            ("http://example.com:80", "example.com"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert!(is_same_host(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://example.com", "example.com:8080"),
            ("http://example.com.evil.org", "example.com"),
            ("http://evil.org", "example.com"),
            ("http://example.com@evil.org", "example.com"),
            ("null", "example.com"),
            ("file://", "example.com"),
            ("ftp://example.com", "example.com"),
            ("", ""),
        ] {
            assert!(!is_same_host(origin, host), "{origin} {host}");
        }
    }
}
