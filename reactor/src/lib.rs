// Link targets for the README below, which is also this crate's documentation. Rustdoc uses the
// first definition of a link, so these override the definitions at the end of the README, which are
// for readers of the file.
//! [front door]: ../echod/index.html#files-of-the-guide
//! [glossary]: ../echod/index.html#files-of-the-guide
//! [executor]: ../executor/index.html
//! [`source.rs`]: ../src/reactor/source.rs.html
//! [`reactor.rs`]: ../src/reactor/reactor.rs.html
//! [`async_io.rs`]: ../src/reactor/async_io.rs.html
//! [`timer.rs`]: ../src/reactor/timer.rs.html
//! [`tcp.rs`]: ../src/reactor/net/tcp.rs.html
//! [`notifier.rs`]: ../src/reactor/notifier.rs.html
//! [`net`]: net
//! [`Async`]: Async
//! [`time`]: time
//! [`reactor-uring`]: ../reactor_uring/index.html
//! [`fs`]: fs
//! [`pipe`]: pipe
//! [`stdio`]: stdio
//! [`signal`]: signal
//! [`process`]: process
//! [`blocking`]: blocking
//! [`blocking::unblock`]: blocking::unblock
//! [`io`]: io
//! [`Reactor::stored_wakers`]: Reactor::stored_wakers
//! [`Reactor::new`]: Reactor::new
//! [`Reactor::enter`]: Reactor::enter
//! [`Reactor::turn`]: Reactor::turn
//! [`Reactor::notifier`]: Reactor::notifier
//! [`Reactor::next_deadline`]: Reactor::next_deadline
//!
#![doc = include_str!("../README.md")]

// The mechanism, meant to be read: source, reactor, async_io, timer, budget.
mod async_io;
pub mod budget;
mod reactor;
mod source;
mod timer;

mod current;
mod diagnostics;
mod metrics;
mod notifier;
mod peers;
mod shared;

// The breadth, meant for lookup: thin modules over the five above.
#[path = "pool/mod.rs"]
pub mod blocking;
pub mod fs;
pub mod io;
pub mod net;
mod os;
pub mod process;
pub mod time;

use std::panic::{RefUnwindSafe, UnwindSafe};

pub use async_io::Async;
pub use current::Enter;
pub use diagnostics::{Awaited, StoredWaker};
pub use metrics::Metrics;
/// The crate that defines the types [`Async`] works with: `event::Source`, `Interest`, and mio's
/// sockets and pipes.
pub use mio;
pub use notifier::Notifier;
pub use os::{Descriptor, pipe, signal, stdio};
pub use reactor::Reactor;

// The public types are *unwind safe*: a program may use them after `catch_unwind` has caught a
// panic of user code. The compiler cannot see it, because these four contain cells. It holds because
// no `RefCell` is borrowed and no invariant is broken while user code runs.
impl RefUnwindSafe for Reactor {}
impl RefUnwindSafe for source::Source {}
impl UnwindSafe for reactor::Registration {}
impl RefUnwindSafe for reactor::Registration {}
impl UnwindSafe for time::Sleep {}
impl RefUnwindSafe for time::Sleep {}
