//! Unix sockets, between the processes of one machine: [`UnixListener`], [`UnixStream`] and
//! [`UnixDatagram`].
//!
//! They use readiness, as TCP does, but always until `WouldBlock`: a read ends at the boundary of a
//! packet that carries descriptors, although the next packet is there. Two calls do not use
//! readiness, because it is the queue of another socket that is full; see [`room`].
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
