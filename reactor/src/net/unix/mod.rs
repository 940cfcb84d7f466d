//! Unix sockets, between the processes of one machine: [`UnixListener`], [`UnixStream`] and
//! [`UnixDatagram`].
//!
//! Unix sockets use readiness, as TCP sockets do. But only `WouldBlock` clears the readiness: a
//! read may stop short at a message that carries file descriptors, although more data is queued.
//! Two calls do not use readiness, because the queue that is full belongs to another socket; see
//! [`room`].
//!
//! Addresses are those of std: paths, and on Linux abstract names
//! (`std::os::linux::net::SocketAddrExt`). Where a path is expected, one that begins with a zero
//! byte means an abstract name, as in tokio.

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

/// Converts a path to an address. On Linux, a path that begins with a zero byte becomes an abstract
/// name, which consists of the bytes after the zero.
fn address(path: &Path) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = path.as_os_str().as_bytes().strip_prefix(&[0]) {
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(path)
}

/// Converts an address for rustix, whose `connect` and `sendto` we call. The `connect` of std
/// blocks. mio cannot send to an abstract name, and drops the last byte of a name that begins with
/// a zero byte.
fn to_rustix(address: &SocketAddr) -> io::Result<SocketAddrUnix> {
    if let Some(path) = address.as_pathname() {
        return Ok(SocketAddrUnix::new(path)?);
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_name() {
        return Ok(SocketAddrUnix::new_abstract_name(name)?);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "cannot connect or send to an unnamed address"))
}
