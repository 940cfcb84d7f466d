#![doc = include_str!("../README.md")]

// To be read, in this order.
mod async_io;
pub mod budget;
mod reactor;
mod source;
mod timer;

// To be looked up: thin modules over the five above.
#[path = "pool/mod.rs"]
pub mod blocking;
pub mod io;
pub mod net;
mod os;
pub mod time;

pub use async_io::Async;
pub use os::signal;
pub use reactor::{Enter, Metrics, Notifier, Reactor};
