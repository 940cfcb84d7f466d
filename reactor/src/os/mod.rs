//! Descriptors other than sockets, and signals.

mod descriptor;
pub mod pipe;
pub mod signal;
pub mod stdio;

pub use descriptor::Descriptor;
