//! Sockets: std's names, with `await`.
//!
//! Each is a thin module: it names the system call, and [`Async`](crate::Async) does the waiting.

mod addr;
mod incoming;
mod split;
mod tcp;

pub use addr::ToSocketAddrs;
pub use incoming::Incoming;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, WriteHalf};
pub use tcp::{TcpListener, TcpStream};
