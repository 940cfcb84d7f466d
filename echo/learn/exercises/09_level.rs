//! Exercise 9: level-triggered instead of edge-triggered. The task is in section 9 of the README of
//! this folder.
//!
//! ```text
//! cargo run --example exercise -- 9
//! ```

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;

use crate::kernel::Kernel;

/// One connection of an echo server, on bare system calls.
///
/// This code was written for edge-triggered events, with which it is right. `Kernel` now watches the
/// socket level-triggered.
pub(crate) struct Echo {
    stream: UnixStream,
    /// Bytes that were read and not yet written back.
    pending: Vec<u8>,
}

impl Echo {
    /// Takes a socket in non-blocking mode, and begins to watch it.
    pub(crate) fn new(kernel: &mut Kernel, stream: UnixStream) -> io::Result<Echo> {
        kernel.watch(&stream, true, true)?;
        Ok(Echo { stream, pending: Vec::new() })
    }

    /// Handles an event. Returns false if the peer has closed the connection.
    pub(crate) fn ready(&mut self, kernel: &mut Kernel) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            while !self.pending.is_empty() {
                match kernel.write(&self.stream, &self.pending) {
                    Ok(written) => drop(self.pending.drain(..written)),
                    // The event that reports space comes later.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
            // Read until `WouldBlock`, because no other event comes for bytes that are left.
            match kernel.read(&self.stream, &mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }
}

#[path = "checks/09_level.rs"]
pub(crate) mod check;
