//! Unix sockets, between the processes of one machine: [`UnixListener`], [`UnixStream`] and
//! [`UnixDatagram`].
//!
//! By way of readiness, as TCP, but always until `WouldBlock`: a read stops short at the edge of a
//! packet that carries descriptors, although the next one is there. Two calls have nothing to be
//! ready for, for it is the other end that has no room; see [`room`].
//!
//! Addresses are std's: paths, and on Linux abstract names (`std::os::linux::net::SocketAddrExt`).
//! Where a path is expected, one that begins with a zero byte is an abstract name, as with tokio.

mod datagram;
mod listener;
mod room;
mod stream;

use std::io::{self, ErrorKind};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use rustix::net::SocketAddrUnix;

pub use datagram::UnixDatagram;
pub use listener::UnixListener;
#[cfg(target_os = "linux")]
pub use stream::UCred;
pub use stream::UnixStream;

/// Returns the address of a path. On Linux a path that begins with a zero byte is an abstract name,
/// which consists of the bytes after the zero.
fn address(path: &Path) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.as_os_str().as_bytes().strip_prefix(&[0]) {
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

/// The same address as rustix takes it. std's `connect` blocks. mio's socket cannot send to an
/// abstract name, and mio takes the last byte from one that begins with a zero.
fn named(address: &SocketAddr) -> io::Result<SocketAddrUnix> {
    if let Some(path) = address.as_pathname() {
        return Ok(SocketAddrUnix::new(path)?);
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_name() {
        return Ok(SocketAddrUnix::new_abstract_name(name)?);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "the address has no name"))
}
