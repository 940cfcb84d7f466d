// Where the README's links lead in this documentation. The first definition of a link counts, so
// the definitions at the end of the README are for its readers on a forge.
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
