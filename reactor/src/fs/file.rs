//! [`File`]: an open file, whose operations run in the order in which they were requested.
//!
//! Each operation of a file is a job in its [`Sequence`]. If the sequence is idle, an operation
//! that does not block (a read from the page cache, or a seek) runs on the calling thread instead.
//!
//! The future of an operation may be dropped while its job runs. The result of the job is then
//! kept: [`Open::unread`] keeps bytes that were read, and [`File::unreported`] keeps the error of a
//! write.

use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Seek, SeekFrom, Write};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;

use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};

use super::{OpenOptions, cached};
use crate::blocking::{JobHandle, Sequence, unblock};
use crate::budget;
use crate::io::vectored;

/// The maximum number of bytes that one read or write moves unless the caller sets another limit,
/// as in tokio.
const DEFAULT_MAX_BUF_SIZE: usize = 2 * 1024 * 1024;

/// An open file, like [`std::fs::File`].
///
/// Use the methods of [`AsyncReadExt`], [`AsyncWriteExt`] and [`AsyncSeekExt`] to read, write and
/// seek. A `File` works under any executor, and it is `Send` and `Sync`.
///
/// The operations of a file run one at a time, in the order in which they were requested, and each
/// task waits only for its own result. Only [`read_at`](File::read_at) and
/// [`write_at`](File::write_at) run concurrently.
///
/// Two operations run on the calling thread: on Linux, a read of bytes in the page cache (see the
/// [module documentation](super)), and a seek that is not relative to the end of the file. All
/// others run on the blocking pool.
///
/// A write completes when the kernel has the bytes. So an error belongs to the write that caused
/// it, and a process that returns from `main` loses no bytes whose write has completed. Each write
/// costs a job of the pool. For many small writes, wrap the file in a
/// [`BufWriter`](crate::io::BufWriter) and flush it at the end.
///
/// The kernel keeps the cursor, so a duplicate of the descriptor shares it.
///
/// # What does not port by changing imports
///
/// A write to tokio's `File` completes when it is queued, and a later operation reports its error.
/// So `flush` must be awaited before the file is dropped. With this `File`, that is not needed.
///
/// [`AsyncReadExt`]: crate::io::AsyncReadExt
/// [`AsyncWriteExt`]: crate::io::AsyncWriteExt
/// [`AsyncSeekExt`]: crate::io::AsyncSeekExt
///
/// # Cancel safety
///
/// A single `read` is cancel safe: bytes that a job has read for a dropped future are kept for the
/// next read. Methods that read repeatedly, such as `read_exact` and `read_to_end`, are not cancel
/// safe.
///
/// Once polled, every other operation is carried out even if its future is dropped. The next
/// operation begins after it has ended.
///
/// - A dropped `write` writes up to [`set_max_buf_size`](File::set_max_buf_size) bytes. If it
///   fails, the next operation of this handle is not carried out and returns the error instead. The
///   error is kept until an operation has returned it.
/// - If the next operation is a write that begins with the same bytes, it continues the dropped
///   write, so the bytes are not written twice. To write the same bytes again on purpose, await a
///   flush first. In the same way, a `seek` to the same position continues a dropped `seek`.
/// - A `write` of no bytes completes immediately. It neither waits for a dropped operation nor
///   returns its error.
///
/// # Examples
///
/// ```
/// use reactor::fs::File;
/// use reactor::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, SeekFrom};
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("file-{}", std::process::id()));
/// executor::block_on(async {
///     let mut file = File::options().read(true).write(true).create(true).open(&path).await?;
///     file.write_all(b"hello, file").await?;
///
///     file.seek(SeekFrom::Start(7)).await?;
///     let mut text = String::new();
///     file.read_to_string(&mut text).await?;
///     assert_eq!(text, "file");
/// #   std::fs::remove_file(&path)?;
///     Ok(())
/// })
/// # }
/// ```
pub struct File {
    open: Arc<Open>,
    /// The error of a write through this handle whose future was dropped, until an operation has
    /// returned it.
    unreported: Arc<Mutex<Option<io::Error>>>,
    /// The operation whose last poll returned `Pending`, if the next poll may continue it.
    ///
    /// An operation through `&self` abandons it. The future that polled it had borrowed the file
    /// mutably, so that future no longer exists.
    pending: Mutex<Option<Pending>>,
    /// The maximum number of bytes that one read or write moves, by a job or in place.
    max_buf_size: usize,
}

/// The part of an open file that its handles share.
struct Open {
    file: fs::File,
    /// Bytes that a job has read and that no caller has received yet. In the file, they precede the
    /// cursor.
    unread: Mutex<Unread>,
    /// Runs the operations one at a time. Only the current operation moves the cursor.
    sequence: Arc<Sequence>,
}

#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    /// The number of bytes, from the start, that callers have received.
    taken: usize,
}

/// An operation in progress, with the arguments by which a later poll recognizes it.
enum Pending {
    /// Returns the number of bytes in [`Open::unread`].
    Read(Operation<io::Result<usize>>),
    Write(Arc<[u8]>, Operation<Written>),
    Seek(SeekFrom, Operation<io::Result<u64>>),
    Flush(Operation<()>),
}

/// A job of a file. If an earlier write left an unreported error, the job returns that error and
/// does not carry out its operation.
type Operation<T> = JobHandle<Result<T, Unreported>>;

/// The result of a write: the number of bytes written, and the error that stopped it, if any.
struct Written {
    count: usize,
    error: Option<Unreported>,
}

/// An error of a write. If it is dropped before [`report`](Unreported::report), the file keeps it
/// for the next operation.
struct Unreported {
    error: Option<io::Error>,
    file: Arc<Mutex<Option<io::Error>>>,
}

impl Unreported {
    /// Takes the error out, for an operation that returns it.
    fn report(mut self) -> io::Error {
        self.error.take().expect("only this function takes the error, and it consumes the value")
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            // Keep the first error: it explains the errors that follow.
            lock(&self.file).get_or_insert(error);
        }
    }
}

impl OpenOptions {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::OpenOptions::open`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, the file is created or truncated even if the future is dropped. It is then
    /// closed.
    pub async fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let (options, path) = (self.as_std().clone(), path.as_ref().to_owned());
        unblock(move || options.open(path)).await.map(File::from_std)
    }
}

impl File {
    /// Opens a file for reading.
    ///
    /// On Linux, a regular file is opened in place if the kernel has all parts of its path cached.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::open`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped while the pool opens the file, the file is closed again.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let file = File::open("Cargo.toml").await?;
    ///     assert!(file.metadata().await?.len() > 0);
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn open(path: impl AsRef<Path>) -> io::Result<File> {
        match cached::open(path.as_ref()).await {
            Some(file) => Ok(File::from_std(file)),
            None => File::options().read(true).open(path).await,
        }
    }

    /// Opens a file for writing. Creates the file if it does not exist, and truncates it otherwise.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::create`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, the file is created or truncated even if the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{fs::File, io::AsyncWriteExt};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("create-{}", std::process::id()));
    /// executor::block_on(async {
    ///     let mut file = File::create(&path).await?;
    ///     file.write_all(b"hello").await?;
    ///     file.sync_all().await?; // Waits for the disk; `write_all` only waits for the kernel.
    ///     assert_eq!(std::fs::read(&path)?, b"hello");
    /// #   std::fs::remove_file(&path)?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn create(path: impl AsRef<Path>) -> io::Result<File> {
        File::options().write(true).create(true).truncate(true).open(path).await
    }

    /// Creates a new file for reading and writing.
    ///
    /// # Errors
    ///
    /// Returns `AlreadyExists` if the file exists, or another error of
    /// [`std::fs::File::create_new`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, the file is created even if the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// executor::block_on(async {
    ///     let error = File::create_new("Cargo.toml").await.unwrap_err();
    ///     assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// });
    /// ```
    pub async fn create_new(path: impl AsRef<Path>) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(path).await
    }

    /// Returns [`OpenOptions`] to open a file in other ways.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Wraps a file of std.
    ///
    /// A duplicate of the descriptor shares the cursor, and the kernel lets only one thread use the
    /// cursor at a time. So while a thread of the pool reads from the file, an operation on a
    /// duplicate blocks its own thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let file = File::from_std(std::fs::File::open("Cargo.toml")?);
    /// let file: std::fs::File = executor::block_on(file.into_std())?;
    /// assert!(file.metadata()?.is_file());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_std(file: fs::File) -> File {
        let sequence = Arc::default();
        File {
            open: Arc::new(Open { file, unread: Mutex::default(), sequence }),
            unreported: Arc::default(),
            pending: Mutex::default(),
            max_buf_size: DEFAULT_MAX_BUF_SIZE,
        }
    }

    /// Waits for the operations that were requested before, and returns the file of std.
    ///
    /// The cursor of the returned file is where reading ended. If another handle made by
    /// [`try_clone`](File::try_clone) exists, the returned file owns a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// Returns the error of an earlier dropped write, or the error of the `lseek` or `dup` system
    /// call.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the file is closed.
    pub async fn into_std(self) -> io::Result<fs::File> {
        self.run(Open::rewind).await?;
        Arc::try_unwrap(self.open).map_or_else(|open| open.file.try_clone(), |open| Ok(open.file))
    }

    /// Returns the file of std. Does not wait.
    ///
    /// The cursor of the returned file is where reading ended.
    ///
    /// # Errors
    ///
    /// Returns this file unchanged in four cases: an operation is in progress, another handle made
    /// by [`try_clone`](File::try_clone) exists, no operation has returned the error of a dropped
    /// write yet, or the `lseek` system call fails. In all of them, [`into_std`](File::into_std)
    /// waits and returns the file or the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    /// use reactor::io::AsyncReadExt;
    /// use std::io::Read;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut file = executor::block_on(async {
    ///     let mut file = File::open("Cargo.toml").await?;
    ///     file.read_exact(&mut [0; 1]).await?;
    ///
    ///     let clone = file.try_clone().await?;
    ///     let file = file.try_into_std().unwrap_err(); // The clone uses the same descriptor.
    ///     drop(clone);
    ///     Ok::<_, std::io::Error>(file.try_into_std().unwrap())
    /// })?;
    /// let mut bytes = [0; 7];
    /// file.read_exact(&mut bytes)?;
    /// assert_eq!(&bytes, b"package");
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_into_std(mut self) -> Result<fs::File, File> {
        // Every job and every other handle holds a reference.
        if Arc::get_mut(&mut self.open).is_none() {
            return Err(self);
        }
        // Dropping a write that has failed stores its error in `unreported`.
        let abandoned = self.pending().take();
        drop(abandoned);
        if lock(&self.unreported).is_some() || self.open.rewind().is_err() {
            return Err(self);
        }
        Arc::try_unwrap(self.open).map(|open| open.file).map_err(|open| File { open, ..self })
    }

    /// Returns another handle to the same open file. Both handles use one descriptor and one
    /// cursor.
    ///
    /// The operations of both handles run one at a time, in the order in which they were requested.
    /// The error of a dropped write is returned only through the handle of that write.
    ///
    /// # Errors
    ///
    /// This function never fails. It is `async` and returns a `Result` only to match tokio's
    /// signature.
    ///
    /// # Cancel safety
    ///
    /// This function never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    /// use reactor::io::AsyncReadExt;
    ///
    /// executor::block_on(async {
    ///     let mut file = File::open("Cargo.toml").await?;
    ///     let mut clone = file.try_clone().await?;
    ///     let (mut first, mut second) = ([0; 4], [0; 4]);
    ///     file.read_exact(&mut first).await?;
    ///     clone.read_exact(&mut second).await?;
    ///     assert_eq!((&first, &second), (b"[pac", b"kage"));
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn try_clone(&self) -> io::Result<File> {
        Ok(File {
            open: self.open.clone(),
            unreported: Arc::default(),
            pending: Mutex::default(),
            max_buf_size: self.max_buf_size,
        })
    }

    /// Sets the maximum number of bytes that one read or write moves. The default is 2 MiB.
    ///
    /// The limit also applies to reads from the page cache. To fill or write a larger buffer takes
    /// several operations, and operations of other handles may run in between. A write copies up to
    /// this many bytes. 0 counts as 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// executor::block_on(async {
    ///     let mut file = File::open("Cargo.toml").await.unwrap();
    ///     file.set_max_buf_size(64 * 1024);
    ///     assert_eq!(file.max_buf_size(), 64 * 1024);
    /// });
    /// ```
    pub fn set_max_buf_size(&mut self, bytes: usize) {
        self.max_buf_size = bytes.max(1);
    }

    /// Returns the maximum number of bytes that one read or write moves.
    pub fn max_buf_size(&self) -> usize {
        self.max_buf_size
    }

    /// Reads at an offset, and returns how many bytes were read. 0 means the end of the file.
    ///
    /// The cursor does not move. Such a read does not wait for other operations, so several can run
    /// concurrently on one file. On Linux, bytes in the page cache are read in place.
    ///
    /// # Errors
    ///
    /// Returns the error of the `pread` system call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing, because the cursor does not move.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// executor::block_on(async {
    ///     let file = File::open("Cargo.toml").await?;
    ///     let mut bytes = [0; 7];
    ///     assert_eq!(file.read_at(&mut bytes, 1).await?, 7);
    ///     assert_eq!(&bytes, b"package");
    ///     Ok::<_, std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub async fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = buf.len().min(self.max_buf_size);
        let buf = &mut buf[..length];
        poll_fn(budget::spend).await;
        if let Some(read) = cached::read_in_place_at(&self.open.file, buf, offset) {
            return Ok(read);
        }
        let open = self.open.clone();
        let bytes = unblock(move || {
            let mut bytes = vec![0; length];
            let read = retry(|| open.file.read_at(&mut bytes, offset))?;
            bytes.truncate(read);
            Ok::<_, io::Error>(bytes)
        });
        let bytes = bytes.await?;
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// Writes at an offset, and returns how many bytes were written.
    ///
    /// The cursor does not move. Such a write does not wait for other operations, so several can
    /// run concurrently on one file. On Linux, a file in append mode ignores the offset.
    ///
    /// # Errors
    ///
    /// Returns the error of the `pwrite` system call.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the write is carried out even if the future is dropped. If it fails, the next
    /// operation of this handle returns the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("write-at-{}", std::process::id()));
    /// executor::block_on(async {
    ///     let file = File::create(&path).await?;
    ///     file.write_at(b"world", 6).await?;
    ///     file.write_at(b"hello ", 0).await?;
    ///     assert_eq!(std::fs::read(&path)?, b"hello world");
    /// #   std::fs::remove_file(&path)?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let bytes = buf[..buf.len().min(self.max_buf_size)].to_vec();
        let (open, unreported) = (self.open.clone(), self.unreported.clone());
        let write = move || {
            let written = retry(|| open.file.write_at(&bytes, offset));
            written.map_err(|error| Unreported { error: Some(error), file: unreported })
        };
        unblock(write).await.map_err(Unreported::report)
    }

    /// Truncates the file to `size` bytes, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::set_len`], or the error of an earlier
    /// dropped write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the operation is carried out even if the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("set-len-{}", std::process::id()));
    /// executor::block_on(async {
    ///     let file = File::create(&path).await?;
    ///     file.set_len(1000).await?;
    ///     assert_eq!(file.metadata().await?.len(), 1000);
    /// #   std::fs::remove_file(&path)?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn set_len(&self, size: u64) -> io::Result<()> {
        self.run(move |open| {
            // Discard bytes that were read ahead, because they may lie beyond the new end.
            open.rewind()?;
            open.file.set_len(size)
        })
        .await
    }

    /// Waits until the file's data and metadata have reached the disk.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::sync_all`], or the error of an earlier
    /// dropped write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the operation is carried out even if the future is dropped.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.run(|open| open.file.sync_all()).await
    }

    /// Waits until the file's data has reached the disk, and the metadata needed to read it.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::sync_data`], or the error of an earlier
    /// dropped write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the operation is carried out even if the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::{fs::File, io::AsyncWriteExt};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("sync-data-{}", std::process::id()));
    /// executor::block_on(async {
    ///     let mut file = File::create(&path).await?;
    ///     file.write_all(b"hello").await?;
    ///     file.sync_data().await?;
    /// #   std::fs::remove_file(&path)?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn sync_data(&self) -> io::Result<()> {
        self.run(|open| open.file.sync_data()).await
    }

    /// Returns the file's metadata. All earlier writes have been carried out by then.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::metadata`], or the error of an earlier
    /// dropped write.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses only the result.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        self.run(|open| open.file.metadata()).await
    }

    /// Changes the file's permissions.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::set_permissions`], or the error of an earlier
    /// dropped write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the operation is carried out even if the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("permissions-{}", std::process::id()));
    /// executor::block_on(async {
    ///     let file = File::create(&path).await?;
    ///     let mut permissions = file.metadata().await?.permissions();
    ///     permissions.set_readonly(true);
    ///     file.set_permissions(permissions).await?;
    ///     assert!(file.metadata().await?.permissions().readonly());
    /// #   std::fs::remove_file(&path)?;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.run(move |open| open.file.set_permissions(permissions)).await
    }

    /// Runs a call on the pool, after the operations that were requested before.
    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Open) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        // Drop a pending operation before submitting this one. If it has failed, this stores its
        // error, which this operation must return.
        let abandoned = lock(&self.pending).take();
        drop(abandoned);
        let operation = self.begin(call);
        poll_fn(|cx| poll(&operation, cx)).await?
    }

    /// Submits an operation. It runs after the operations that were requested before.
    fn begin<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Open) -> T + Send + 'static,
    ) -> Operation<T> {
        let (open, unreported) = (self.open.clone(), self.unreported.clone());
        self.open.sequence.begin(move || match take_unreported(&unreported) {
            Some(error) => Err(error),
            None => Ok(call(&open)),
        })
    }

    /// Submits a write of `bytes` at the cursor.
    fn begin_write(&self, bytes: Arc<[u8]>) -> Operation<Written> {
        let unreported = self.unreported.clone();
        self.begin(move |open| {
            let (count, result) = match open.rewind() {
                Ok(()) => write_all(&open.file, &bytes),
                error => (0, error),
            };
            let unreported = |error| Unreported { error: Some(error), file: unreported };
            Written { count, error: result.err().map(unreported) }
        })
    }

    /// Runs a call that does not block on the calling thread. Returns `None` if another operation
    /// is running or waits.
    fn in_place<T>(&mut self, call: impl FnOnce(&Open) -> io::Result<T>) -> Option<io::Result<T>> {
        // If this handle holds the only reference, there is neither a job nor another handle, so no
        // guard is needed.
        let guard = match Arc::get_mut(&mut self.open) {
            Some(_) => None,
            None => Some(self.open.sequence.enter_if_idle()?),
        };
        let result = match take_unreported(&self.unreported) {
            Some(unreported) => Err(unreported.report()),
            None => call(&self.open),
        };
        drop(guard);
        Some(result)
    }

    fn pending(&mut self) -> &mut Option<Pending> {
        self.pending.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Moves the cursor back over the bytes that no caller has received, and discards them. If the
    /// file cannot seek (e.g. a terminal), keeps the bytes for the next read.
    fn rewind(&self) -> io::Result<()> {
        let back = lock(&self.unread).len();
        if back == 0 {
            return Ok(());
        }
        match (&self.file).seek(SeekFrom::Current(-(back as i64))) {
            Err(error) if error.kind() == ErrorKind::NotSeekable => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                mem::take(&mut *lock(&self.unread));
                Ok(())
            }
        }
    }

    /// Reads up to `length` bytes into [`Open::unread`], unless bytes of an earlier read are left
    /// there. Returns the number of bytes that are there afterwards.
    fn read_ahead(&self, length: usize) -> io::Result<usize> {
        let before = lock(&self.unread).len();
        if before > 0 {
            return Ok(before);
        }
        let mut bytes = vec![0; length];
        let read = retry(|| (&self.file).read(&mut bytes))?;
        bytes.truncate(read);
        *lock(&self.unread) = Unread { bytes, taken: 0 };
        Ok(read)
    }

    /// Copies bytes of an earlier read, or otherwise from the page cache. Returns `None` if a job
    /// has to read.
    fn read_in_place(&self, buf: &mut [u8]) -> Option<usize> {
        let mut unread = lock(&self.unread);
        if unread.len() > 0 || buf.is_empty() {
            return Some(unread.take_into(buf));
        }
        drop(unread);
        cached::read_in_place(&self.file, buf)
    }

    fn seek(&self, to: SeekFrom) -> io::Result<u64> {
        self.rewind()?;
        (&self.file).seek(to)
    }
}

impl Unread {
    fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Moves as many bytes as fit into `buf`, and returns their number.
    fn take_into(&mut self, buf: &mut [u8]) -> usize {
        let length = self.len().min(buf.len());
        buf[..length].copy_from_slice(&self.bytes[self.taken..][..length]);
        self.taken += length;
        if self.len() == 0 {
            *self = Unread::default();
        }
        length
    }
}

/// Ignores poisoning, because no code under these locks can panic: it only moves values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out the error of a dropped write, for an operation that returns it.
fn take_unreported(file: &Arc<Mutex<Option<io::Error>>>) -> Option<Unreported> {
    let error = lock(file).take()?;
    Some(Unreported { error: Some(error), file: file.clone() })
}

/// Waits for an operation. An error returned here is the error of an earlier write.
fn poll<T: Send + 'static>(operation: &Operation<T>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    let result: thread::Result<_> = ready!(operation.poll(cx));
    let done = result.unwrap_or_else(|panic| resume_unwind(panic));
    Poll::Ready(done.map_err(Unreported::report))
}

/// Repeats a system call as long as signals interrupt it.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes all bytes. Returns the number written, and the error that stopped the write early, if
/// any.
fn write_all(mut file: &fs::File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut count = 0;
    while count < bytes.len() {
        match retry(|| file.write(&bytes[count..])) {
            Ok(0) => return (count, Err(ErrorKind::WriteZero.into())),
            Ok(written) => count += written,
            Err(error) => return (count, Err(error)),
        }
    }
    (count, Ok(()))
}

impl AsyncRead for File {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let length = buf.len().min(this.max_buf_size);
        let buf = &mut buf[..length];
        loop {
            if let Some(Pending::Read(operation)) = this.pending() {
                let read = ready!(poll(operation, cx));
                *this.pending() = None;
                if read?? == 0 {
                    return Poll::Ready(Ok(0));
                }
                // 0 means that another handle took all the bytes first. Then read again.
                let read = lock(&this.open.unread).take_into(buf);
                if read > 0 || buf.is_empty() {
                    return Poll::Ready(Ok(read));
                }
            }
            *this.pending() = None;
            ready!(budget::spend(cx));
            if let Some(read) = this.in_place(|open| Ok(open.read_in_place(buf))) {
                // On `None`, a job has to read.
                if let Some(read) = read? {
                    return Poll::Ready(Ok(read));
                }
            }
            *this.pending() = Some(Pending::Read(this.begin(move |open| open.read_ahead(length))));
        }
    }
}

impl AsyncWrite for File {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bufs.iter().all(|buf| buf.is_empty()) {
            ready!(budget::spend(cx));
            return Poll::Ready(Ok(0));
        }
        match this.pending() {
            // The same write is polled again.
            Some(Pending::Write(bytes, _)) if vectored::begin_with(bufs, bytes) => {}
            // If there is a pending operation, its future was dropped. Its job ends before this
            // write begins.
            _ => {
                let bytes: Arc<[u8]> = vectored::gather(bufs, this.max_buf_size).into();
                let write = this.begin_write(bytes.clone());
                *this.pending() = Some(Pending::Write(bytes, write));
            }
        }
        let Some(Pending::Write(_, operation)) = this.pending() else {
            unreachable!("the operation was stored above")
        };
        let written = ready!(poll(operation, cx));
        *this.pending() = None;
        Poll::Ready(match written? {
            Written { count: 0, error: Some(unreported) } => Err(unreported.report()),
            // Like write(2), return only the count. Discard the error: a write of the remaining
            // bytes will fail again.
            Written { count, error } => {
                error.map(Unreported::report);
                Ok(count)
            }
        })
    }

    /// Waits for the operations that were requested before, and returns the error of a dropped
    /// write. Nothing needs to be flushed, because the kernel has the bytes of every completed
    /// write.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !matches!(this.pending(), Some(Pending::Flush(_))) {
            *this.pending() = None;
            ready!(budget::spend(cx));
            if let Some(flushed) = this.in_place(|_| Ok(())) {
                return Poll::Ready(flushed);
            }
            *this.pending() = Some(Pending::Flush(this.begin(|_| ())));
        }
        let Some(Pending::Flush(operation)) = this.pending() else {
            unreachable!("the operation was stored above")
        };
        let flushed = ready!(poll(operation, cx));
        *this.pending() = None;
        Poll::Ready(flushed)
    }

    /// Does the same as `poll_flush`. The descriptor stays open until the file is dropped.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl AsyncSeek for File {
    fn poll_seek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        if !matches!(this.pending(), Some(Pending::Seek(asked, _)) if *asked == to) {
            *this.pending() = None;
            // A seek only changes a number in the kernel. Only a seek relative to the end may
            // block, because a network file system may ask its server for the size.
            let may_block = matches!(to, SeekFrom::End(_));
            ready!(budget::spend(cx));
            if !may_block && let Some(position) = this.in_place(|open| open.seek(to)) {
                return Poll::Ready(position);
            }
            *this.pending() = Some(Pending::Seek(to, this.begin(move |open| open.seek(to))));
        }
        let Some(Pending::Seek(_, operation)) = this.pending() else {
            unreachable!("the operation was stored above")
        };
        let position = ready!(poll(operation, cx));
        *this.pending() = None;
        Poll::Ready(position?)
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> File {
        File::from_std(file)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.file.as_fd()
    }
}

impl AsRawFd for File {
    /// Returns the descriptor. It stays open as long as a handle of this file or one of its
    /// operations exists.
    ///
    /// # Examples
    ///
    /// ```
    /// use reactor::fs::File;
    /// use std::os::fd::{AsFd, AsRawFd};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let file = executor::block_on(File::open("Cargo.toml"))?;
    /// assert_eq!(file.as_raw_fd(), file.as_fd().as_raw_fd());
    /// # Ok(())
    /// # }
    /// ```
    fn as_raw_fd(&self) -> RawFd {
        self.open.file.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.open.file).finish()
    }
}
