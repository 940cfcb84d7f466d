// Elsewhere this crate is empty, and its documentation too.
#![cfg_attr(not(target_os = "linux"), allow(missing_docs))]
#![cfg(target_os = "linux")]
// Where the chapter's links lead in this documentation: the first definition of a link counts, and
// those at the end of the README are for who reads it as a file.
//! [reactor]: ../reactor/index.html
//! [`when_and_done.rs`]: ../../../reactor/uring/examples/when_and_done.rs
//! [`in_flight.rs`]: ../src/reactor_uring/in_flight.rs.html
//! [`ring.rs`]: ../src/reactor_uring/ring.rs.html
//!
#![doc = include_str!("../README.md")]

// To be read: ring, in_flight.
mod in_flight;
mod ring;

mod file;
mod operation;
mod options;

pub use file::File;
pub use options::OpenOptions;
pub use ring::Ring;
