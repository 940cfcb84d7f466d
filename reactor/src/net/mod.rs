//! TCP, UDP and Unix sockets, with the names of std and `await`.
//!
//! Each type is thin: its methods name the system call, and [`Async`](crate::Async) does the
//! waiting. The sockets are in non-blocking mode. When an operation would block, the kernel reports
//! when it is worth retrying. Only the lookup of a host name needs the thread pool, because the
//! OS's lookup always blocks.
//!
//! An operation that has to wait returns an error of kind `Other` if the socket's reactor is gone
//! or is not the current one of the thread. The `# Errors` sections do not repeat this.
//!
//! # Differences from tokio and async-net
//!
//! - Sockets are not `Clone`, unlike those of async-net. Put a socket into an
//!   [`Rc`](std::rc::Rc): sending and receiving need only a reference, and `&TcpStream` implements
//!   `AsyncRead` and `AsyncWrite`. Or split a stream with [`split`](TcpStream::split) or
//!   [`into_split`](TcpStream::into_split).
//! - The `poll` functions take `buf: &mut [u8]`, as in futures-io, and not tokio's `ReadBuf`.
//!   [`TcpStream::peek`] has no `poll` function.
//! - There are no counterparts of tokio's `readable`, `try_read` and similar functions. Only an
//!   operation learns whether a socket is ready. An operation that returns `WouldBlock` clears
//!   readiness itself, so no caller can forget to. On TCP, [`peek`](TcpStream::peek) waits for
//!   bytes and leaves them in the queue. For an operation of your own, wrap mio's socket in
//!   [`Async`](crate::Async), and pass the operation to [`read_with`](crate::Async::read_with) or
//!   [`write_with`](crate::Async::write_with).
//! - An option that has no method here, such as `SO_LINGER` or `SO_KEEPALIVE`, is set through
//!   socket2: `SockRef::from(&stream).set_keepalive(true)`. To set an option before a socket
//!   listens or connects, create the socket with socket2 or std, and pass it to `from_std`.
//! - [`UCred`] has public fields, as in std, and not tokio's methods: `peer.uid`, not `peer.uid()`.

mod addr;
mod convert;
mod incoming;
mod split;
mod tcp;
mod udp;
mod unix;

pub use addr::{ToSocketAddrs, lookup_host};
pub use incoming::{Incoming, IncomingWithPeers};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
#[cfg(target_os = "linux")]
pub use unix::UCred;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
