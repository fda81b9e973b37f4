//! Places for connections, counted in all and by address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// How many places are taken.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) taken: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    All,
    OfAddress,
}

impl Slots {
    /// Takes a place. An address is given as its [`network_of`], or not at all where it says
    /// nothing.
    pub(super) fn take(
        &mut self,
        address: Option<IpAddr>,
        most: usize,
        most_of_address: usize,
    ) -> Result<(), Taken> {
        if self.taken >= most {
            return Err(Taken::All);
        }
        if let Some(address) = address {
            let count = self.by_address.entry(address).or_default();
            if *count >= most_of_address {
                return Err(Taken::OfAddress);
            }
            *count += 1;
        }
        self.taken += 1;
        Ok(())
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, address: Option<IpAddr>) {
        self.taken -= 1;
        if let Some(address) = address
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// What counts as one address: for IPv6 the network of 64 bits, all of which one client can have.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
