//! Conversions of all sockets: to and from std's, and to descriptors.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::{net, os::unix::net as unix};

use crate::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

/// One row for each socket: ours, and that of std.
macro_rules! conversions {
    ($($socket:ident, $std:ty;)*) => {$(
        /// As `from_std`: it panics outside of `block_on`.
        impl TryFrom<$std> for $socket {
            type Error = io::Error;

            #[track_caller]
            fn try_from(socket: $std) -> io::Result<$socket> {
                $socket::from_std(socket)
            }
        }

        /// As `into_std`: the socket stays non-blocking.
        impl TryFrom<$socket> for $std {
            type Error = io::Error;

            fn try_from(socket: $socket) -> io::Result<$std> {
                socket.into_std()
            }
        }

        /// Deregisters the socket, and gives its descriptor back, in non-blocking mode.
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
