//! Files and directories: std's names, with operations that wait instead of blocking.
//!
//! A file is not a socket. It is never "not ready", only not in memory, so `epoll` has nothing to
//! report and refuses to watch it, with `EPERM`. A call that needs the disk blocks its thread. So
//! the default path is the blocking pool: one job for each call of this module.
//!
//! A file that *is* in memory should not pay for a thread. On Linux one can try first, without
//! blocking: [`read`], [`read_to_string`], [`File::open`] and the reads of a [`File`] do, and cost
//! the system calls of std then. It is the sockets' idea again: try; if it would block, arrange to
//! be woken, here by the pool. What is read in place spends budget, 256 KiB all of it;
//! [`read`] leaves larger files to the pool, where all is one job. Some file systems, such as tmpfs,
//! overlayfs and those of the network, refuse such a try, and the pool reads theirs.
//!
//! There are two limits. First, an open or a read in place can stall the executor's thread even if
//! the bytes are in the page cache. A network file system may ask its server. A fanotify listener
//! with permission events, such as a virus scanner, must permit every open and every read, and the
//! call waits for its answer. Second, a job cannot be canceled. A read of a named pipe without a
//! writer keeps a thread of the pool until a writer comes, even after the future was dropped.
//!
//! Each function returns the errors of the function of [`std::fs`] with the same name. All of them
//! work under any executor.
//!
//! # Cancel safety
//!
//! A call that was polled once is made, even if its future is dropped: there is no way to take it
//! out of the pool. Only its result is lost.

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
/// In place, if all of it is in memory and it is smaller than 256 KiB; else, from where that ends,
/// on the pool.
///
/// # Errors
///
/// As [`std::fs::read`].
///
/// # Cancel safety
///
/// Nothing is lost but the time.
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

/// Reads a whole file of text, by the way of [`read`].
///
/// # Errors
///
/// As [`std::fs::read_to_string`]: `InvalidData`, if it is no UTF-8.
///
/// # Cancel safety
///
/// Nothing is lost but the time.
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

/// Writes a whole file: a new one, or instead of what is there.
///
/// The bytes are copied for the pool.
///
/// # Errors
///
/// As [`std::fs::write`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
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

/// Copies the bytes and permissions of a file, and returns how many bytes there were.
///
/// # Errors
///
/// As [`std::fs::copy`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
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

/// Gives a file another name, and replaces what had it.
///
/// # Errors
///
/// As [`std::fs::rename`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
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

/// Removes a file, or rather one of its names.
///
/// # Errors
///
/// As [`std::fs::remove_file`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
pub async fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::remove_file(path)).await
}

/// Makes a directory.
///
/// # Errors
///
/// As [`std::fs::create_dir`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
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

/// Makes a directory, and those above it that are missing.
///
/// # Errors
///
/// As [`std::fs::create_dir_all`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
pub async fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::create_dir_all(path)).await
}

/// Removes an empty directory.
///
/// # Errors
///
/// As [`std::fs::remove_dir`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
pub async fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::remove_dir(path)).await
}

/// Removes a directory with all that is in it.
///
/// # Errors
///
/// As [`std::fs::remove_dir_all`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
pub async fn remove_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    with_path(path.as_ref(), |path| fs::remove_dir_all(path)).await
}

/// The entries of a directory, as a stream.
///
/// They are read in batches, so that they share the way to the pool and back.
///
/// # Errors
///
/// As [`std::fs::read_dir`].
///
/// # Cancel safety
///
/// Nothing is lost but the result.
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

/// What is known of a file, or of what a symbolic link leads to.
///
/// # Errors
///
/// As [`std::fs::metadata`].
///
/// # Cancel safety
///
/// Nothing is lost but the result.
pub async fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    with_path(path.as_ref(), |path| fs::metadata(path)).await
}

/// What is known of a file, or of a symbolic link itself.
///
/// # Errors
///
/// As [`std::fs::symlink_metadata`].
///
/// # Cancel safety
///
/// Nothing is lost but the result.
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

/// Whether something has this name; an error, if that cannot be found out.
///
/// # Errors
///
/// As [`std::fs::exists`].
///
/// # Cancel safety
///
/// Nothing is lost but the result.
pub async fn try_exists(path: impl AsRef<Path>) -> io::Result<bool> {
    with_path(path.as_ref(), |path| fs::exists(path)).await
}

/// Changes who may do what with a file.
///
/// # Errors
///
/// As [`std::fs::set_permissions`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
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

/// The absolute path, with all symbolic links followed.
///
/// # Errors
///
/// As [`std::fs::canonicalize`].
///
/// # Cancel safety
///
/// Nothing is lost but the result.
pub async fn canonicalize(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    with_path(path.as_ref(), |path| fs::canonicalize(path)).await
}

/// Gives a file one more name.
///
/// # Errors
///
/// As [`std::fs::hard_link`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
pub async fn hard_link(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    with_paths(from.as_ref(), to.as_ref(), |from, to| fs::hard_link(from, to)).await
}

/// Makes a symbolic link to `from`, with the name `to`.
///
/// # Errors
///
/// As [`std::os::unix::fs::symlink`].
///
/// # Cancel safety
///
/// Once polled, it is carried out even if the future is dropped.
pub async fn symlink(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    with_paths(from.as_ref(), to.as_ref(), |from, to| std::os::unix::fs::symlink(from, to)).await
}

/// What a symbolic link says: where it leads to.
///
/// # Errors
///
/// As [`std::fs::read_link`].
///
/// # Cancel safety
///
/// Nothing is lost but the result.
pub async fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    with_path(path.as_ref(), |path| fs::read_link(path)).await
}

/// Makes a call with a path on the pool.
async fn with_path<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    let path = path.to_owned();
    unblock(move || call(&path)).await
}

/// Makes a call with two paths on the pool.
async fn with_paths<T: Send + 'static>(
    from: &Path,
    to: &Path,
    call: impl FnOnce(&Path, &Path) -> T + Send + 'static,
) -> T {
    let (from, to) = (from.to_owned(), to.to_owned());
    unblock(move || call(&from, &to)).await
}
