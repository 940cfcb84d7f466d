//! What can be given as an address.

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::blocking::unblock;
use crate::budget::consume_budget;

/// An address, or what one or more can be made of, as [`std::net::ToSocketAddrs`].
///
/// Literal addresses, such as `"127.0.0.1:7777"` or `("::1", 7777)`, are parsed in place. Host
/// names are looked up by the operating system on the blocking pool; a look-up that has begun
/// cannot be cancelled.
///
/// The trait is sealed: it is implemented for the types that std has it for.
#[expect(private_bounds, reason = "sealed")]
pub trait ToSocketAddrs: Resolve {}

/// Where to look, if no look-up is needed; else the name to look up.
pub(crate) enum Addresses {
    Literal(Vec<SocketAddr>),
    Name(String, u16),
}

pub(crate) trait Resolve {
    fn addresses(&self) -> io::Result<Addresses>;
}

/// Looks up all addresses of a host, or of whatever else stands for addresses.
///
/// Names go to the blocking pool, since the system's look-up can only block: that of
/// `getaddrinfo`, with all that is configured for it. Literal addresses are parsed in place.
///
/// # Errors
///
/// When the name is not known, or nobody can be asked; `InvalidInput` for what is no address.
///
/// # Cancel safety
///
/// Nothing is lost, but a look-up that has begun is not cancelled: dropping the future leaves its
/// thread of the pool busy until the system answers or gives up, which may take many seconds.
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

/// All addresses that `addr` stands for.
pub(crate) async fn resolve(addr: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    // A literal address, or an invalid one, completes without waiting.
    consume_budget().await;
    match addr.addresses()? {
        Addresses::Literal(literal) => Ok(literal),
        Addresses::Name(host, port) => {
            let look_up = move || net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port));
            Ok(unblock(look_up).await?.collect())
        }
    }
}

/// Tries one address after the other, as std does; the error is that of the last one.
pub(crate) async fn first_that_works<T>(
    addr: impl ToSocketAddrs,
    attempt: impl AsyncFn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "there is no address to try");
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

/// One row for each type: how it becomes addresses.
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
