//! [`File`]: a file whose operations the kernel carries out asynchronously.
//!
//! Operations go through a ring, or through the blocking pool if the kernel refuses a ring.
//! Readiness does not work for files, because `epoll` refuses them with `EPERM`.
//!
//! Each operation takes its buffer as a `Vec<u8>` and returns it with the result. It cannot borrow
//! a `&mut [u8]`. A future can be dropped at any time, and the owner could then free or use the
//! buffer while the kernel still writes into it.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use reactor::budget::consume_budget;

use crate::operation::{Operation, Outcome, Success};
use crate::{OpenOptions, Ring};

/// The size of the first read of [`File::read_to_end`]. It is larger than most files.
const FIRST_PART: usize = 8 << 10;

/// The maximum size of a read of [`File::read_to_end`].
const LARGEST_PART: usize = crate::operation::MAX_INLINE;

/// A file that is read and written through a [`Ring`].
///
/// A `File` has no cursor. Every operation takes an offset, so several can run concurrently.
///
/// Dropping a `File` closes it on this thread, as in std. [`close`](File::close) does not block
/// this thread, which matters on a network file system.
///
/// # Cancel safety
///
/// If the future of an operation is dropped, the ring cancels the operation unless it has already
/// been carried out. The pool cannot cancel an operation. In both cases, a buffer is lost: it is
/// freed when the operation no longer uses it.
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
    /// Shared with the operations in flight. Otherwise their descriptor might be closed, and then
    /// belong to another file.
    file: Arc<fs::File>,
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// Returns the error of [`open_with`](File::open_with).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a file that is opened nevertheless is closed again.
    pub async fn open(ring: &Ring, path: impl AsRef<Path>) -> io::Result<File> {
        File::open_with(ring, path, &OpenOptions::new().read(true)).await
    }

    /// Opens a file for writing. Creates the file if it does not exist, and truncates it otherwise.
    ///
    /// # Errors
    ///
    /// Returns the error of [`open_with`](File::open_with).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the file may still be created or truncated. It is then closed.
    pub async fn create(ring: &Ring, path: impl AsRef<Path>) -> io::Result<File> {
        let options = OpenOptions::new().write(true).create(true).truncate(true);
        File::open_with(ring, path, &options).await
    }

    /// Opens a file with options.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if the options contradict each other, or if the path contains a zero
    /// byte. Otherwise returns the error of the `openat` operation.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the file may still be created or truncated. It is then closed.
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
        let (_, result) = ring.run(Operation::Open { path, flags, mode }).await;
        match result? {
            Success::Opened(descriptor) => Ok(File::from_std(ring, descriptor.into())),
            Success::Count(_) => unreachable!("opening a file returns a descriptor"),
        }
    }

    /// Wraps a file of std.
    ///
    /// With a ring (not with the pool), the descriptor may also be a pipe, a socket or a terminal.
    /// The kernel then waits for it without blocking a thread, and ignores the offset.
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

    /// Reads up to `buffer.len()` bytes at `offset` into the start of `buffer`.
    ///
    /// Returns the number of bytes read, and the buffer. The number may be less than the length of
    /// the buffer. It is 0 at the end of the file.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `offset` exceeds `i64::MAX`. Otherwise returns the error of the
    /// read.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the buffer is lost; see [`File`].
    pub async fn read_at(&self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        self.read_part(buffer, 0, offset).await
    }

    /// Writes `buffer` at `offset`.
    ///
    /// Returns the number of bytes written, which may be less than the length of the buffer, and
    /// the buffer.
    ///
    /// # Errors
    ///
    /// Returns `InvalidInput` if `offset` exceeds `i64::MAX`. Otherwise returns the error of the
    /// write.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, none, some or all of the bytes may be written, and the buffer is
    /// lost; see [`File`].
    pub async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        self.write_part(buffer, 0, offset).await
    }

    /// Writes all of `buffer` at `offset`, with several writes if necessary.
    ///
    /// # Errors
    ///
    /// Returns the error of [`write_at`](File::write_at), or `WriteZero` if a write moves no byte.
    ///
    /// # Cancel safety
    ///
    /// The same as for [`write_at`](File::write_at).
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

    /// Reads the whole file, from offset 0.
    ///
    /// # Errors
    ///
    /// Returns the error of [`read_at`](File::read_at).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future discards the bytes that were read. They can be read again, unless the
    /// file is a pipe, a socket or a terminal.
    pub async fn read_to_end(&self) -> io::Result<Vec<u8>> {
        let (mut content, mut end) = (vec![0; FIRST_PART], 0);
        loop {
            let result;
            (result, content) = self.read_part(content, end, end as u64).await;
            match result? {
                0 => break,
                // A short read is not the end of the file. Only a read of 0 bytes is.
                bytes => end += bytes,
            }
            if end == content.len() {
                content.resize(end + end.min(LARGEST_PART), 0);
            }
        }
        content.truncate(end);
        Ok(content)
    }

    /// Waits until the file's data and metadata have reached the disk.
    ///
    /// # Errors
    ///
    /// Returns the error of the `fsync` operation.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing. Call the function again.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.sync(false).await
    }

    /// Waits until the file's data has reached the disk, and the metadata needed to read it.
    ///
    /// # Errors
    ///
    /// Returns the error of the `fdatasync` operation.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing. Call the function again.
    pub async fn sync_data(&self) -> io::Result<()> {
        self.sync(true).await
    }

    /// Closes the file.
    ///
    /// If an operation whose future was dropped is still in flight, this returns `Ok` immediately.
    /// The file is then closed when that operation has completed.
    ///
    /// # Errors
    ///
    /// With a ring, returns the error of the `close` operation. The file is closed even then. The
    /// pool returns no error, as in std. To be sure that all bytes are on the disk, await
    /// [`sync_all`](File::sync_all) first.
    ///
    /// # Cancel safety
    ///
    /// The file is closed even if the future is dropped.
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

    /// Runs a read or a write, and returns its result and the buffer.
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

/// Rejects offsets that no file can have. io_uring would take -1 (`u64::MAX`) as "at the cursor".
fn check(offset: u64) -> io::Result<()> {
    i64::try_from(offset).map(drop).map_err(|_| ErrorKind::InvalidInput.into())
}

/// Converts the outcome of a read or a write into its byte count and its buffer.
fn moved((operation, result): Outcome) -> (io::Result<usize>, Vec<u8>) {
    let buffer = match operation {
        Operation::Read { buffer, .. } | Operation::Write { buffer, .. } => buffer,
        // The executor ended before the kernel completed the operation, so the buffer was leaked.
        _ => Vec::new(),
    };
    let count = result.map(|success| match success {
        Success::Count(count) => count,
        Success::Opened(_) => unreachable!("a transfer does not open a file"),
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
