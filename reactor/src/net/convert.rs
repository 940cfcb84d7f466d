//! Conversions of all sockets from and to std sockets, and to descriptors.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::{net, os::unix::net as unix};

use crate::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

/// One row for each socket: the type of this crate, and the std type.
macro_rules! conversions {
    ($($socket:ident, $std:ty;)*) => {$(
        /// Converts as `from_std` does. Panics outside of `block_on`.
        impl TryFrom<$std> for $socket {
            type Error = io::Error;

            #[track_caller]
            fn try_from(socket: $std) -> io::Result<$socket> {
                $socket::from_std(socket)
            }
        }

        /// Converts as `into_std` does: the socket stays in non-blocking mode.
        impl TryFrom<$socket> for $std {
            type Error = io::Error;

            fn try_from(socket: $socket) -> io::Result<$std> {
                socket.into_std()
            }
        }

        /// Deregisters the socket, and returns its descriptor, which stays in non-blocking mode.
        /// Logs an error of the deregistration.
        impl From<$socket> for OwnedFd {
            fn from(socket: $socket) -> OwnedFd {
                socket.0.release().into()
            }
        }

        impl AsRawFd for $socket {
            fn as_raw_fd(&self) -> RawFd {
                self.0.as_raw_fd()
            }
        }
    )*};
}

conversions! {
    TcpListener, net::TcpListener;
    TcpStream, net::TcpStream;
    UdpSocket, net::UdpSocket;
    UnixListener, unix::UnixListener;
    UnixStream, unix::UnixStream;
    UnixDatagram, unix::UnixDatagram;
}
