//! The entries of a directory: [`ReadDir`] and [`DirEntry`].

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, FileType, Metadata};
use std::future::poll_fn;
use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use crate::blocking::{JobHandle, unblock};
use crate::budget::{self, consume_budget};

/// The maximum number of entries that one job reads. It is so large that the cost of the job is
/// negligible per entry.
const BATCH_SIZE: usize = 64;

/// A stream of the entries of a directory, returned by [`read_dir`](super::read_dir).
///
/// The order is arbitrary. The entries `.` and `..` are left out.
///
/// # Cancel safety
///
/// Dropping a future that waits for the next entry loses no entry.
pub struct ReadDir {
    /// Entries that a job has read and the stream has not returned yet.
    batch: VecDeque<io::Result<DirEntry>>,
    rest: Rest,
}

/// The entries that no job has read yet.
enum Rest {
    Idle(fs::ReadDir),
    Reading(JobHandle<Batch>),
    /// No entry is left, or a job has panicked.
    Ended,
}

/// The entries that a job has read, and the directory if more entries may follow.
pub(super) type Batch = (VecDeque<io::Result<DirEntry>>, Option<fs::ReadDir>);

/// One entry of a directory.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let mut entries = reactor::fs::read_dir(".").await?;
///     while let Some(entry) = entries.next_entry().await? {
///         if entry.file_name() == "Cargo.toml" {
///             assert!(entry.file_type().await?.is_file());
///             assert!(entry.metadata().await?.len() > 0);
///             assert_eq!(entry.path(), std::path::Path::new("./Cargo.toml"));
///         }
///     }
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct DirEntry {
    entry: Arc<fs::DirEntry>,
    /// The file type, which the job that read the entry has determined. Most file systems store it
    /// in the directory itself. `None` if that failed.
    file_type: Option<FileType>,
}

/// Reads up to [`BATCH_SIZE`] entries. Blocks, so only the pool calls it.
pub(super) fn read_batch(mut directory: fs::ReadDir) -> Batch {
    let entries = directory.by_ref().take(BATCH_SIZE);
    let batch: VecDeque<_> = entries.map(|entry| entry.map(DirEntry::new)).collect();
    let rest = (batch.len() == BATCH_SIZE).then_some(directory);
    (batch, rest)
}

impl ReadDir {
    pub(super) fn new((batch, rest): Batch) -> ReadDir {
        ReadDir { batch, rest: rest.map_or(Rest::Ended, Rest::Idle) }
    }

    /// Returns the next entry, or `None` at the end.
    ///
    /// With this method, named as in tokio, a loop needs no `StreamExt`.
    ///
    /// # Errors
    ///
    /// Returns the error of the `readdir` call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no entry.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// executor::block_on(async {
    ///     let mut names = Vec::new();
    ///     let mut entries = reactor::fs::read_dir(".").await?;
    ///     while let Some(entry) = entries.next_entry().await? {
    ///         names.push(entry.file_name());
    ///     }
    ///     assert!(names.contains(&"Cargo.toml".into()));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await.transpose()
    }

    /// If a job is reading, waits for its entries.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Rest::Reading(job) = &self.rest {
            let result = ready!(job.poll(cx));
            self.rest = Rest::Ended;
            *self = match result {
                Ok(batch) => ReadDir::new(batch),
                Err(panic) => resume_unwind(panic),
            };
        }
        Poll::Ready(())
    }
}

impl Stream for ReadDir {
    type Item = io::Result<DirEntry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            ready!(self.poll_batch(cx));
            if self.batch.is_empty()
                && let Rest::Idle(rest) = std::mem::replace(&mut self.rest, Rest::Ended)
            {
                self.rest = Rest::Reading(JobHandle::begin(move || read_batch(rest)));
                continue;
            }
            // Charge the budget before taking the entry. A poll that is out of budget must return
            // `Pending`, and would lose an entry already taken.
            ready!(budget::spend(cx));
            return Poll::Ready(self.batch.pop_front());
        }
    }
}

impl DirEntry {
    fn new(entry: fs::DirEntry) -> DirEntry {
        DirEntry { file_type: entry.file_type().ok(), entry: Arc::new(entry) }
    }

    /// Returns the path of the entry: the path given to [`read_dir`](super::read_dir), joined with
    /// the entry's name.
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// Returns the name of the entry, without the directory.
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// Returns the type of the file. Does not follow symbolic links.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::DirEntry::file_type`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn file_type(&self) -> io::Result<FileType> {
        consume_budget().await;
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => Ok(self.metadata().await?.file_type()),
        }
    }

    /// Returns the metadata of the file. Does not follow symbolic links.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::DirEntry::metadata`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses only the result.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        let entry = self.entry.clone();
        unblock(move || entry.metadata()).await
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}
