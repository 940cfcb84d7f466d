//! Sockets: std's names, with `await`.
//!
//! Each is a thin module: it names the system call, and [`Async`](crate::Async) does the waiting,
//! by way of readiness: a socket can be told not to block, and the kernel reports when it is worth
//! trying again. Host names alone take the way of the pool, for looking one up can only block.

mod addr;
mod incoming;
mod split;
mod tcp;
mod udp;
mod unix;

pub use addr::{ToSocketAddrs, lookup_host};
pub use incoming::Incoming;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use tcp::{TcpListener, TcpStream};
pub use udp::UdpSocket;
#[cfg(target_os = "linux")]
pub use unix::UCred;
pub use unix::{UnixDatagram, UnixListener, UnixStream};
