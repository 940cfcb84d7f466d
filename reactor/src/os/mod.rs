//! What the operating system offers besides sockets.

mod descriptor;
pub mod pipe;
pub mod signal;
pub mod stdio;

pub use descriptor::Descriptor;
