//! Files and directories: std's names, with operations that wait instead of blocking.
//!
//! A file cannot be watched by `epoll`, which refuses it with `EPERM`. A file always counts as
//! ready, and yet a read blocks its thread if the bytes are not in the page cache. So every call of
//! this module is a job of the [blocking pool](crate::blocking), with one exception.
//!
//! The exception is for files in the page cache, which should not pay for a thread. On Linux,
//! [`read`], [`read_to_string`], [`File::open`] and the reads of a [`File`] first make a system
//! call that fails instead of blocking. This is the principle that sockets follow: try, and if it
//! would block, arrange a wakeup. Here the pool causes the wakeup. If the call succeeds, the
//! operation costs no more than in std. It spends budget for every 2 KiB, and 256 KiB use up the
//! whole budget. [`read`] gives larger files to the pool, where one job reads the whole file. Some
//! file systems do not support the non-blocking call, e.g. tmpfs, overlayfs and network file
//! systems. The pool always reads their files.
//!
//! There are two limits:
//!
//! - An open or a read in place can block the executor's thread even if the bytes are in the page
//!   cache. To open a file, a network file system may ask its server. A fanotify listener with
//!   permission events, such as a virus scanner, must permit every open and every read, and the
//!   call waits for its answer.
//! - A job cannot be canceled. A read of a named pipe without a writer keeps a thread of the pool
//!   busy until a writer opens the pipe, even after the future was dropped.
//!
//! All functions work under any executor.
//!
//! # Cancel safety
//!
//! Once a future of this module has been polled, its call is made even if the future is dropped,
//! because a job cannot be removed from the pool. Only the result is lost.

mod builder;
#[cfg_attr(not(target_os = "linux"), path = "uncached.rs")]
mod cached;
mod directory;
mod file;
mod options;

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};

pub use builder::DirBuilder;
pub use directory::{DirEntry, ReadDir};
pub use file::File;
pub use options::OpenOptions;

use crate::blocking::unblock;

/// Reads a whole file.
///
/// On Linux, a file that is smaller than 256 KiB is read in place as far as it is in the page
/// cache. The pool reads the rest, and all other files.
///
/// # Errors
///
/// Returns the error of [`std::fs::read`].
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let bytes = reactor::fs::read("Cargo.toml").await?;
///     assert_eq!(bytes, std::fs::read("Cargo.toml")?);
///     Ok(())
/// })
/// # }
/// ```
pub async fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    match cached::read(path).await {
        Some(result) => result,
        None => with_path(path, |path| fs::read(path)).await,
    }
}

/// Reads a whole file of UTF-8 text, in the same way as [`read`].
///
/// # Errors
///
/// Returns the error of [`std::fs::read_to_string`]: `InvalidData` if the file is not valid UTF-8.
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let manifest = reactor::fs::read_to_string("Cargo.toml").await?;
///     assert!(manifest.contains("[package]"));
///     Ok(())
/// })
/// # }
/// ```
pub async fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let text = String::from_utf8(read(path).await?);
    text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a whole file. Creates the file if it does not exist, and replaces its contents otherwise.
///
/// The bytes are copied, because the pool's thread cannot borrow them.
///
/// # Errors
///
/// Returns the error of [`std::fs::write`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
///
/// # Examples
///
/// ```
/// use reactor::fs;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("write-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// executor::block_on(async {
///     fs::write(directory.join("greeting"), "hello").await?;
///     assert_eq!(fs::read(directory.join("greeting")).await?, b"hello");
/// #   std::fs::remove_dir_all(&directory)?;
///     Ok(())
/// })
/// # }
/// ```
pub async fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let contents = contents.as_ref().to_owned();
    with_path(path.as_ref(), move |path| fs::write(path, contents)).await
}

/// Copies the contents and permissions of a file, and returns the number of bytes.
///
/// # Errors
///
/// Returns the error of [`std::fs::copy`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
///
/// # Examples
///
/// ```
/// use reactor::fs;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("copy-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// executor::block_on(async {
///     let bytes = fs::copy("Cargo.toml", directory.join("copy")).await?;
///     assert_eq!(bytes, fs::metadata("Cargo.toml").await?.len());
/// #   std::fs::remove_dir_all(&directory)?;
///     Ok(())
/// })
/// # }
/// ```
pub async fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    with_paths(from.as_ref(), to.as_ref(), |from, to| fs::copy(from, to)).await
}

/// Renames a file or directory, and replaces `to` if it exists.
///
/// # Errors
///
/// Returns the error of [`std::fs::rename`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
///
/// # Examples
///
/// ```
/// use reactor::fs;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("rename-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// executor::block_on(async {
///     let (old, new) = (directory.join("old"), directory.join("new"));
///     fs::write(&old, "hello").await?;
///     fs::rename(&old, &new).await?;
///     assert!(!fs::try_exists(&old).await? && fs::try_exists(&new).await?);
///     fs::remove_file(&new).await?;
///     assert!(!fs::try_exists(&new).await?);
/// #   std::fs::remove_dir_all(&directory)?;
///     Ok(())
/// })
/// # }
/// ```
pub async fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    with_paths(from.as_ref(), to.as_ref(), |from, to| fs::rename(from, to)).await
}

/// Removes one name of a file. The file itself is removed with its last name.
///
/// # Errors
///
/// Returns the error of [`std::fs::remove_file`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::remove_file(path)).await
}

/// Creates a directory.
///
/// # Errors
///
/// Returns the error of [`std::fs::create_dir`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
///
/// # Examples
///
/// ```
/// use reactor::fs;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("create-dir-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// executor::block_on(async {
///     let inner = directory.join("inner");
///     fs::create_dir(&inner).await?;
///     fs::create_dir_all(inner.join("a/b/c")).await?;
///     assert!(fs::remove_dir(&inner).await.is_err(), "it is not empty");
///     fs::remove_dir_all(&inner).await?;
///     fs::create_dir(&inner).await?;
///     fs::remove_dir(&inner).await?;
/// #   std::fs::remove_dir_all(&directory)?;
///     Ok(())
/// })
/// # }
/// ```
pub async fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::create_dir(path)).await
}

/// Creates a directory and all missing parents.
///
/// # Errors
///
/// Returns the error of [`std::fs::create_dir_all`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::create_dir_all(path)).await
}

/// Removes an empty directory.
///
/// # Errors
///
/// Returns the error of [`std::fs::remove_dir`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::remove_dir(path)).await
}

/// Removes a directory and everything in it.
///
/// # Errors
///
/// Returns the error of [`std::fs::remove_dir_all`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::remove_dir_all(path)).await
}

/// Returns the entries of a directory as a stream.
///
/// One job of the pool reads a batch of entries, which is cheaper than a job for each.
///
/// # Errors
///
/// Returns the error of [`std::fs::read_dir`].
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
///
/// # Examples
///
/// ```
/// use futures_lite::StreamExt;
/// use reactor::fs;
///
/// # fn main() -> std::io::Result<()> {
/// executor::block_on(async {
///     let mut entries = fs::read_dir(".").await?;
///     let mut names = Vec::new();
///     while let Some(entry) = entries.next().await {
///         names.push(entry?.file_name());
///     }
///     assert!(names.contains(&"Cargo.toml".into()));
///     Ok(())
/// })
/// # }
/// ```
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let first = |path: &Path| fs::read_dir(path).map(directory::read_batch);
    with_path(path.as_ref(), first).await.map(ReadDir::new)
}

/// Returns the metadata of a file. Follows symbolic links.
///
/// # Errors
///
/// Returns the error of [`std::fs::metadata`].
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    with_path(path.as_ref(), |path| fs::metadata(path)).await
}

/// Returns the metadata of a file. Does not follow symbolic links.
///
/// # Errors
///
/// Returns the error of [`std::fs::symlink_metadata`].
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
///
/// # Examples
///
/// ```
/// use reactor::fs;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("links-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// executor::block_on(async {
///     let (hard, soft) = (directory.join("hard"), directory.join("soft"));
///     fs::write(directory.join("file"), "hello").await?;
///     fs::hard_link(directory.join("file"), &hard).await?;
///     fs::symlink("hard", &soft).await?;
///     assert!(fs::symlink_metadata(&soft).await?.is_symlink());
///     assert!(fs::metadata(&soft).await?.is_file());
///     assert_eq!(fs::read_link(&soft).await?.as_os_str(), "hard");
///     assert_eq!(fs::canonicalize(&soft).await?, fs::canonicalize(&hard).await?);
/// #   std::fs::remove_dir_all(&directory)?;
///     Ok(())
/// })
/// # }
/// ```
pub async fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    with_path(path.as_ref(), |path| fs::symlink_metadata(path)).await
}

/// Returns whether the path exists. Follows symbolic links.
///
/// # Errors
///
/// Returns the error of [`std::fs::exists`] if the OS does not report whether the path exists, e.g.
/// `PermissionDenied`.
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
pub async fn try_exists(path: impl AsRef<Path>) -> io::Result<bool> {
    with_path(path.as_ref(), |path| fs::exists(path)).await
}

/// Changes the permissions of a file.
///
/// # Errors
///
/// Returns the error of [`std::fs::set_permissions`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
///
/// # Examples
///
/// ```
/// use reactor::fs;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("permissions-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// executor::block_on(async {
///     let file = directory.join("file");
///     fs::write(&file, "hello").await?;
///     let mut permissions = fs::metadata(&file).await?.permissions();
///     permissions.set_readonly(true);
///     fs::set_permissions(&file, permissions).await?;
///     assert!(fs::metadata(&file).await?.permissions().readonly());
/// #   std::fs::remove_dir_all(&directory)?;
///     Ok(())
/// })
/// # }
/// ```
pub async fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::set_permissions(path, permissions)).await
}

/// Returns the absolute path, with all symbolic links resolved.
///
/// # Errors
///
/// Returns the error of [`std::fs::canonicalize`].
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    with_path(path.as_ref(), |path| fs::canonicalize(path)).await
}

/// Creates the hard link `to`, another name for the file `from`.
///
/// # Errors
///
/// Returns the error of [`std::fs::hard_link`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
pub async fn hard_link(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    with_paths(from.as_ref(), to.as_ref(), |from, to| fs::hard_link(from, to)).await
}

/// Creates the symbolic link `to`, which points to `from`.
///
/// # Errors
///
/// Returns the error of [`std::os::unix::fs::symlink`].
///
/// # Cancel safety
///
/// Once polled, the call is made even if the future is dropped.
pub async fn symlink(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    with_paths(from.as_ref(), to.as_ref(), |from, to| std::os::unix::fs::symlink(from, to)).await
}

/// Returns the target of a symbolic link.
///
/// # Errors
///
/// Returns the error of [`std::fs::read_link`].
///
/// # Cancel safety
///
/// Dropping the future loses only the result.
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    with_path(path.as_ref(), |path| fs::read_link(path)).await
}

/// Runs a call with one path on the pool.
async fn with_path<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    let path = path.to_owned();
    unblock(move || call(&path)).await
}

/// Runs a call with two paths on the pool.
async fn with_paths<T: Send + 'static>(
    from: &Path,
    to: &Path,
    call: impl FnOnce(&Path, &Path) -> T + Send + 'static,
) -> T {
    let (from, to) = (from.to_owned(), to.to_owned());
    unblock(move || call(&from, &to)).await
}
