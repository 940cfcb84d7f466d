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
    use ::tests::cases;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::net::IpAddr;

    /// The parts of addresses, and other text.
    fn text() -> impl Strategy<Value = String> {
        let parts = [
            "tcp",
            "udp",
            "unix",
            "fd",
            ":",
            "::",
            "[",
            "]",
            "127.0.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1%",
            "::ffff:10.0.0.1",
            "0",
            "7777",
            "65535",
            "65536",
            "2147483648",
            "-1",
            "+1",
            "/",
            "\0",
            "%1",
        ];
        let part =
            prop_oneof![6 => select(parts.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        let any_parts = vec(part, 0..6).prop_map(|parts| parts.concat());
        let schemes = select(vec!["", "tcp:", "udp:", "unix:", "fd:"]);
        let rest = prop_oneof![
            any::<SocketAddr>().prop_map(|address| address.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
        ];
        prop_oneof![any_parts, (schemes, rest).prop_map(|(scheme, rest)| format!("{scheme}{rest}"))]
    }

    /// Few different addresses, so that many overlap.
    fn address() -> impl Strategy<Value = Address> {
        let ips = ["0.0.0.0", "127.0.0.1", "10.0.0.1", "::", "::1"];
        let ip = select(ips.to_vec()).prop_map(|ip| ip.parse::<IpAddr>().unwrap());
        (ip, 0_u16..2, 0..4).prop_map(|(ip, port, kind)| match kind {
            0 => Address::Tcp((ip, port).into()),
            1 => Address::Udp((ip, port).into()),
            2 => Address::Unix(format!("/{port}").into()),
            _ => Address::Inherited(port.into()),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(500), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_an_address_or_an_error(text in text()) {
            match text.parse::<Address>() {
                Ok(address) => prop_assert_eq!(address.to_string().parse(), Ok(address)),
                Err(hint) => prop_assert_eq!(hint, HINT),
            }
        }

        // Method: the interfaces that an address stands for, listed one by one.
        #[test]
        fn addresses_overlap_if_they_share_an_interface_and_a_port(one in address(), other in address()) {
            let interfaces = |address: &SocketAddr| match address.ip().to_string().as_str() {
                "0.0.0.0" => vec!["0.0.0.0".to_owned(), "127.0.0.1".to_owned(), "10.0.0.1".to_owned()],
                "::" => ["0.0.0.0", "127.0.0.1", "10.0.0.1", "::", "::1"].map(str::to_owned).to_vec(),
                ip => vec![ip.to_owned()],
            };
            let expected = match (&one, &other) {
                (Address::Tcp(a), Address::Tcp(b)) | (Address::Udp(a), Address::Udp(b)) => {
                    let others = interfaces(b);
                    a.port() == b.port() && interfaces(a).iter().any(|ip| others.contains(ip))
                }
                (Address::Unix(a), Address::Unix(b)) => a == b,
                _ => false,
            };
            prop_assert_eq!(one.overlaps(&other), expected);
        }
    }

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
