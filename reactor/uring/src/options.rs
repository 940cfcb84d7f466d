//! [`OpenOptions`]: how a file is opened, by std's names.

use std::io;

use rustix::fs::{Mode, OFlags};

/// How [`File::open_with`](crate::File::open_with) opens a file: std's options, by std's names.
///
/// std's own cannot be asked what it was told, so that the kernel could be told the same.
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
    /// Nothing is allowed yet.
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

    /// Allows to read.
    pub fn read(self, read: bool) -> OpenOptions {
        OpenOptions { read, ..self }
    }

    /// Allows to write.
    pub fn write(self, write: bool) -> OpenOptions {
        OpenOptions { write, ..self }
    }

    /// Lets each write go to the end, whatever its offset.
    pub fn append(self, append: bool) -> OpenOptions {
        OpenOptions { append, ..self }
    }

    /// Empties the file.
    pub fn truncate(self, truncate: bool) -> OpenOptions {
        OpenOptions { truncate, ..self }
    }

    /// Makes the file, if there is none.
    pub fn create(self, create: bool) -> OpenOptions {
        OpenOptions { create, ..self }
    }

    /// Makes the file, and fails if there is one.
    pub fn create_new(self, create_new: bool) -> OpenOptions {
        OpenOptions { create_new, ..self }
    }

    /// The permissions of a file that is made, of which the process's umask is taken away.
    pub fn mode(self, mode: u32) -> OpenOptions {
        OpenOptions { mode, ..self }
    }

    /// What open(2) takes; `InvalidInput` for what std refuses too.
    pub(crate) fn flags(&self) -> io::Result<(OFlags, Mode)> {
        let access = match (self.read, self.write || self.append) {
            (true, true) => OFlags::RDWR,
            (true, false) => OFlags::RDONLY,
            (false, true) => OFlags::WRONLY,
            (false, false) => return Err(invalid("neither to read nor to write")),
        };
        let makes = self.truncate || self.create || self.create_new;
        if makes && !self.write && !self.append {
            return Err(invalid("to make or to empty a file, and not to write"));
        }
        if self.append && self.truncate && !self.create_new {
            return Err(invalid("to empty a file and to append to it"));
        }
        let mut flags = access | OFlags::CLOEXEC;
        flags.set(OFlags::APPEND, self.append);
        // A file that is new is empty.
        flags.set(OFlags::TRUNC, self.truncate && !self.create_new);
        flags.set(OFlags::CREATE, self.create || self.create_new);
        flags.set(OFlags::EXCL, self.create_new);
        Ok((flags, Mode::from_raw_mode(self.mode)))
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
