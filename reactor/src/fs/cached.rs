//! Files in the page cache, without a thread: on Linux only.
//!
//! It is the sockets' idea again: try; if it would block, arrange to be woken. Here a flag of each
//! call says "answer from memory, or not at all", and whom to ask for the wake is the blocking
//! pool, which makes the call that has to wait.
//!
//! What is tried here may only *succeed*. An error may mean anything: a file that is missing and a
//! name that is not in memory both give `EAGAIN`, tmpfs does not know the flag, a sandbox may
//! forbid the call. So on any error the pool goes on from where this stopped, and its error is the
//! one that counts.
//!
//! A read that never waits must not keep the thread either: it spends budget by its bytes, and one
//! of 256 KiB spends all of it. So each task pays for what it has read itself.

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

/// The most bytes that one call reads in place; a larger file goes to the pool immediately. Copying
/// so many bytes takes about as long as the way to the pool and back.
const MOST: usize = 256 * 1024;

/// Bytes that are worth one operation of the budget: so [`MOST`] are worth all of it.
const WORTH: usize = MOST / budget::OPERATIONS as usize;

/// An offset that stands for the file's own, which then moves as with `read`.
const CURSOR: u64 = u64::MAX;

/// With these flags, opening a named pipe does not wait for a writer, and a terminal does not
/// become the controlling terminal of the process.
const READ_ONLY: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Reads a whole file. Returns `None` if it cannot be opened in place.
///
/// Unlike [`open`], this does not check the file type first, which would double the cost of
/// opening. The check is not needed, because this reads whatever it has opened to the end. So the
/// writer of a named pipe has one reader, which reads everything.
pub(super) async fn read(path: &Path) -> Option<io::Result<Vec<u8>>> {
    poll_fn(budget::spend).await;
    let file = open_cached(path, READ_ONLY)?;
    let mut bytes = Vec::new();
    if let Some(length) = length_in_place(&file) {
        poll_fn(poll_room(length)).await;
        // One more than there should be, to see that there is no more.
        bytes.resize(length, 0);
        let read = read_cached(&file, &mut bytes);
        bytes.truncate(read.unwrap_or(0));
        // Not if nothing was read for an error: the file may be empty, or just say so, as in /proc.
        if read == Some(length - 1) {
            return Some(Ok(bytes));
        }
    }
    Some(unblock(move || read_rest(file.into(), bytes)).await)
}

/// Opens a regular file to read from it. Returns `None` if the pool has to.
///
/// This checks the file type first, without opening the file: opening a named pipe releases a
/// writer that waits for a reader, and opening a device may do anything. Only the pool should do
/// that.
pub(super) async fn open(path: &Path) -> Option<File> {
    poll_fn(budget::spend).await;
    let place = open_cached(path, OFlags::PATH | OFlags::CLOEXEC)?;
    // Use what is in memory: a network file system does not ask its server then.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = statx(&place, c"", flags, StatxFlags::TYPE).ok()?;
    if !is_regular(stat.stx_mode.into()) {
        return None;
    }
    let file = open_cached(path, READ_ONLY)?;
    // `O_NONBLOCK` means nothing for a regular file, but code that gets the descriptor should not
    // find it set.
    fcntl_setfl(&file, OFlags::empty()).ok()?;
    Some(file.into())
}

/// Reads at the file's cursor. Returns `None` if the pool has to. The caller has spent one
/// operation.
pub(super) fn read_in_place(file: &File, buf: &mut [u8]) -> Option<usize> {
    let length = buf.len().min(room());
    let read = read_cached(file, &mut buf[..length]);
    // Linux 5.9 and 5.10 may return 0 before the end: see the bugs in preadv2(2).
    read.filter(|&read| read > 0 || length == 0 || is_at_end(file))
}

/// Reads at an offset. Returns `None` if the pool has to. The caller has spent one operation.
pub(super) fn read_in_place_at(file: &File, buf: &mut [u8], offset: u64) -> Option<usize> {
    // The kernel takes this number as "at the cursor". No file is that long.
    if offset == CURSOR {
        return None;
    }
    let length = buf.len().min(room());
    let read = read_cached_at(file, &mut buf[..length], offset);
    let is_end = || is_end(file, Ok(offset));
    read.filter(|&read| read > 0 || length == 0 || is_end())
}

/// Whether the cursor is where the file ends.
fn is_at_end(file: &File) -> bool {
    is_end(file, tell(file))
}

/// Whether the file's size says that it ends at or before `at`.
fn is_end(file: &File, at: rustix::io::Result<u64>) -> bool {
    let stat = fstat(file);
    matches!((stat, at), (Ok(stat), Ok(at)) if at >= u64::try_from(stat.st_size).unwrap_or(0))
}

/// Bytes that the task may still read in this poll, after it has spent one operation.
fn room() -> usize {
    MOST.min((budget::left() as usize + 1) * WORTH)
}

/// Lets the neighbours go first if there is not room for so many. Once: a poll in which others of
/// the same task came first may never have it.
fn poll_room(length: usize) -> impl FnMut(&mut Context<'_>) -> Poll<()> {
    let mut yielded = false;
    move |cx| {
        if yielded || length <= room() {
            return Poll::Ready(());
        }
        yielded = true;
        budget::yield_to_neighbours(cx);
        Poll::Pending
    }
}

/// Opens what the names in memory lead to.
///
/// io_uring opens in the same way before it asks a thread of its own. It also shares its limit: the
/// file system itself may take its time, if a file system over the network asks its server.
fn open_cached(path: &Path, flags: OFlags) -> Option<OwnedFd> {
    openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()
}

/// The bytes to ask for to read all of a regular file; `None`, if they are too many.
fn length_in_place(file: &OwnedFd) -> Option<usize> {
    let stat = fstat(file).ok()?;
    let size = usize::try_from(stat.st_size).ok()?;
    let fits = is_regular(stat.st_mode) && size < MOST;
    fits.then_some(size + 1)
}

/// Reads at the file's cursor what is in the page cache.
fn read_cached(file: impl AsFd, buf: &mut [u8]) -> Option<usize> {
    read_cached_at(file, buf, CURSOR)
}

/// Reads at an offset what is in the page cache.
fn read_cached_at(file: impl AsFd, buf: &mut [u8], offset: u64) -> Option<usize> {
    let bufs = &mut [IoSliceMut::new(buf)];
    let read = preadv2(file, bufs, offset, ReadWriteFlags::NOWAIT).ok()?;
    budget::charge((read / WORTH) as u32);
    Some(read)
}

/// Reads, on the pool, what follows the bytes that were read already.
///
/// The file is never opened again: what it leads to may have changed, and a writer of a named pipe
/// may be there already.
fn read_rest(mut file: File, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if file.metadata()?.file_type().is_fifo() {
        // The wait for a writer, which to open would have been.
        retry_on_intr(|| poll(&mut [PollFd::new(&file, PollFlags::IN)], None))?;
    }
    fcntl_setfl(&file, OFlags::empty())?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_regular(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
}
