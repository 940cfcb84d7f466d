//! The addresses of the command line, at which the server listens.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

/// Says how to write an address, for error messages.
const HINT: &str = "write an IP address and a port up to 65535 (e.g. 127.0.0.1:7777, [::1]:7777 or \
    udp:127.0.0.1:7777), unix:/path/of/socket, or fd:3";

/// One address of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
    /// An inherited descriptor, which may be any kind of socket.
    Inherited(RawFd),
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Address, &'static str> {
        let parse = |address: &str| address.parse().ok();
        // An IPv6 address with a port begins with `[`, so none of these words precedes its first colon.
        let address = match text.split_once(':') {
            Some(("tcp", address)) => parse(address).map(Address::Tcp),
            Some(("udp", address)) => parse(address).map(Address::Udp),
            Some(("unix", path)) if !path.is_empty() => Some(Address::Unix(path.into())),
            Some(("fd", number)) => descriptor(number).map(Address::Inherited),
            _ => parse(text).map(Address::Tcp),
        };
        address.ok_or(HINT)
    }
}

impl Address {
    /// Returns whether a socket at one of the addresses prevents a socket at the other.
    pub(crate) fn overlaps(&self, other: &Address) -> bool {
        match (self, other) {
            (Address::Tcp(one), Address::Tcp(other)) | (Address::Udp(one), Address::Udp(other)) => {
                one.port() == other.port()
                    && (one.ip() == other.ip() || covers(one, other) || covers(other, one))
            }
            (Address::Unix(one), Address::Unix(other)) => one == other,
            _ => false,
        }
    }
}

/// Returns whether the first address stands for all interfaces, including the second. `[::]` includes
/// IPv4.
fn covers(all: &SocketAddr, one: &SocketAddr) -> bool {
    all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

fn descriptor(number: &str) -> Option<RawFd> {
    number.parse().ok().filter(|&number| number >= 0)
}

/// Writes the address as on the command line.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Udp(address) => write!(f, "udp:{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Inherited(number) => write!(f, "fd:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_displayed_as_it_was_parsed() {
        for text in
            ["127.0.0.1:0", "[::1]:7777", "udp:127.0.0.1:7", "udp:[::]:0", "unix:a:b", "fd:3"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("tcp:127.0.0.1:1".parse(), "127.0.0.1:1".parse::<Address>());
    }

    #[test]
    fn invalid_address_returns_the_hint() {
        for text in
            ["", "unix:", "unix", "fd:", "fd:-1", "fd:x", "fd:99999999999", "udp:7777", "sctp:1:2"]
        {
            assert_eq!(text.parse::<Address>(), Err(HINT), "{text:?}");
        }
    }
}
