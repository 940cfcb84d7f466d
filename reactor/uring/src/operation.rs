//! What one asks of a file: an [`Operation`], which owns all that it needs until it is done.
//!
//! It is done by the kernel, in its own time, from the [`entry`](Operation::entry) that describes
//! it; or by a thread of the pool, in [`block`](Operation::block).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use io_uring::opcode::{Close, Fsync, OpenAt, Read, Write};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, FsyncFlags};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::retry_on_intr;

/// Bytes that one submission may copy on the thread of the executor, when they are in the page
/// cache. So many take some 30 us; longer operations go to the kernel's own threads at once.
pub(crate) const IN_PLACE: usize = 256 << 10;

/// One operation on a file, with its buffer, its path and its descriptor.
///
/// What the kernel reads and writes lies on the heap behind it, and stays there when the operation
/// is moved.
#[derive(Debug)]
pub(crate) enum Operation {
    Open {
        path: CString,
        flags: OFlags,
        mode: Mode,
    },
    /// Into `buffer[from..]`.
    Read {
        file: Arc<File>,
        buffer: Vec<u8>,
        from: usize,
        offset: u64,
    },
    /// Of `buffer[from..]`.
    Write {
        file: Arc<File>,
        buffer: Vec<u8>,
        from: usize,
        offset: u64,
    },
    Sync {
        file: Arc<File>,
        data_only: bool,
    },
    /// The descriptor is taken when the kernel is told of it: from then on it is the kernel's.
    Close {
        descriptor: Option<OwnedFd>,
    },
    /// It was forgotten, for the kernel did not give it back.
    Lost,
}

/// What came of an operation that did not fail.
#[derive(Debug)]
pub(crate) enum Answer {
    Opened(OwnedFd),
    /// Bytes, or nothing.
    Count(usize),
}

/// The operation comes back with its answer: its buffer is the caller's again.
pub(crate) type Outcome = (Operation, io::Result<Answer>);

impl Operation {
    /// Describes the operation to the kernel, by the addresses of what it owns.
    pub(crate) fn entry(&mut self) -> Entry {
        let bytes = self.bytes();
        let entry = match self {
            Operation::Open { path, flags, mode } => {
                OpenAt::new(Fd(CWD.as_raw_fd()), path.as_ptr())
                    .flags(flags.bits() as i32)
                    .mode(mode.bits())
                    .build()
            }
            Operation::Read { file, buffer, from, offset } => {
                let (part, length) = (&mut buffer[*from..], length(bytes));
                Read::new(descriptor(file), part.as_mut_ptr(), length).offset(*offset).build()
            }
            Operation::Write { file, buffer, from, offset } => {
                let (part, length) = (&buffer[*from..], length(bytes));
                Write::new(descriptor(file), part.as_ptr(), length).offset(*offset).build()
            }
            Operation::Sync { file, data_only } => {
                let flags = if *data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
                Fsync::new(descriptor(file)).flags(flags).build()
            }
            Operation::Close { descriptor } => {
                // One that is no descriptor: the kernel will say so.
                Close::new(Fd(descriptor.take().map_or(-1, IntoRawFd::into_raw_fd))).build()
            }
            Operation::Lost => io_uring::opcode::Nop::new().build(),
        };
        // The kernel would try at once, on this thread, and copy all that it has.
        if bytes > IN_PLACE { entry.flags(Flags::ASYNC) } else { entry }
    }

    /// How many bytes it may copy.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Operation::Read { buffer, from, .. } | Operation::Write { buffer, from, .. } => {
                buffer.len() - from
            }
            _ => 0,
        }
    }

    /// Whether it may be stopped when nobody waits for it. But not a close: its descriptor would
    /// stay open, and nobody would know of it.
    pub(crate) fn may_be_cancelled(&self) -> bool {
        !matches!(self, Operation::Close { .. })
    }

    /// Whether it may be made again when a signal has interrupted it. But not a close: its
    /// descriptor was taken, and may be that of another file by now.
    pub(crate) fn may_be_repeated(&self) -> bool {
        !matches!(self, Operation::Close { .. })
    }

    /// Forgets what the kernel may still read or write: it stays where it is, for ever.
    pub(crate) fn forget(&mut self) {
        mem::forget(mem::replace(self, Operation::Lost));
    }

    /// Makes the blocking system call, on a thread where that does no harm.
    pub(crate) fn block(mut self) -> Outcome {
        let answer = self.call();
        (self, answer)
    }

    fn call(&mut self) -> io::Result<Answer> {
        let count = match self {
            Operation::Open { path, flags, mode } => {
                let open = || openat(CWD, path.as_c_str(), *flags, *mode);
                return Ok(Answer::Opened(retry_on_intr(open)?));
            }
            Operation::Read { file, buffer, from, offset } => {
                retry(|| file.read_at(&mut buffer[*from..], *offset))?
            }
            Operation::Write { file, buffer, from, offset } => {
                retry(|| file.write_at(&buffer[*from..], *offset))?
            }
            Operation::Sync { file, data_only: true } => file.sync_data().map(|()| 0)?,
            Operation::Sync { file, data_only: false } => file.sync_all().map(|()| 0)?,
            Operation::Close { descriptor } => {
                drop(descriptor.take());
                0
            }
            Operation::Lost => 0,
        };
        Ok(Answer::Count(count))
    }
}

fn descriptor(file: &Arc<File>) -> Fd {
    Fd(file.as_raw_fd())
}

/// The kernel counts in 32 bits. What is longer is done in part, as it also may be otherwise.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// On a thread of the pool nobody else retries what a signal interrupts.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
