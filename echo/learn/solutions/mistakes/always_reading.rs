//! Mistake: the server watches for reading even while it has no space to write.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;

use crate::kernel::Kernel;

/// One connection of an echo server, on bare system calls, for level-triggered events.
pub(crate) struct Echo {
    stream: UnixStream,
    /// Bytes that were read and not yet written back.
    pending: Vec<u8>,
}

impl Echo {
    /// Takes a socket in non-blocking mode, and begins to watch it.
    pub(crate) fn new(kernel: &mut Kernel, stream: UnixStream) -> io::Result<Echo> {
        kernel.watch(&stream, true, false)?;
        Ok(Echo { stream, pending: Vec::new() })
    }

    /// Handles an event. Returns false if the peer has closed the connection.
    pub(crate) fn ready(&mut self, kernel: &mut Kernel) -> io::Result<bool> {
        let waited_for_space = !self.pending.is_empty();
        if !waited_for_space {
            // One read is enough: the next wait reports bytes that are left.
            let mut buffer = [0; 4096];
            match kernel.read(&self.stream, &mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        match kernel.write(&self.stream, &self.pending) {
            Ok(written) => drop(self.pending.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let waits_for_space = !self.pending.is_empty();
        if waits_for_space != waited_for_space {
            kernel.watch(&self.stream, true, waits_for_space)?;
        }
        Ok(true)
    }
}

#[path = "../../exercises/checks/09_level.rs"]
pub(crate) mod check;
