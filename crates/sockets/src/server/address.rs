//! The address of a client, behind proxies or not.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use axum::http::HeaderMap;

/// A network of addresses, such as `10.0.0.0/8` or `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text is not an address or a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkError {
    text: String,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an address or a network: write \"10.0.0.1\", \"10.0.0.0/8\" or \"fd00::/8\"",
            self.text
        )
    }
}

impl Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError {
            text: text.to_owned(),
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| wrong())?,
            None => bits,
        };
        (prefix <= bits)
            .then_some(Self { address, prefix })
            .ok_or_else(wrong)
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let same = |left: u128, right: u128, bits: u32| {
            let shift = bits - u32::from(self.prefix);
            // A shift by all bits, for the prefix 0, is none of the machine's.
            left.checked_shr(shift).unwrap_or(0) == right.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let (network, address) = (network.to_bits().into(), address.to_bits().into());
                same(network, address, 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same(network.to_bits(), address.to_bits(), 128)
            }
            _ => false,
        }
    }
}

/// The proxies whose forwarding header is believed.
#[derive(Debug, Default)]
pub(super) struct Proxies(pub(super) Vec<Network>);

impl Proxies {
    pub(super) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The address of the client whose TCP connection comes from `peer`.
    ///
    /// If that is a proxy, `X-Forwarded-For` is read from its end, which is what the nearest proxy
    /// appended, up to the first address that is no proxy. What comes before that is the client's
    /// own writing.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        let entries = lines
            .iter()
            .rev()
            .flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','));
        for entry in entries {
            if !self.trust(client) {
                break;
            }
            let Some(forwarded) = std::str::from_utf8(entry).ok().and_then(parse) else {
                break;
            };
            client = forwarded.to_canonical();
        }
        client
    }
}

/// An address, with or without a port.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse()
        .or_else(|_| {
            text.parse()
                .map(|address: std::net::SocketAddr| address.ip())
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&'static str]) -> String {
        let proxies = ["10.0.0.0/8", "fd00::/8", "::1"];
        let proxies = Proxies(proxies.map(|text| text.parse().unwrap()).into());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_proxy_is_believed() {
        assert_eq!(client("203.0.113.1", &["198.51.100.1"]), "203.0.113.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn the_nearest_address_that_is_no_proxy_is_the_client() {
        let forged = ["1.1.1.1, 198.51.100.1, 10.0.0.2"];
        assert_eq!(client("10.0.0.1", &forged), "198.51.100.1");
        let lines = ["1.1.1.1", "198.51.100.1:4000", "10.0.0.2"];
        assert_eq!(client("10.0.0.1", &lines), "198.51.100.1");
    }

    #[test]
    fn what_is_no_address_is_not_skipped() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn networks_have_any_prefix_that_fits() {
        let every: Network = "0.0.0.0/0".parse().unwrap();
        assert!(every.contains("203.0.113.1".parse().unwrap()));
        assert!(!every.contains("::1".parse().unwrap()));
        let odd: Network = "10.1.128.0/17".parse().unwrap();
        assert!(odd.contains("10.1.200.1".parse().unwrap()));
        assert!(!odd.contains("10.1.100.1".parse().unwrap()));
        for wrong in ["10.0.0.0/33", "::/129", "10.0.0", "10.0.0.0/-1", "", "a/8"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }
}
