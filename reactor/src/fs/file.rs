//! [`File`]: an open file, whose operations run in the order in which they were requested.
//!
//! An operation of a file is a job in its [`Sequence`]. While the sequence is idle, an operation
//! that does not block takes the place of a job on the calling thread: a read from the page cache,
//! or a seek.
//!
//! The future of an operation may be dropped while its job runs. What the job leaves is not lost:
//! bytes that were read lie in [`Open::unread`], and the error of a write in [`File::unseen`].

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

/// The most bytes that one read or write moves, unless the caller sets a limit: tokio's number.
const MOST: usize = 2 * 1024 * 1024;

/// An open file, like [`std::fs::File`].
///
/// It reads, writes and seeks by the methods of [`AsyncReadExt`], [`AsyncWriteExt`] and
/// [`AsyncSeekExt`]. It works under any executor, and it is `Send` and `Sync`.
///
/// Bytes in the page cache are read in place. All other operations run on the blocking pool, one at
/// a time, in the order in which they were requested. Each task waits for its own result.
///
/// A write completes when the kernel has the bytes. So an error belongs to the write that caused it,
/// and a process that returns from `main` loses nothing that was acknowledged. Each write costs a
/// job of the pool: for many small writes, put a [`BufWriter`](crate::io::BufWriter) around the file
/// and flush it.
///
/// The cursor is the kernel's: a duplicate of the descriptor shares it.
///
/// # What does not port by changing imports
///
/// The `File` of tokio acknowledges a write when it is queued, and reports its error later. There
/// `flush` must be awaited before the file is dropped. Here it need not be.
///
/// [`AsyncReadExt`]: crate::io::AsyncReadExt
/// [`AsyncWriteExt`]: crate::io::AsyncWriteExt
/// [`AsyncSeekExt`]: crate::io::AsyncSeekExt
///
/// # Cancel safety
///
/// Reading is cancel safe: what a job has read for a dropped future is kept for the next read.
/// Methods that read repeatedly, such as `read_exact` and `read_to_end`, are not cancel safe.
///
/// Every other operation is carried out once it has been polled, even if its future is dropped.
/// The next operation begins after it.
///
/// - A dropped `write` is carried out, up to [`set_max_buf_size`](File::set_max_buf_size) bytes. Its
///   error is reported by the next operation of this handle, which is then not carried out. An error
///   stays until an operation has returned it to a caller.
/// - If the next operation is a write that begins with the same bytes, it continues the dropped
///   write: the bytes are not written twice. In the same way, a `seek` to the same position
///   continues a dropped `seek`. To write the same bytes again on purpose, await a flush first.
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
    /// The error of a write of this handle whose future was dropped, until a caller has seen it.
    unseen: Arc<Mutex<Option<io::Error>>>,
    /// The operation of the last poll that returned `Pending`, if the next poll may continue it.
    ///
    /// An operation through `&self` takes it out, because the future that polled it was dropped.
    pending: Mutex<Option<Pending>>,
    /// The most bytes that one read or write moves, by a job or in place.
    most: usize,
}

/// What the handles of one open file share.
struct Open {
    file: fs::File,
    /// Bytes that were read and that no caller has received yet: they lie between the reader and
    /// the cursor.
    unread: Mutex<Unread>,
    /// One operation at a time. Only the operation whose turn it is moves the cursor.
    sequence: Arc<Sequence>,
}

#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    taken: usize,
}

enum Pending {
    /// Results in the number of bytes in [`Open::unread`].
    Read(Operation<io::Result<usize>>),
    Write(Arc<[u8]>, Operation<Written>),
    Seek(SeekFrom, Operation<io::Result<u64>>),
    Flush(Operation<()>),
}

/// A job of a file. It results in the error of an earlier write if there is one; then the operation
/// itself was not carried out.
type Operation<T> = JobHandle<Result<T, Unseen>>;

/// How many bytes were written, and what kept the others back.
struct Written {
    count: usize,
    error: Option<Unseen>,
}

/// An error of a write. If it is dropped before a caller has seen it, the file keeps it for the next
/// operation.
struct Unseen {
    error: Option<io::Error>,
    file: Arc<Mutex<Option<io::Error>>>,
}

impl Unseen {
    fn see(mut self) -> io::Error {
        self.error.take().expect("it is taken once, here")
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(error) = self.error.take() {
            // Keep the first error: it explains the errors that follow.
            lock(&self.file).get_or_insert(error);
        }
    }
}

impl File {
    /// Opens a file to read from it.
    ///
    /// In place, if it is a regular file and its name is in memory.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::open`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the file is closed as soon as it is open.
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

    /// Opens a file to write to it: a new one, or an old one that is emptied.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::create`].
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

    /// Opens a new file to read and write; one that exists is an error.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::create_new`]: `AlreadyExists`.
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

    /// A way to open files with other options.
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Takes over a file of std.
    ///
    /// A duplicate of it shares its cursor, in the kernel: while a thread of the pool reads one of
    /// them, an operation of the other makes its thread wait.
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
            unseen: Arc::default(),
            pending: Mutex::default(),
            most: MOST,
        }
    }

    /// Waits for the operations that were requested before, and returns the file.
    ///
    /// Its cursor is where reading ended. If another handle made by [`try_clone`](File::try_clone)
    /// exists, the returned file owns a duplicate of the descriptor.
    ///
    /// # Errors
    ///
    /// Returns the error of a dropped write, or of the `lseek` or `dup` system call.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the file is closed.
    pub async fn into_std(self) -> io::Result<fs::File> {
        self.run(Open::rewind).await?;
        Arc::try_unwrap(self.open).map_or_else(|open| open.file.try_clone(), |open| Ok(open.file))
    }

    /// Returns the file of std without waiting, or this file if that is not possible yet.
    ///
    /// The cursor of the returned file is where reading ended.
    ///
    /// # Errors
    ///
    /// Returns this file unchanged if an operation is under way, if another handle made by
    /// [`try_clone`](File::try_clone) exists, if the error of a dropped write has not been reported
    /// yet, or if the `lseek` system call fails. In all these cases, [`into_std`](File::into_std)
    /// returns the file or the error.
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
        // Every job and every handle has a reference.
        if Arc::get_mut(&mut self.open).is_none() {
            return Err(self);
        }
        // A dropped write that has failed puts its error into `unseen` here.
        let abandoned = self.pending().take();
        drop(abandoned);
        if lock(&self.unseen).is_some() || self.open.rewind().is_err() {
            return Err(self);
        }
        Arc::try_unwrap(self.open).map(|open| open.file).map_err(|open| File { open, ..self })
    }

    /// Returns a second handle to the same open file: both use one descriptor and one cursor.
    ///
    /// The operations of both run one at a time, in the order in which they were requested. An error
    /// of a dropped write stays with the handle of that write. The signature is tokio's; it neither
    /// waits nor fails.
    ///
    /// # Errors
    ///
    /// Never.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
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
            unseen: Arc::default(),
            pending: Mutex::default(),
            most: self.most,
        })
    }

    /// Sets how many bytes one read or write moves at most. The default is 2 MiB.
    ///
    /// The limit applies to reads from the page cache as well. A larger buffer takes several
    /// operations, and the operations of other tasks on the same file may run between them. A write
    /// copies up to this many bytes. 0 counts as 1.
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
        self.most = bytes.max(1);
    }

    /// Returns how many bytes one read or write moves at most.
    pub fn max_buf_size(&self) -> usize {
        self.most
    }

    /// Reads at an offset, and returns how many bytes were read; 0 is the end of the file.
    ///
    /// The cursor stays where it is. Such reads do not wait for other operations, so several of
    /// them can run concurrently on one file. Bytes in the page cache are read in place.
    ///
    /// # Errors
    ///
    /// Returns the error of the `pread` system call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing but time.
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
        let length = buf.len().min(self.most);
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
    /// The cursor stays where it is. Such writes do not wait for other operations, so several of
    /// them can run concurrently on one file. On Linux, a file that was opened to append ignores
    /// the offset.
    ///
    /// # Errors
    ///
    /// Returns the error of the `pwrite` system call.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it is carried out even if the future is dropped. Its error is then reported by
    /// the next operation of this handle.
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
        let bytes = buf[..buf.len().min(self.most)].to_vec();
        let (open, unseen) = (self.open.clone(), self.unseen.clone());
        let write = move || {
            let written = retry(|| open.file.write_at(&bytes, offset));
            written.map_err(|error| Unseen { error: Some(error), file: unseen })
        };
        unblock(write).await.map_err(Unseen::see)
    }

    /// Truncates the file to `size` bytes, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::set_len`], or the error of an earlier dropped
    /// write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it is carried out even if the future is dropped.
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
            // Bytes that were read ahead may lie beyond the new end.
            open.rewind()?;
            open.file.set_len(size)
        })
        .await
    }

    /// Waits until the file's data and metadata are on the disk.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::sync_all`], or the error of an earlier dropped
    /// write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it is carried out even if the future is dropped.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.run(|open| open.file.sync_all()).await
    }

    /// Waits until the file's data is on the disk.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::sync_data`], or the error of an earlier dropped
    /// write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it is carried out even if the future is dropped.
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

    /// Returns the file's metadata, after all earlier writes.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::metadata`], or the error of an earlier dropped
    /// write.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        self.run(|open| open.file.metadata()).await
    }

    /// Changes the file's permissions.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::File::set_permissions`], or the error of an earlier dropped
    /// write.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it is carried out even if the future is dropped.
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

    /// Runs a call on the pool, behind the operations that were requested before.
    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Open) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        // Its future was dropped, so the next operation must report its error.
        let abandoned = lock(&self.pending).take();
        drop(abandoned);
        let operation = self.begin(call);
        poll_fn(|cx| poll(&operation, cx)).await?
    }

    /// Submits an operation behind those that were requested before.
    fn begin<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Open) -> T + Send + 'static,
    ) -> Operation<T> {
        let (open, unseen) = (self.open.clone(), self.unseen.clone());
        self.open.sequence.begin(move || match take_unseen(&unseen) {
            Some(error) => Err(error),
            None => Ok(call(&open)),
        })
    }

    /// Submits a write of these bytes.
    fn begin_write(&self, bytes: Arc<[u8]>) -> Operation<Written> {
        let unseen = self.unseen.clone();
        self.begin(move |open| {
            let (count, result) = match open.rewind() {
                Ok(()) => write_all(&open.file, &bytes),
                error => (0, error),
            };
            let unseen = |error| Unseen { error: Some(error), file: unseen };
            Written { count, error: result.err().map(unseen) }
        })
    }

    /// Carries out an operation on this thread, which must not block. Returns `None` if another
    /// operation is under way or waits.
    fn in_place<T>(&mut self, call: impl FnOnce(&Open) -> io::Result<T>) -> Option<io::Result<T>> {
        // Without a job and without another handle, no other operation exists.
        let place = match Arc::get_mut(&mut self.open) {
            Some(_) => None,
            None => Some(self.open.sequence.enter_if_idle()?),
        };
        let result = match take_unseen(&self.unseen) {
            Some(unseen) => Err(unseen.see()),
            None => call(&self.open),
        };
        drop(place);
        Some(result)
    }

    fn pending(&mut self) -> &mut Option<Pending> {
        self.pending.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Moves the cursor back to where reading ended, over the bytes that no caller has received.
    /// If the file cannot seek (e.g. a terminal), these bytes are kept for the next read.
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

    /// Reads up to `length` bytes, unless bytes of an earlier read are left. Returns how many bytes
    /// [`Open::unread`] then has.
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

    /// Returns bytes of an earlier read, otherwise bytes in the page cache. Returns `None` if a job
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

    /// Moves as many bytes as fit.
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

/// No panic can happen under these locks: they are held for a few moves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of a dropped write, for an operation that reports it.
fn take_unseen(file: &Arc<Mutex<Option<io::Error>>>) -> Option<Unseen> {
    let error = lock(file).take()?;
    Some(Unseen { error: Some(error), file: file.clone() })
}

/// Waits for an operation. An error here is the error of an earlier write.
fn poll<T: Send + 'static>(operation: &Operation<T>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
    let result: thread::Result<_> = ready!(operation.poll(cx));
    let done = result.unwrap_or_else(|panic| resume_unwind(panic));
    Poll::Ready(done.map_err(Unseen::see))
}

/// Repeats a system call until it is not interrupted by a signal.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes all bytes, and returns how many were written.
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
        let length = buf.len().min(this.most);
        let buf = &mut buf[..length];
        loop {
            if let Some(Pending::Read(operation)) = this.pending() {
                let read = ready!(poll(operation, cx));
                *this.pending() = None;
                if read?? == 0 {
                    return Poll::Ready(Ok(0));
                }
                // No byte is left if another handle has read them first.
                let read = lock(&this.open.unread).take_into(buf);
                if read > 0 || buf.is_empty() {
                    return Poll::Ready(Ok(read));
                }
            }
            *this.pending() = None;
            ready!(budget::spend(cx));
            if let Some(read) = this.in_place(|open| Ok(open.read_in_place(buf))) {
                // `None` means that a job has to read.
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
            // The same write, polled again.
            Some(Pending::Write(bytes, _)) if vectored::begin_with(bufs, bytes) => {}
            // The future of a pending operation was dropped. Its job goes on, before this write.
            _ => {
                let bytes: Arc<[u8]> = vectored::gather(bufs, this.most).into();
                let write = this.begin_write(bytes.clone());
                *this.pending() = Some(Pending::Write(bytes, write));
            }
        }
        let Some(Pending::Write(_, operation)) = this.pending() else {
            unreachable!("it was just put there")
        };
        let written = ready!(poll(operation, cx));
        *this.pending() = None;
        Poll::Ready(match written? {
            Written { count: 0, error: Some(unseen) } => Err(unseen.see()),
            // As with write(2), report the count only: a write of the other bytes fails again.
            Written { count, error } => {
                error.map(Unseen::see);
                Ok(count)
            }
        })
    }

    /// Waits for the operations that were requested before, and reports the error of a dropped write.
    /// A write that has completed is with the kernel already.
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
            unreachable!("it was just put there")
        };
        let flushed = ready!(poll(operation, cx));
        *this.pending() = None;
        Poll::Ready(flushed)
    }

    /// As `poll_flush`; the descriptor is closed when the file is dropped.
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
            // Moving the cursor only changes a number. But to find the end of the file, a network
            // file system may have to ask its server.
            let is_quick = !matches!(to, SeekFrom::End(_));
            ready!(budget::spend(cx));
            if is_quick && let Some(position) = this.in_place(|open| open.seek(to)) {
                return Poll::Ready(position);
            }
            *this.pending() = Some(Pending::Seek(to, this.begin(move |open| open.seek(to))));
        }
        let Some(Pending::Seek(_, operation)) = this.pending() else {
            unreachable!("it was just put there")
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
    /// Returns the descriptor, which stays open as long as a handle of this file or one of its
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
