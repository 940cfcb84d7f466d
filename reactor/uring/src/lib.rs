// On other systems, this crate and its documentation are empty.
#![cfg_attr(not(target_os = "linux"), allow(missing_docs))]
#![cfg(target_os = "linux")]
// Link targets for the README below, which is also this crate's documentation. Rustdoc uses the
// first definition of a link, so these override the definitions at the end of the README, which are
// for readers of the file.
//! [reactor]: ../reactor/index.html
//! [`when_and_done.rs`]: ../echod/index.html#files-of-the-guide
//! [`in_flight.rs`]: ../src/reactor_uring/in_flight.rs.html
//! [`ring.rs`]: ../src/reactor_uring/ring.rs.html
//!
#![doc = include_str!("../README.md")]

// The mechanism, meant to be read: ring, in_flight.
mod in_flight;
mod ring;

mod file;
mod operation;
mod options;

pub use file::File;
pub use options::OpenOptions;
pub use ring::Ring;
