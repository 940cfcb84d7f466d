#![cfg(target_os = "linux")]
//! Files by completion.
mod file;
mod in_flight;
mod operation;
mod options;
mod ring;

pub use file::File;
pub use options::OpenOptions;
pub use ring::Ring;
