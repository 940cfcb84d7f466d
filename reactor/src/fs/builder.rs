//! [`DirBuilder`]: creates directories with options.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::blocking::unblock;

/// Creates directories with options, like [`std::fs::DirBuilder`].
///
/// # Examples
///
/// ```
/// use reactor::fs::{self, DirBuilder};
/// use std::os::unix::fs::PermissionsExt;
///
/// # fn main() -> std::io::Result<()> {
/// # let directory = std::env::temp_dir().join(format!("builder-{}", std::process::id()));
/// executor::block_on(async {
///     DirBuilder::new().recursive(true).mode(0o700).create(directory.join("a/b")).await?;
///     let mode = fs::metadata(directory.join("a")).await?.permissions().mode();
///     assert_eq!(mode & 0o777, 0o700);
/// #   std::fs::remove_dir_all(&directory)?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Debug)]
pub struct DirBuilder {
    recursive: bool,
    mode: u32,
}

impl DirBuilder {
    /// Returns a builder that creates one directory in an existing parent, with mode 0o777.
    #[expect(clippy::new_without_default, reason = "std's builder has no `Default` either")]
    pub fn new() -> DirBuilder {
        DirBuilder { recursive: false, mode: 0o777 }
    }

    /// Sets whether to create missing parents. If true, a directory that exists is not an error.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.recursive = recursive;
        self
    }

    /// Sets the mode of new directories, from which the OS removes the bits of the umask.
    pub fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.mode = mode;
        self
    }

    /// Creates the directory.
    ///
    /// # Errors
    ///
    /// Returns the error of [`std::fs::DirBuilder::create`].
    ///
    /// # Cancel safety
    ///
    /// Once polled, the directory is created even if the future is dropped.
    pub async fn create(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(self.recursive).mode(self.mode);
        let path = path.as_ref().to_owned();
        unblock(move || builder.create(path)).await
    }
}
