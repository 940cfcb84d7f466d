//! Addresses, and the lookup of host names: [`ToSocketAddrs`] and [`lookup_host`].

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::blocking::unblock;
use crate::budget::consume_budget;

/// A value that can be converted to one or more addresses; the async [`std::net::ToSocketAddrs`].
///
/// A literal address, such as `"127.0.0.1:7777"` or `("::1", 7777)`, is parsed on the calling
/// thread. A host name is looked up by the OS on the blocking pool. A lookup that has begun cannot
/// be canceled.
///
/// The trait is sealed. It is implemented for the same types as std's trait.
#[expect(private_bounds, reason = "sealed")]
pub trait ToSocketAddrs: Resolve {}

/// The result of parsing: addresses, or a host name that needs a lookup and a port.
pub(crate) enum Addresses {
    Literal(Vec<SocketAddr>),
    Name(String, u16),
}

pub(crate) trait Resolve {
    fn addresses(&self) -> io::Result<Addresses>;
}

/// Looks up all addresses of a host, e.g. `"localhost:80"`.
///
/// `getaddrinfo` resolves the name as the OS is configured. It always blocks, so it runs on the
/// blocking pool. A literal address needs no lookup.
///
/// # Errors
///
/// Returns the error of `getaddrinfo` if the name is unknown or no name server answers. Returns
/// `InvalidInput` if the text is neither an address nor a name with a port.
///
/// # Cancel safety
///
/// Dropping the future loses no data, but does not stop a lookup that has begun. Its thread of the
/// pool stays busy until `getaddrinfo` returns, which may take many seconds.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let addresses = reactor::net::lookup_host("localhost:80").await?;
///     let mut loopback = addresses.filter(|addr| addr.ip().is_loopback());
///     assert_eq!(loopback.next().map(|addr| addr.port()), Some(80));
///     Ok(())
/// })
/// # }
/// ```
pub async fn lookup_host(host: impl ToSocketAddrs) -> io::Result<impl Iterator<Item = SocketAddr>> {
    Ok(resolve(host).await?.into_iter())
}

/// Returns all addresses of `addr`.
pub(crate) async fn resolve(addr: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    // Spend budget here, because a literal or an invalid address completes without waiting.
    consume_budget().await;
    match addr.addresses()? {
        Addresses::Literal(literal) => Ok(literal),
        Addresses::Name(host, port) => {
            let lookup = move || net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port));
            Ok(unblock(lookup).await?.collect())
        }
    }
}

/// Tries the addresses in order, as std does. If all fail, returns the error of the last one.
pub(crate) async fn try_addresses<T>(
    addr: impl ToSocketAddrs,
    attempt: impl AsyncFn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "could not resolve to any address");
    for addr in resolve(addr).await? {
        match attempt(addr).await {
            Ok(value) => return Ok(value),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn literal(addr: SocketAddr) -> Addresses {
    Addresses::Literal(vec![addr])
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("invalid socket address: {what}"))
}

/// One row for each type: how to convert it to addresses.
macro_rules! to_socket_addrs {
    ($($type:ty: $self:ident => $addresses:expr;)*) => {$(
        impl ToSocketAddrs for $type {}
        impl Resolve for $type {
            fn addresses(&$self) -> io::Result<Addresses> { $addresses }
        }
    )*};
}

to_socket_addrs! {
    SocketAddr: self => Ok(literal(*self));
    SocketAddrV4: self => Ok(literal((*self).into()));
    SocketAddrV6: self => Ok(literal((*self).into()));
    (IpAddr, u16): self => Ok(literal((*self).into()));
    (Ipv4Addr, u16): self => Ok(literal((*self).into()));
    (Ipv6Addr, u16): self => Ok(literal((*self).into()));
    &[SocketAddr]: self => Ok(Addresses::Literal(self.to_vec()));
    String: self => self.as_str().addresses();
    (String, u16): self => (self.0.as_str(), self.1).addresses();
    (&str, u16): self => Ok(match self.0.parse::<IpAddr>() {
        Ok(ip) => literal((ip, self.1).into()),
        Err(_) => Addresses::Name(self.0.to_owned(), self.1),
    });
    str: self => match self.parse() {
        Ok(addr) => Ok(literal(addr)),
        Err(_) => {
            let (host, port) = self.rsplit_once(':').ok_or_else(|| invalid(self))?;
            (host, port.parse::<u16>().map_err(|_| invalid(self))?).addresses()
        }
    };
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}

impl<T: Resolve + ?Sized> Resolve for &T {
    fn addresses(&self) -> io::Result<Addresses> {
        (**self).addresses()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    /// Generates texts of parts of addresses and of random characters.
    fn text() -> impl Strategy<Value = String> {
        let parts = [
            ":",
            "::",
            "[",
            "]",
            "127.0.0.1",
            "::1",
            "fe80::1",
            "%1",
            "host",
            "0",
            "80",
            "65535",
            "65536",
            "-1",
            "+1",
            " ",
            "\0",
        ];
        let part =
            prop_oneof![8 => select(parts.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
        vec(part, 0..5).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        // std looks up host names, so compare the results only for texts without a host name.
        #[test]
        fn any_text_is_parsed_as_by_std_or_is_a_host_to_look_up(text in text()) {
            match text.as_str().addresses() {
                Ok(Addresses::Name(host, port)) => {
                    prop_assert!(text.parse::<SocketAddr>().is_err() && host.parse::<IpAddr>().is_err());
                    let (before, number) = text.rsplit_once(':').unwrap();
                    prop_assert_eq!((before, number.parse()), (&*host, Ok(port)));
                }
                Ok(Addresses::Literal(found)) => {
                    let expected = net::ToSocketAddrs::to_socket_addrs(text.as_str()).unwrap();
                    prop_assert_eq!(found, expected.collect::<Vec<_>>());
                }
                Err(error) => {
                    let expected = net::ToSocketAddrs::to_socket_addrs(text.as_str()).unwrap_err();
                    prop_assert_eq!(error.kind(), expected.kind());
                }
            }
        }
    }
}
