//! [`File`]: one open file, and at most one operation of it under way.

use std::cell::RefCell;
use std::fmt;
use std::fs::{self, Metadata, Permissions};
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncSeek, AsyncWrite};

use super::{OpenOptions, cached};
use crate::blocking::JobHandle;

/// Bytes that one job reads or writes at most: tokio's number.
const MOST: usize = 2 * 1024 * 1024;

/// An open file, as [`std::fs::File`].
///
/// It reads, writes and seeks by the methods of [`AsyncReadExt`], [`AsyncWriteExt`] and
/// [`AsyncSeekExt`].
///
/// What is in the page cache is read in place; all else is done on the blocking pool, one
/// operation after the other. The cursor is the kernel's: a duplicate of the descriptor shares it.
///
/// A write is taken when it returns, but only done when the next operation returns: call
/// [`flush`](crate::io::AsyncWriteExt::flush) after the last one, or its error is lost. So it is
/// with tokio's `File`. An error of a write fails the next operation, whichever that is. A dropped
/// file is closed when its operation has ended.
///
/// With an operation under way a file belongs to the executor in which that began: when this is
/// gone, the next operation fails.
///
/// [`AsyncReadExt`]: crate::io::AsyncReadExt
/// [`AsyncWriteExt`]: crate::io::AsyncWriteExt
/// [`AsyncSeekExt`]: crate::io::AsyncSeekExt
///
/// # Cancel safety
///
/// To read is cancel safe: what a job has read for a future that was dropped is kept for the next
/// read. So is to write: as long as it waits, none of its bytes are taken. To read exactly, to the
/// end, or to write all is not, as always. Every other operation, once begun, is done even if its
/// future is dropped, before the next one begins. It begins when it is polled and the one before it
/// has ended: dropped before that, it is not done.
///
/// But a seek takes the place of the very same one, if that was dropped just before: of one from
/// the end, the answer is where the end was then.
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
///     file.flush().await?;
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
    file: Arc<fs::File>,
    /// The one operation under way, or done and not looked at yet.
    job: RefCell<Option<Rc<JobHandle<io::Result<Done>>>>>,
    /// Read by a job and not yet asked for: they lie between the reader and the cursor.
    unread: RefCell<Unread>,
}

#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    taken: usize,
}

/// What a job has done; its error is told by whoever comes next.
enum Done {
    Read(Vec<u8>),
    /// Where to was asked for, and where that is.
    Sought(SeekFrom, u64),
    Other,
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
    /// A file that is opened for nobody is closed.
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
    /// Once polled, it is made or emptied all the same.
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
    ///     file.sync_all().await?; // It waits for what was written, and then for the disk.
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
    /// Once polled, it is made all the same.
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
        File { file: Arc::new(file), job: RefCell::default(), unread: RefCell::default() }
    }

    /// Waits for the operation under way, and gives the file back, its cursor where reading ended.
    ///
    /// # Errors
    ///
    /// That of the operation under way.
    ///
    /// # Cancel safety
    ///
    /// The file is closed.
    pub async fn into_std(self) -> io::Result<fs::File> {
        self.settle().await?;
        self.rewind()?;
        // Every job drops its own before it reports.
        Arc::try_unwrap(self.file).or_else(|file| file.try_clone())
    }

    /// Makes the file so long: shorter, or longer by zeros.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::set_len`], or that of a write before it.
    ///
    /// # Cancel safety
    ///
    /// Once begun, it is done all the same: it begins when the operation before it has ended.
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
        self.settle().await?;
        // What was read ahead may be cut off.
        self.rewind()?;
        self.run(move |file| file.set_len(size)).await
    }

    /// Waits until all that was written, and what is known of the file, is on the disk.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::sync_all`], or that of a write before it.
    ///
    /// # Cancel safety
    ///
    /// Once begun, it is done all the same: it begins when the operation before it has ended.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.run(fs::File::sync_all).await
    }

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::sync_data`], or that of a write before it.
    ///
    /// # Cancel safety
    ///
    /// Once begun, it is done all the same: it begins when the operation before it has ended.
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
        self.run(fs::File::sync_data).await
    }

    /// What is known of the file, after all that was written.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::metadata`], or that of a write before it.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        self.run(fs::File::metadata).await
    }

    /// Changes who may do what.
    ///
    /// # Errors
    ///
    /// As [`std::fs::File::set_permissions`], or that of a write before it.
    ///
    /// # Cancel safety
    ///
    /// Once begun, it is done all the same: it begins when the operation before it has ended.
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
        self.run(move |file| file.set_permissions(permissions)).await
    }

    /// Moves the cursor back to where reading ended, over the bytes that nobody asked for. They stay
    /// where they are if there is no way back, as with a terminal.
    fn rewind(&self) -> io::Result<()> {
        let back = self.unread.borrow().len();
        if back == 0 {
            return Ok(());
        }
        match (&*self.file).seek(SeekFrom::Current(-(back as i64))) {
            Err(error) if error.kind() == ErrorKind::NotSeekable => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                self.unread.take();
                Ok(())
            }
        }
    }

    /// Makes a call on the pool, after the operation under way.
    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.settle().await?;
        let (sender, result) = channel();
        self.begin(move |file| {
            // Refused when nobody waits any more.
            let _ = sender.send(call(file));
            Ok(Done::Other)
        });
        self.settle().await?;
        // There, if the operation was carried out: never a wait of this thread.
        result.try_recv().map_err(io::Error::other)?
    }

    /// Begins an operation. None is under way.
    fn begin(&self, operation: impl FnOnce(&fs::File) -> io::Result<Done> + Send + 'static) {
        let file = self.file.clone();
        let job = JobHandle::begin(move || operation(&file));
        let before = self.job.replace(Some(Rc::new(job)));
        debug_assert!(before.is_none(), "one operation at a time");
    }

    async fn settle(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_settle(cx)).await
    }

    /// Waits until no operation is under way, and keeps what one has read.
    fn poll_settle(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(Done::Read(bytes)) = ready!(self.poll_done(cx))? {
            self.unread.replace(Unread { bytes, taken: 0 });
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the operation under way, if there is one, and tells its error.
    fn poll_done(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Done>>> {
        // Not borrowed while it is polled: to clone a waker runs foreign code.
        let job = self.job.borrow().clone();
        let Some(job) = job else { return Poll::Ready(Ok(None)) };
        let result = ready!(job.poll(cx));
        drop((job, self.job.take()));
        match result {
            Ok(done) => Poll::Ready(done.map(Some)),
            Err(panic) => resume_unwind(panic),
        }
    }
}

impl Unread {
    fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Moves as many as there is room for.
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

fn read(mut file: &fs::File, length: usize) -> io::Result<Done> {
    let mut bytes = vec![0; length];
    loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => {
                bytes.truncate(read?);
                return Ok(Done::Read(bytes));
            }
        }
    }
}

impl AsyncRead for File {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let done = ready!(self.poll_done(cx))?;
            let mut unread = self.unread.borrow_mut();
            if let Some(Done::Read(bytes)) = done {
                *unread = Unread { bytes, taken: 0 };
                // Also if these are none: that is the end of the file.
                return Poll::Ready(Ok(unread.take_into(buf)));
            }
            if unread.len() > 0 || buf.is_empty() {
                return Poll::Ready(Ok(unread.take_into(buf)));
            }
            drop(unread);
            if let Some(read) = ready!(cached::poll_read(&self.file, cx, buf)) {
                return Poll::Ready(Ok(read));
            }
            let length = buf.len().min(MOST);
            self.begin(move |file| read(file, length));
        }
    }
}

impl AsyncWrite for File {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_settle(cx))?;
        self.rewind()?;
        let bytes = buf[..buf.len().min(MOST)].to_vec();
        let length = bytes.len();
        self.begin(move |mut file| {
            file.write_all(&bytes)?;
            Ok(Done::Other)
        });
        Poll::Ready(Ok(length))
    }

    /// Waits for what was written: until the kernel has it, not the disk.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_settle(cx)
    }

    /// As to flush; the descriptor is closed when the file is dropped.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_settle(cx)
    }
}

impl AsyncSeek for File {
    fn poll_seek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        loop {
            match ready!(self.poll_done(cx))? {
                Some(Done::Sought(asked, position)) if asked == to => {
                    return Poll::Ready(Ok(position));
                }
                Some(Done::Read(bytes)) => drop(self.unread.replace(Unread { bytes, taken: 0 })),
                _ => {}
            }
            self.rewind()?;
            // To move the cursor is to change a number; where the end is, the file system may have
            // to find out.
            if !matches!(to, SeekFrom::End(_)) {
                return Poll::Ready((&*self.file).seek(to));
            }
            self.begin(move |mut file| Ok(Done::Sought(to, file.seek(to)?)));
        }
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> File {
        File::from_std(file)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.file).finish()
    }
}
