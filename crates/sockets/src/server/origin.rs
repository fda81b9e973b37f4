//! Cross-site requests: which pages may connect.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

/// The origins that are allowed besides the server's own host.
#[derive(Debug, Default)]
pub(super) struct Origins {
    pub(super) any: bool,
    pub(super) allowed: Vec<String>,
}

impl Origins {
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
    use super::is_same_host;

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
