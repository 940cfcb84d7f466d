#![doc = include_str!("../README.md")]

// To be read: source, reactor, async_io, timer, budget.
mod async_io;
pub mod budget;
mod reactor;
mod source;
mod timer;

mod current;
mod metrics;
mod notifier;
mod waits;

// To be looked up: thin modules over the five above.
#[path = "pool/mod.rs"]
pub mod blocking;
pub mod io;
pub mod net;
mod os;
pub mod time;

pub use async_io::Async;
pub use current::Enter;
pub use metrics::Metrics;
pub use notifier::Notifier;
pub use os::signal;
pub use reactor::Reactor;
pub use waits::{Awaited, Wait};
