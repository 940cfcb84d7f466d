//! Sockets: std's names, with `await`.
//!
//! Each is a thin module: it names the system call, and [`Async`](crate::Async) does the waiting,
//! by way of readiness: a socket can be told not to block, and the kernel reports when it is worth
//! trying again. Host names alone take the way of the pool, for looking one up can only block.
//!
//! # What does not port by changing imports
//!
//! - Sockets are not `Clone`, as async-net's are. Put one in an [`Rc`](std::rc::Rc): sending and
//!   receiving need only a reference, and `&TcpStream` is a reader and a writer too. Or split a
//!   stream in two, with [`split`](TcpStream::split) or [`into_split`](TcpStream::into_split).
//! - The `poll` functions take `buf: &mut [u8]`, as in futures-io, and not tokio's `ReadBuf`.
//!   [`TcpStream::peek`] has no `poll` function.
//! - There are no counterparts of tokio's `readable`, `try_read` and similar functions. Only an
//!   operation learns whether a socket is ready. An operation that returns `WouldBlock` clears
//!   readiness itself, so no caller can forget to. On TCP, [`peek`](TcpStream::peek) waits for
//!   bytes and leaves them there. For an operation of your own, give mio's socket to
//!   [`Async`](crate::Async), and the operation to [`read_with`](crate::Async::read_with) or
//!   [`write_with`](crate::Async::write_with).
//! - An option that has no method here, such as `SO_LINGER` or `SO_KEEPALIVE`, is set through
//!   socket2: `SockRef::from(&stream).set_keepalive(true)`. And to set one before a socket listens or
//!   connects, make it with socket2 or std, and give it to `from_std`.
//! - [`UCred`] has fields, as std's, and not tokio's methods: `peer.uid`, not `peer.uid()`.

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
