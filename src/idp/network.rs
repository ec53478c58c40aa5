//! Source networks in CIDR form (pure).

#![warn(clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// A source network in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    pub address: IpAddr,
    pub prefix_length: u8,
}

impl Network {
    /// Says whether the address belongs to the network; an IPv4 address is the same one when it
    /// is written as `::ffff:…`.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let network = IpNet::new(self.address, self.prefix_length);
        network.is_ok_and(|network| network.contains(&address.to_canonical()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

/// Returns what stands for one host: in IPv6 a host has a whole /64.
#[must_use]
pub fn host_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

/// The text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("not an address or a network such as 192.0.2.0/24")]
    Text,
    /// More than one network may have been meant: this host, or its neighbours as well.
    #[error(
        "{address}/{prefix_length} is an address within a network; write \
         {network}/{prefix_length} for the network, or {address} for the single address"
    )]
    HostBits {
        address: IpAddr,
        network: IpAddr,
        prefix_length: u8,
    },
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Parses `address/length`, or an address alone for one host.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Text)?;
        let whole: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix_length = match length {
            None => whole,
            // `u8::from_str` takes a sign; a network has none.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| NetworkError::Text)?
            }
            Some(_) => return Err(NetworkError::Text),
        };
        let network = IpNet::new(address, prefix_length).map_err(|_| NetworkError::Text)?;
        let network = network.trunc().addr();
        if network != address {
            return Err(NetworkError::HostBits {
                address,
                network,
                prefix_length,
            });
        }
        // Sources are compared as IPv4 addresses where they are some, so networks have to be.
        Ok(
            match (address.to_canonical(), prefix_length.checked_sub(96)) {
                (address @ IpAddr::V4(_), Some(prefix_length)) if whole == 128 => Self {
                    address,
                    prefix_length,
                },
                _ => Self {
                    address,
                    prefix_length,
                },
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, address, inside) in [
            ("203.0.113.0/24", "203.0.113.9", true),
            ("203.0.113.0/24", "203.0.114.9", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("203.0.113.0/24", "::ffff:203.0.113.9", true),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            ("::ffff:192.0.2.0/120", "192.0.3.9", false),
            ("::ffff:192.0.2.0/120", "::ffff:192.0.2.9", true),
            ("::ffff:192.0.2.7", "192.0.2.7", true),
            ("::ffff:192.0.2.7", "192.0.2.8", false),
            ("::ffff:0:0/96", "192.0.2.7", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                inside,
                "{network:?} {address}"
            );
        }
    }

    #[test]
    fn an_address_with_a_prefix_is_refused_with_the_network_that_was_meant() {
        for (text, meant) in [
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("10.1.2.3/31", "10.1.2.2/31"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("2001:db8::1/0", "::/0"),
            ("::ffff:192.0.2.7/120", "::ffff:192.0.2.0/120"),
        ] {
            let refused = text.parse::<Network>().unwrap_err().to_string();
            assert!(refused.contains(&format!("write {meant} ")), "{refused}");
            assert!(meant.parse::<Network>().is_ok(), "{meant}");
        }
        for one in ["203.0.113.7/32", "2001:db8::1/128", "::ffff:192.0.2.7/128"] {
            assert!(one.parse::<Network>().is_ok(), "{one}");
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused() {
        for bad in [
            "",
            "x",
            "1.2.3.0/33",
            "::/129",
            "1.2.3.0/",
            "1.2.3.0/+8",
            "1.2.3.0/-1",
            "1.2.3/24",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
