//! What is in a directory: [`ReadDir`] and [`DirEntry`].

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

/// Entries that one job reads: so many that the way to the pool and back is shared by all of them.
const BATCH: usize = 64;

/// The entries of a directory, as a stream; made by [`read_dir`](super::read_dir).
///
/// They come in no order, without `.` and `..`.
///
/// # Cancel safety
///
/// To take the next entry is cancel safe.
pub struct ReadDir {
    /// Entries that were read and not yet asked for.
    batch: VecDeque<io::Result<DirEntry>>,
    rest: Rest,
}

enum Rest {
    Idle(fs::ReadDir),
    Reading(JobHandle<Batch>),
    /// No entry is left, or a job has panicked.
    Ended,
}

/// What a job has read, and what follows, if anything does.
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
    /// Known from the directory itself, mostly; else it was asked for by the same job.
    file_type: Option<FileType>,
}

/// Reads a number of entries: for the pool.
pub(super) fn read_batch(mut directory: fs::ReadDir) -> Batch {
    let entries = directory.by_ref().take(BATCH);
    let batch: VecDeque<_> = entries.map(|entry| entry.map(DirEntry::new)).collect();
    let rest = (batch.len() == BATCH).then_some(directory);
    (batch, rest)
}

impl ReadDir {
    pub(super) fn new((batch, rest): Batch) -> ReadDir {
        ReadDir { batch, rest: rest.map_or(Rest::Ended, Rest::Idle) }
    }

    /// The next entry; `None` at the end.
    ///
    /// tokio's name, for loops without `StreamExt`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read on.
    ///
    /// # Cancel safety
    ///
    /// No entry is lost.
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

    /// Waits for the next entries, if there are any.
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
            // Spend before taking an entry, because a poll without budget must not lose it.
            if !self.batch.is_empty() || matches!(self.rest, Rest::Ended) {
                ready!(budget::spend(cx));
            }
            if let Some(entry) = self.batch.pop_front() {
                return Poll::Ready(Some(entry));
            }
            match std::mem::replace(&mut self.rest, Rest::Ended) {
                Rest::Idle(rest) => {
                    self.rest = Rest::Reading(JobHandle::begin(move || read_batch(rest)));
                }
                _ => return Poll::Ready(None),
            }
        }
    }
}

impl DirEntry {
    fn new(entry: fs::DirEntry) -> DirEntry {
        DirEntry { file_type: entry.file_type().ok(), entry: Arc::new(entry) }
    }

    /// The path: that of the directory, as it was given, and the name.
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// The name alone.
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// What it is; a symbolic link is one.
    ///
    /// # Errors
    ///
    /// As [`std::fs::DirEntry::file_type`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn file_type(&self) -> io::Result<FileType> {
        consume_budget().await;
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => Ok(self.metadata().await?.file_type()),
        }
    }

    /// What is known of it; of a symbolic link, not of what that leads to.
    ///
    /// # Errors
    ///
    /// As [`std::fs::DirEntry::metadata`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
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
