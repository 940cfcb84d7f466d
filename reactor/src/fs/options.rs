//! [`OpenOptions`]: opens files with options.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;

/// Opens files with options, like [`std::fs::OpenOptions`].
///
/// The pool opens the file. To open a file only for reading, prefer
/// [`File::open`](super::File::open), which can often do without the pool.
///
/// # Examples
///
/// ```
/// use reactor::fs::OpenOptions;
/// use reactor::io::AsyncWriteExt;
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("options-{}", std::process::id()));
/// executor::block_on(async {
///     for line in ["one\n", "two\n"] {
///         let mut log = OpenOptions::new().append(true).create(true).open(&path).await?;
///         log.write_all(line.as_bytes()).await?;
///     }
///     assert_eq!(std::fs::read(&path)?, b"one\ntwo\n");
///
///     let mut options = OpenOptions::new();
///     options.read(true).write(true).truncate(true).mode(0o600).custom_flags(0);
///     assert_eq!(options.open(&path).await?.metadata().await?.len(), 0);
///     assert!(options.create_new(true).open(&path).await.is_err());
/// #   std::fs::remove_file(&path)?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions(fs::OpenOptions);

impl OpenOptions {
    /// Returns options that are all off.
    #[expect(clippy::new_without_default, reason = "std's options have no `Default` either")]
    pub fn new() -> OpenOptions {
        OpenOptions(fs::OpenOptions::new())
    }

    /// Sets whether the file can be read.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.0.read(read);
        self
    }

    /// Sets whether the file can be written.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.0.write(write);
        self
    }

    /// Sets append mode: the file can be written, and each write goes to the current end of the
    /// file.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.0.append(append);
        self
    }

    /// Sets whether to truncate an existing file to length 0.
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.0.truncate(truncate);
        self
    }

    /// Sets whether to create the file if it does not exist.
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.0.create(create);
        self
    }

    /// Sets whether to create the file and to fail if it exists.
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.0.create_new(create_new);
        self
    }

    /// Sets the mode of a new file, from which the OS removes the bits of the umask.
    pub fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.0.mode(mode);
        self
    }

    /// Sets further flags for the `open` system call, such as `O_NOFOLLOW`.
    pub fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.0.custom_flags(flags);
        self
    }

    /// Returns the options of std that these are.
    pub(super) fn as_std(&self) -> &fs::OpenOptions {
        &self.0
    }
}
