//! Networks of IP addresses (RFC 4632, RFC 4291 section 2.3).
//!
//! Invariant: bits behind the prefix are zero.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::{fmt, str::FromStr};

/// An address or a range of them: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no [`Network`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    text: String,
}

impl Network {
    /// Whether an address belongs to it. An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.7`) counts as what it is.
    pub fn contains(self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.prefix) == Some(self.address)
    }
}

/// The address with its bits behind the prefix cleared; `None` if the prefix is longer than the address.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let cleared = 32_u32.checked_sub(prefix.into())?;
            Some(Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(cleared).unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            let cleared = 128_u32.checked_sub(prefix.into())?;
            Some(Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(cleared).unwrap_or(0)).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let fail = || NetworkError { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| fail())?;
        let address = address.to_canonical();
        let prefix = match prefix {
            None if address.is_ipv4() => 32,
            None => 128,
            Some(prefix) => prefix.parse().map_err(|_| fail())?,
        };
        // Somebody who writes 10.0.0.7/8 means something else than 10.0.0.0/8, and we do not know which.
        if masked(address, prefix) == Some(address) { Ok(Self { address, prefix }) } else { Err(fail()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no network; write an address, or a range by its first address: 10.0.0.7, 10.0.0.0/8, fd00::/8",
            self.text
        )
    }
}

impl std::error::Error for NetworkError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_or_not() {
        for (network, inside, outside) in [
            ("10.0.0.7", "10.0.0.7", "10.0.0.8"),
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("192.168.0.0/31", "192.168.0.1", "192.168.0.2"),
            ("::1", "::1", "::2"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
            ("127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:128.0.0.1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} has {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} has not {outside}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
        for text in ["", "10", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "10.0.0.7/8", "localhost"] {
            assert!(text.parse::<Network>().unwrap_err().to_string().contains(text));
        }
    }
}
