//! [`File`]: a file whose operations are done by the kernel in its own time.
//!
//! Which path: the ring; where the kernel refuses one, the blocking pool. Never readiness, for a
//! file has none: `epoll` refuses it with `EPERM`.
//!
//! Every buffer is given away and comes back with the result, as a `Vec<u8>`. A `&mut [u8]` does
//! not do: a future can be dropped at any time, and what it borrowed is free then, while the kernel
//! still writes into it.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use reactor::budget::consume_budget;

use crate::operation::{Answer, Operation, Outcome};
use crate::{OpenOptions, Ring};

/// The first part of a file that [`File::read_to_end`] asks for, and the largest. The first is
/// larger than most files, the last is what may be copied in one poll.
const FIRST: usize = 8 << 10;
const LARGEST: usize = crate::operation::IN_PLACE;

/// A file that is read and written by way of a [`Ring`].
///
/// It has no position: every operation says where, so many may be under way at once.
///
/// To drop it closes it on this thread, as std's does; [`close`](File::close) does it without
/// waiting here, which matters on a network.
///
/// # Examples
///
/// ```
/// use reactor_uring::{File, OpenOptions, Ring};
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("reactor-uring-file-{}", std::process::id()));
/// executor::block_on(async {
///     let ring = Ring::or_pool(64)?;
///     let file = File::create(&ring, &path).await?;
///     let (written, buffer) = file.write_all_at(b"hello".to_vec(), 0).await;
///     written?;
///     let (written, _) = file.write_at(buffer, 5).await;
///     assert_eq!(written?, 5);
///     file.sync_data().await?;
///     file.sync_all().await?;
///     file.close().await?;
///
///     let options = OpenOptions::new().read(true).write(true);
///     let file = File::open_with(&ring, &path, &options).await?;
///     assert_eq!(file.read_to_end().await?, b"hellohello");
///     let (read, buffer) = File::open(&ring, &path).await?.read_at(vec![0; 7], 5).await;
///     assert_eq!(&buffer[..read?], b"hello");
/// #   std::fs::remove_file(&path)?;
///     Ok(())
/// })
/// # }
/// ```
pub struct File {
    ring: Ring,
    /// Shared with the operations that are under way, so that none finds its descriptor closed, or
    /// that of another file.
    file: Arc<fs::File>,
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// As std's `File::open`.
    ///
    /// # Cancel safety
    ///
    /// A file that is opened after the future was dropped is closed again.
    pub async fn open(ring: &Ring, path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(ring, path, &OpenOptions::new().read(true)).await
    }

    /// Opens a file to write it: a new one, or one that is emptied.
    ///
    /// # Errors
    ///
    /// As std's `File::create`.
    ///
    /// # Cancel safety
    ///
    /// As [`open`](File::open); the file may have been made or emptied.
    pub async fn create(ring: &Ring, path: impl AsRef<Path>) -> io::Result<File> {
        let options = OpenOptions::new().write(true).create(true).truncate(true);
        File::open_with(ring, path, &options).await
    }

    /// Opens a file as the options say.
    ///
    /// # Errors
    ///
    /// As std's `OpenOptions::open`: `InvalidInput` for options that contradict each other, and for
    /// a path with a zero in it; else what the kernel says.
    ///
    /// # Cancel safety
    ///
    /// As [`create`](File::create).
    pub async fn open_with(
        ring: &Ring,
        path: impl AsRef<Path>,
        options: &OpenOptions,
    ) -> io::Result<File> {
        let prepared = options.flags().and_then(|(flags, mode)| {
            Ok((flags, mode, CString::new(path.as_ref().as_os_str().as_bytes())?))
        });
        // An error above completes without waiting, so spend budget for it.
        if prepared.is_err() {
            consume_budget().await;
        }
        let (flags, mode, path) = prepared?;
        let (_, answer) = ring.run(Operation::Open { path, flags, mode }).await;
        match answer? {
            Answer::Opened(descriptor) => Ok(File::from_std(ring, descriptor.into())),
            Answer::Count(_) => unreachable!("what was opened is a descriptor"),
        }
    }

    /// A file that is open already.
    ///
    /// By a ring it may also be a pipe, a socket or a terminal, whose offsets do not matter: the
    /// kernel waits for them in its own way.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor_uring::{File, Ring};
    /// use std::os::fd::AsFd;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let ring = Ring::or_pool(64)?;
    ///     let file = File::from_std(&ring, std::fs::File::open("Cargo.toml")?);
    ///     let (read, buffer) = file.read_at(vec![0; 9], 0).await;
    ///     assert_eq!(&buffer[..read?], b"[package]");
    ///     let copy = file.as_fd().try_clone_to_owned()?;
    /// #   drop(copy);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn from_std(ring: &Ring, file: fs::File) -> File {
        File { ring: ring.clone(), file: Arc::new(file) }
    }

    /// Reads at most as many bytes as `buffer` is long, from `offset` on.
    ///
    /// Returns how many there were, which may be fewer, and none at the end of the file; and the
    /// buffer, which has them at its begin.
    ///
    /// # Errors
    ///
    /// What the kernel says; `InvalidInput` for an offset that no file has.
    ///
    /// # Cancel safety
    ///
    /// The buffer is lost: the kernel has it until it is done, then it is freed.
    pub async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        self.read_part(buffer, 0, offset).await
    }

    /// Writes `buffer` at `offset`.
    ///
    /// Returns how many bytes were written, which may be fewer than there are, and the buffer.
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// The buffer is lost; all of it may have been written, a part, or nothing.
    pub async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        self.write_part(buffer, 0, offset).await
    }

    /// Writes all of `buffer` at `offset`, by several operations if need be.
    ///
    /// # Errors
    ///
    /// As [`write_at`](File::write_at); `WriteZero`, if the file takes no more.
    ///
    /// # Cancel safety
    ///
    /// As [`write_at`](File::write_at).
    pub async fn write_all_at(&self, buffer: Vec<u8>, offset: u64) -> (io::Result<()>, Vec<u8>) {
        let (mut buffer, mut written) = (buffer, 0);
        if buffer.is_empty() {
            consume_budget().await;
        }
        while written < buffer.len() {
            let result;
            (result, buffer) = self.write_part(buffer, written, offset + written as u64).await;
            match result {
                Ok(0) => return (Err(ErrorKind::WriteZero.into()), buffer),
                Ok(bytes) => written += bytes,
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Reads the whole file, part by part.
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// What was read is lost; it can be read again.
    pub async fn read_to_end(&self) -> io::Result<Vec<u8>> {
        let (mut content, mut end) = (vec![0; FIRST], 0);
        loop {
            let result;
            (result, content) = self.read_part(content, end, end as u64).await;
            match result? {
                0 => break,
                // A short read is not the end: only nothing is.
                bytes => end += bytes,
            }
            if end == content.len() {
                content.resize(end + end.min(LARGEST), 0);
            }
        }
        content.truncate(end);
        Ok(content)
    }

    /// Waits until all that was written, and what the system knows of the file, is on the disk.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.sync(false).await
    }

    /// As [`sync_all`](File::sync_all), but without what is not needed to read the bytes again.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.sync(true).await
    }

    /// Closes the file.
    ///
    /// If an operation whose future was dropped is still under way, the file is closed when that
    /// is complete, and nothing is told of it.
    ///
    /// # Errors
    ///
    /// What the kernel says; the file is closed all the same. By the pool nothing is told, as by
    /// std: whoever must know that all is on the disk calls [`sync_all`](File::sync_all) before.
    ///
    /// # Cancel safety
    ///
    /// It is closed in any case.
    pub async fn close(self) -> io::Result<()> {
        let Some(file) = Arc::into_inner(self.file) else {
            consume_budget().await;
            return Ok(());
        };
        let descriptor = Some(OwnedFd::from(file));
        self.ring.run(Operation::Close { descriptor }).await.1.map(drop)
    }

    async fn sync(&self, data_only: bool) -> io::Result<()> {
        let file = self.file.clone();
        self.ring.run(Operation::Sync { file, data_only }).await.1.map(drop)
    }

    async fn read_part(
        &self,
        buffer: Vec<u8>,
        from: usize,
        offset: u64,
    ) -> (io::Result<usize>, Vec<u8>) {
        let read = |file, buffer| Operation::Read { file, buffer, from, offset };
        self.transfer(buffer, offset, read).await
    }

    async fn write_part(
        &self,
        buffer: Vec<u8>,
        from: usize,
        offset: u64,
    ) -> (io::Result<usize>, Vec<u8>) {
        let write = |file, buffer| Operation::Write { file, buffer, from, offset };
        self.transfer(buffer, offset, write).await
    }

    /// Gives the buffer to the operation, if that has an offset, and gets it back with the result.
    async fn transfer(
        &self,
        buffer: Vec<u8>,
        offset: u64,
        operation: impl FnOnce(Arc<fs::File>, Vec<u8>) -> Operation,
    ) -> (io::Result<usize>, Vec<u8>) {
        if let Err(error) = check(offset) {
            consume_budget().await;
            return (Err(error), buffer);
        }
        moved(self.ring.run(operation(self.file.clone(), buffer)).await)
    }
}

/// io_uring takes the largest number for "where the last one ended", which is no offset.
fn check(offset: u64) -> io::Result<()> {
    i64::try_from(offset).map(drop).map_err(|_| ErrorKind::InvalidInput.into())
}

/// The count and the buffer of a read or a write.
fn moved((operation, answer): Outcome) -> (io::Result<usize>, Vec<u8>) {
    let buffer = match operation {
        Operation::Read { buffer, .. } | Operation::Write { buffer, .. } => buffer,
        // The kernel did not give it back before its executor ended.
        _ => Vec::new(),
    };
    let count = answer.map(|answer| match answer {
        Answer::Count(count) => count,
        Answer::Opened(_) => unreachable!("nothing was opened"),
    });
    (count, buffer)
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("file", &self.file).finish_non_exhaustive()
    }
}
