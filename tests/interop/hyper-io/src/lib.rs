// The link targets in this documentation. Rustdoc uses the first definition of a link, so these
// take precedence over the definitions at the end of the README, which are for readers on a code
// host.
//! [`HyperIo`]: HyperIo
//! [`LocalExec`]: LocalExec
//! [`LocalTimer`]: LocalTimer
//!
#![doc = include_str!("../README.md")]

mod exec;
mod io;
mod timer;

pub use exec::LocalExec;
pub use io::HyperIo;
pub use timer::LocalTimer;
