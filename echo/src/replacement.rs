//! [`Replacement`]: a file that is written beside its target, and replaces it when complete.
//!
//! Until then the target keeps its content, even if the disk fills up, memory runs out or a signal
//! ends the process. [`Place::Direct`] lists the exceptions.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is about to be written. Dropping it before [`finish`](Replacement::finish) leaves the
/// target as it was.
pub(crate) struct Replacement {
    file: File,
    place: Place,
}

/// Where the bytes are written, and how they get to the target.
enum Place {
    /// To the target itself. It cannot be replaced, because it is a device, a pipe or an open
    /// descriptor such as `/dev/stdout`, or because no file can be created in its folder.
    Direct,
    /// To a file in the same folder that has no name yet. The kernel removes it if the process is
    /// killed.
    #[cfg(target_os = "linux")]
    Nameless { target: PathBuf },
    /// To a file in the same folder.
    Named { temporary: PathBuf, target: PathBuf },
}

impl Replacement {
    /// Prepares to write the file at `path`. If that is a symbolic link, the file that it points to
    /// is replaced, not the link.
    ///
    /// # Errors
    ///
    /// Returns the error of the system call if the file cannot be opened for writing or created.
    pub(crate) fn of(path: &Path) -> io::Result<Replacement> {
        let (target, is_ours) = follow_links(path);
        match OpenOptions::new().write(true).open(path) {
            Ok(file) => {
                let metadata = file.metadata()?;
                if !metadata.is_file() || !is_ours {
                    return Ok(Replacement { file, place: Place::Direct });
                }
                let Ok(new) = create_beside(target) else {
                    return Ok(Replacement { file, place: Place::Direct });
                };
                new.file.set_permissions(metadata.permissions())?;
                Ok(new)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => create_beside(target),
            Err(error) => Err(error),
        }
    }

    /// Calls `write` to write the file, and then moves it to the target.
    ///
    /// # Errors
    ///
    /// Returns the error of `write` or of a system call. The target then keeps its previous content,
    /// unless it was written directly. If only the last step fails, the error names the temporary
    /// file, which stays.
    pub(crate) fn finish(
        mut self,
        write: impl FnOnce(&mut io::BufWriter<&File>) -> io::Result<()>,
    ) -> io::Result<()> {
        if matches!(self.place, Place::Direct) && self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        let mut out = io::BufWriter::with_capacity(1 << 16, &self.file);
        write(&mut out)?;
        out.flush()?;
        drop(out);
        if matches!(self.place, Place::Direct) {
            return Ok(());
        }
        // Sync before renaming. Otherwise the name could reach the disk before the bytes, and a power
        // failure in between would leave an empty file.
        self.file.sync_all()?;
        #[cfg(target_os = "linux")]
        if let Place::Nameless { target } = &self.place {
            let temporary = temporary_beside(target);
            give_name(&self.file, &temporary)?;
            self.place = Place::Named { temporary, target: target.clone() };
        }
        self.rename()
    }

    fn rename(mut self) -> io::Result<()> {
        let place = std::mem::replace(&mut self.place, Place::Direct);
        let Place::Named { temporary, target } = place else { return Ok(()) };
        fs::rename(&temporary, &target).map_err(|error| {
            let text = format!("{error} (what was written is in {})", temporary.display());
            io::Error::new(error.kind(), text)
        })
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Place::Named { temporary, .. } = &self.place {
            // A failure leaves only an incomplete file, and there is no caller to report it to.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// The kernel follows no more links than this.
const MOST_LINKS: usize = 40;

/// Follows symbolic links. Returns the path at their end, and whether the file there may be replaced.
/// A descriptor of the process, such as `/dev/stdout`, may not: a program that has opened the same
/// file would not see the new one.
fn follow_links(path: &Path) -> (PathBuf, bool) {
    // Prepend `.`, so that a bare file name also has a parent folder in which files can be created.
    let mut target = Path::new(".").join(path);
    for _ in 0..MOST_LINKS {
        if ["/dev", "/proc"].iter().any(|folder| target.starts_with(folder)) {
            return (target, false);
        }
        let Ok(next) = fs::read_link(&target) else { break };
        target = folder_of(&target).join(next);
    }
    (target, true)
}

/// Creates a file in the folder of `target`, to replace it later.
fn create_beside(target: PathBuf) -> io::Result<Replacement> {
    #[cfg(target_os = "linux")]
    if let Some(file) = nameless_beside(&target) {
        return Ok(Replacement { file, place: Place::Nameless { target } });
    }
    let temporary = temporary_beside(&target);
    let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    Ok(Replacement { file, place: Place::Named { temporary, target } })
}

/// Returns the parent folder of `target`, or `target` itself if it has none, as `/` does.
fn folder_of(target: &Path) -> &Path {
    target.parent().unwrap_or(target)
}

/// Returns a name that no other file has: it contains the process ID and a number that is used once.
fn temporary_beside(target: &Path) -> PathBuf {
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    folder_of(target).join(format!(".echod-{}-{number}.part", process::id()))
}

/// Creates a file without a name in the folder of `target`; `None` if the file system has no such
/// files.
#[cfg(target_os = "linux")]
fn nameless_beside(target: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::io::retry_on_intr;
    // `give_name` reaches the file through this folder.
    if !Path::new("/proc/self/fd").exists() {
        return None;
    }
    const FLAGS: OFlags = OFlags::TMPFILE.union(OFlags::WRONLY).union(OFlags::CLOEXEC);
    let file = retry_on_intr(|| open(folder_of(target), FLAGS, Mode::from_raw_mode(0o666)));
    file.ok().map(File::from)
}

/// Gives a name to a file without one.
#[cfg(target_os = "linux")]
fn give_name(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, own, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}
