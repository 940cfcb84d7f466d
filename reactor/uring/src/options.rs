//! [`OpenOptions`]: options to open a file, with std's names.

use std::io;

use rustix::fs::{Mode, OFlags};

/// Options for [`File::open_with`](crate::File::open_with), with the names of
/// [`std::fs::OpenOptions`].
///
/// The type of std cannot be used, because it has no methods that return the options, and this
/// crate must pass them to the kernel.
///
/// # Examples
///
/// ```
/// use reactor_uring::{File, OpenOptions, Ring};
///
/// # fn main() -> std::io::Result<()> {
/// # let path = std::env::temp_dir().join(format!("reactor-uring-options-{}", std::process::id()));
/// executor::block_on(async {
///     let ring = Ring::or_pool(64)?;
///     let options = OpenOptions::new().read(true).write(true).create(true).mode(0o600);
///     let file = File::open_with(&ring, &path, &options).await?;
///     file.write_all_at(b"one\n".to_vec(), 0).await.0?;
///     file.close().await?;
///
///     let options = OpenOptions::new().append(true);
///     let file = File::open_with(&ring, &path, &options).await?;
///     file.write_all_at(b"two\n".to_vec(), 0).await.0?;
///
///     let options = OpenOptions::new().write(true).truncate(true);
///     File::open_with(&ring, &path, &options).await?;
///     let options = OpenOptions::new().write(true).create_new(true);
///     let refused = File::open_with(&ring, &path, &options).await.unwrap_err();
///     assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
/// #   std::fs::remove_file(&path)?;
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

impl OpenOptions {
    /// Returns options that are all off.
    pub fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
        }
    }

    /// Sets whether the file can be read.
    pub fn read(self, read: bool) -> OpenOptions {
        OpenOptions { read, ..self }
    }

    /// Sets whether the file can be written.
    pub fn write(self, write: bool) -> OpenOptions {
        OpenOptions { write, ..self }
    }

    /// Sets append mode: the file can be written, and each write goes to the end of the file,
    /// whatever its offset.
    pub fn append(self, append: bool) -> OpenOptions {
        OpenOptions { append, ..self }
    }

    /// Sets whether to truncate an existing file to length 0.
    pub fn truncate(self, truncate: bool) -> OpenOptions {
        OpenOptions { truncate, ..self }
    }

    /// Sets whether to create the file if it does not exist.
    pub fn create(self, create: bool) -> OpenOptions {
        OpenOptions { create, ..self }
    }

    /// Sets whether to create the file and to fail if it exists.
    pub fn create_new(self, create_new: bool) -> OpenOptions {
        OpenOptions { create_new, ..self }
    }

    /// Sets the mode of a new file, from which the OS removes the bits of the umask.
    pub fn mode(self, mode: u32) -> OpenOptions {
        OpenOptions { mode, ..self }
    }

    /// Returns the arguments of open(2), or `InvalidInput` for combinations that std rejects too.
    pub(crate) fn flags(&self) -> io::Result<(OFlags, Mode)> {
        let access = match (self.read, self.write || self.append) {
            (true, true) => OFlags::RDWR,
            (true, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (false, false) => return Err(invalid("set `read`, `write` or `append`")),
        };
        let modifies = self.truncate || self.create || self.create_new;
        if modifies && !self.write && !self.append {
            return Err(invalid("creating or truncating a file requires `write` or `append`"));
        }
        if self.append && self.truncate && !self.create_new {
            return Err(invalid("`append` and `truncate` exclude each other"));
        }
        let mut flags = access | OFlags::CLOEXEC;
        flags.set(OFlags::APPEND, self.append);
        // A new file is already empty.
        flags.set(OFlags::TRUNC, self.truncate && !self.create_new);
        flags.set(OFlags::CREATE, self.create || self.create_new);
        flags.set(OFlags::EXCL, self.create_new);
        Ok((flags, Mode::from_raw_mode(self.mode)))
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
