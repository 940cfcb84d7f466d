//! What the operating system offers besides sockets.

pub mod signal;
