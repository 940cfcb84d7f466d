//! What the operating system offers besides sockets.

pub mod pipe;
pub mod signal;
pub mod stdio;
