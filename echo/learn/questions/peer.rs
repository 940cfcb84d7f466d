//! A connection to a peer that is no part of the runtime: its socket is one of std, and blocks.

use std::io;
use std::net::{self, Ipv4Addr};
use std::time::Duration;

use reactor::net::TcpStream;

/// How long a peer waits for anything, at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The two ends of a connection, as std has them.
pub(crate) fn sockets() -> io::Result<(net::TcpStream, net::TcpStream)> {
    let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let peer = net::TcpStream::connect(listener.local_addr()?)?;
    peer.set_read_timeout(Some(PATIENCE))?;
    let (ours, _) = listener.accept()?;
    Ok((ours, peer))
}

/// Our end, and the peer's.
pub(crate) fn connection() -> io::Result<(TcpStream, net::TcpStream)> {
    let (ours, peer) = sockets()?;
    Ok((TcpStream::from_std(ours)?, peer))
}
