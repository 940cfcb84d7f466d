//! Unix sockets, between the processes of one machine: [`UnixListener`], [`UnixStream`] and
//! [`UnixDatagram`].
//!
//! By way of readiness, as TCP, but always until `WouldBlock`: a read stops short at the edge of a
//! packet that carries descriptors, although the next one is there. Two calls have nothing to be
//! ready for, for it is the other end that has no room; see [`room`].
//!
//! Addresses are std's: paths, and on Linux abstract names (`std::os::linux::net::SocketAddrExt`).

mod datagram;
mod listener;
mod room;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::UnixListener;
#[cfg(target_os = "linux")]
pub use stream::UCred;
pub use stream::UnixStream;
