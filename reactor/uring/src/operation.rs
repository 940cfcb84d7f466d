//! [`Operation`]: one operation on a file. It owns everything that it needs until it completes.
//!
//! Either the kernel carries it out asynchronously, as described by its
//! [`entry`](Operation::entry), or a thread of the pool does, with
//! [`run_blocking`](Operation::run_blocking).

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

/// The maximum number of bytes that one submission may copy on the executor's thread, if they are
/// in the page cache. Copying this many takes about 30 µs. A longer operation goes directly to a
/// kernel thread.
pub(crate) const MAX_INLINE: usize = 256 << 10;

/// One operation on a file, with its buffer, path and descriptor.
///
/// Moving the operation does not move the memory that the kernel accesses, which is on the heap.
#[derive(Debug)]
pub(crate) enum Operation {
    Open {
        path: CString,
        flags: OFlags,
        mode: Mode,
    },
    /// Reads into `buffer[from..]`.
    Read {
        file: Arc<File>,
        buffer: Vec<u8>,
        from: usize,
        offset: u64,
    },
    /// Writes `buffer[from..]`.
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
    /// `entry` takes the descriptor out. From then on the kernel owns it.
    Close {
        descriptor: Option<OwnedFd>,
    },
    /// Owns nothing, because the operation was forgotten, or abandoned before it was submitted.
    Empty,
}

/// The value of a successful operation.
#[derive(Debug)]
pub(crate) enum Success {
    Opened(OwnedFd),
    /// The number of bytes that a read or write has moved, otherwise 0.
    Count(usize),
}

/// A completed operation and its result. The caller gets its buffer back with the operation.
pub(crate) type Outcome = (Operation, io::Result<Success>);

impl Operation {
    /// Returns the submission queue entry. It contains the addresses of what the operation owns.
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
                // Without a descriptor, use -1, for which the kernel returns EBADF.
                Close::new(Fd(descriptor.take().map_or(-1, IntoRawFd::into_raw_fd))).build()
            }
            Operation::Empty => io_uring::opcode::Nop::new().build(),
        };
        // Without this flag, the kernel would first try on this thread, and copy every byte that is
        // in the page cache.
        if bytes > MAX_INLINE { entry.flags(Flags::ASYNC) } else { entry }
    }

    /// Returns the maximum number of bytes that the operation copies.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Operation::Read { buffer, from, .. } | Operation::Write { buffer, from, .. } => {
                buffer.len() - from
            }
            _ => 0,
        }
    }

    /// Returns whether the operation may be canceled if no task waits for it. A close may not,
    /// because its descriptor would stay open forever.
    pub(crate) fn is_cancelable(&self) -> bool {
        !matches!(self, Operation::Close { .. })
    }

    /// Returns whether the operation may be repeated after a signal has interrupted it. A close may
    /// not, because its descriptor is already closed, and may belong to another file by now.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Operation::Close { .. })
    }

    /// Leaks everything that the operation owns, because the kernel may still access it.
    pub(crate) fn forget(&mut self) {
        mem::forget(mem::replace(self, Operation::Empty));
    }

    /// Makes the blocking system call on the calling thread, which must be one of the pool.
    pub(crate) fn run_blocking(mut self) -> Outcome {
        let result = self.call();
        (self, result)
    }

    fn call(&mut self) -> io::Result<Success> {
        let count = match self {
            Operation::Open { path, flags, mode } => {
                let open = || openat(CWD, path.as_c_str(), *flags, *mode);
                return Ok(Success::Opened(retry_on_intr(open)?));
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
            Operation::Empty => 0,
        };
        Ok(Success::Count(count))
    }
}

fn descriptor(file: &Arc<File>) -> Fd {
    Fd(file.as_raw_fd())
}

/// Limits a length to the 32 bits of an entry. A longer operation moves only a part, as any
/// operation may.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Repeats a system call as long as signals interrupt it.
fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
