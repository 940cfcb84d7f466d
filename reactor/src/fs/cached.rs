//! Files in the page cache, opened and read without a thread. Linux only.
//!
//! Two flags make a system call fail instead of blocking: `RESOLVE_CACHED` of `openat2`, and
//! `RWF_NOWAIT` of `preadv2`. If the call fails, the blocking pool makes the call that has to wait.
//!
//! Only the *success* of such a call counts. Its error may have many reasons: both a missing file
//! and a path that is not cached give `EAGAIN`, tmpfs does not support the flag, a sandbox may
//! forbid the call. So after any error the pool continues, and its result is the result of the
//! operation.
//!
//! A task that reads without waiting must still let other tasks run. So a read spends one unit of
//! budget for every 2 KiB, and a read of 256 KiB uses up the whole budget.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, tell};
use rustix::fs::{fcntl_setfl, fstat, openat2, statx};
use rustix::io::{ReadWriteFlags, preadv2, retry_on_intr};

use crate::blocking::unblock;
use crate::budget;

/// The maximum number of bytes that one call reads in place. Copying this many takes about as long
/// as a job of the pool, so [`read`] leaves larger files to the pool.
const MAX_IN_PLACE: usize = 256 * 1024;

/// The number of bytes that cost one operation of the budget. [`MAX_IN_PLACE`] bytes cost all of
/// it.
const BYTES_PER_OPERATION: usize = MAX_IN_PLACE / budget::OPERATIONS as usize;

/// The offset -1, with which `preadv2` reads at the file's cursor and moves it.
const CURSOR: u64 = u64::MAX;

/// With these flags, opening a named pipe does not wait for a writer, and a terminal does not
/// become the controlling terminal of the process.
const READ_ONLY: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Reads a whole file. Returns `None` if the file cannot be opened in place. If only a part can be
/// read in place, the pool reads the rest.
///
/// Unlike [`open`], this function does not check the file type before it opens the file. The check
/// would double the cost of opening. It is not needed, because this function reads to the end
/// whatever it has opened, so a writer of a named pipe loses nothing.
pub(super) async fn read(path: &Path) -> Option<io::Result<Vec<u8>>> {
    poll_fn(budget::spend).await;
    let file = open_cached(path, READ_ONLY)?;
    let mut bytes = Vec::new();
    if let Some(size) = size_if_small(&file) {
        // Ask for one byte more than the file has, to detect the end of the file in the same call.
        let length = size + 1;
        poll_fn(poll_budget_for(length)).await;
        bytes.resize(length, 0);
        let read = read_cached(&file, &mut bytes, CURSOR);
        bytes.truncate(read.unwrap_or(0));
        // An error (`None`) does not count as 0 bytes, because a file in /proc reports size 0 and
        // still has contents. The pool reads such a file.
        if read == Some(size) {
            return Some(Ok(bytes));
        }
    }
    Some(unblock(move || read_rest(file.into(), bytes)).await)
}

/// Opens a regular file for reading. Returns `None` if the pool has to open it.
///
/// This function checks the file type first, without opening the file. Opening a named pipe
/// unblocks a writer that waits for a reader, and opening a device may have any side effect. So
/// only the pool opens such a file, and only once.
pub(super) async fn open(path: &Path) -> Option<File> {
    poll_fn(budget::spend).await;
    let location = open_cached(path, OFlags::PATH.union(OFlags::CLOEXEC))?;
    // With this flag, a network file system answers from its cache and does not ask its server.
    let flags = AtFlags::EMPTY_PATH.union(AtFlags::STATX_DONT_SYNC);
    let stat = statx(&location, c"", flags, StatxFlags::TYPE).ok()?;
    if !is_regular(stat.stx_mode.into()) {
        return None;
    }
    let file = open_cached(path, READ_ONLY)?;
    // `O_NONBLOCK` has no effect on a regular file, but code that gets the descriptor should not
    // find it set.
    fcntl_setfl(&file, OFlags::empty()).ok()?;
    Some(file.into())
}

/// Reads at the file's cursor. Returns `None` if the pool has to read. The caller must have spent
/// one operation.
pub(super) fn read_in_place(file: &File, buf: &mut [u8]) -> Option<usize> {
    read_affordable(file, buf, CURSOR)
}

/// Reads at an offset. Returns `None` if the pool has to read. The caller must have spent one
/// operation.
pub(super) fn read_in_place_at(file: &File, buf: &mut [u8], offset: u64) -> Option<usize> {
    // The kernel would read at the cursor. No file is that long.
    if offset == CURSOR { None } else { read_affordable(file, buf, offset) }
}

/// Reads no more than the budget allows. Returns `None` if the pool has to read.
fn read_affordable(file: &File, buf: &mut [u8], offset: u64) -> Option<usize> {
    let length = buf.len().min(affordable_bytes());
    let read = read_cached(file, &mut buf[..length], offset)?;
    // Linux 5.9 and 5.10 may return 0 before the end; see the section BUGS of preadv2(2).
    (read > 0 || is_end(file, offset)).then_some(read)
}

/// Returns whether the offset is at or beyond the end of the file, by the file's size.
fn is_end(file: &File, offset: u64) -> bool {
    let at = if offset == CURSOR { tell(file) } else { Ok(offset) };
    matches!((fstat(file), at), (Ok(stat), Ok(at)) if at >= u64::try_from(stat.st_size).unwrap_or(0))
}

/// Returns how many bytes the task may still read in this poll. The operation that the caller has
/// already spent pays for the first 2 KiB.
fn affordable_bytes() -> usize {
    MAX_IN_PLACE.min((budget::left() as usize + 1) * BYTES_PER_OPERATION)
}

/// Yields if the budget does not allow `length` bytes. It yields only once: if other futures of the
/// same task spend budget before this one in each poll, the budget may never suffice.
fn poll_budget_for(length: usize) -> impl FnMut(&mut Context<'_>) -> Poll<()> {
    let mut yielded = false;
    move |cx| {
        if yielded || length <= affordable_bytes() {
            return Poll::Ready(());
        }
        yielded = true;
        budget::request_yield(cx);
        Poll::Pending
    }
}

/// Opens a path if the kernel has all its parts in the cache.
///
/// io_uring makes the same attempt before it uses a kernel thread. Both have the same limit: the
/// file system may still block, e.g. if a network file system asks its server.
fn open_cached(path: &Path, flags: OFlags) -> Option<OwnedFd> {
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()
}

/// Returns the size of a regular file that is small enough to be read in place.
fn size_if_small(file: &OwnedFd) -> Option<usize> {
    let stat = fstat(file).ok()?;
    let size = usize::try_from(stat.st_size).ok()?;
    (is_regular(stat.st_mode) && size < MAX_IN_PLACE).then_some(size)
}

/// Reads at an offset or at [`CURSOR`], from the page cache only.
fn read_cached(file: impl AsFd, buf: &mut [u8], offset: u64) -> Option<usize> {
    let bufs = &mut [IoSliceMut::new(buf)];
    let read = preadv2(file, bufs, offset, ReadWriteFlags::NOWAIT).ok()?;
    budget::charge((read / BYTES_PER_OPERATION) as u32);
    Some(read)
}

/// Reads, on the pool, everything after the bytes that were already read.
///
/// This function does not open the path again. By now the path may lead to another file, and a
/// writer of a named pipe may already have written to this reader.
fn read_rest(mut file: File, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if file.metadata()?.file_type().is_fifo() {
        // Wait for a writer. A blocking `open` would have done so, but `O_NONBLOCK` skipped it.
        retry_on_intr(|| poll(&mut [PollFd::new(&file, PollFlags::IN)], None))?;
    }
    fcntl_setfl(&file, OFlags::empty())?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_regular(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
}
