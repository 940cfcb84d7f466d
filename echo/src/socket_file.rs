//! The file of a Unix socket: binding to it, replacing a stale one, and removing it at the end.
//!
//! A server that is killed leaves its socket file behind, so the next one has to replace it. Two
//! servers that find the same stale file would both replace it, and the first of them would listen
//! on a socket that no client can reach. Likewise, a server that stops could remove the file of its
//! successor. Therefore a server locks `path.lock`, beside the socket file, before it looks at the
//! socket file, and holds that lock until it has removed the socket file. The kernel releases the
//! lock of a process that is killed.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use log::warn;
use reactor::net::{UnixListener, UnixStream};
use reactor::time::{sleep, timeout};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::{Errno, retry_on_intr};

/// How long to wait for a connection before concluding that a server is there, with a full backlog.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long to wait for a lock whose owner does not accept connections, because it is starting or
/// stopping.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two attempts to get the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How often to start over because the lock file was removed while we were locking it.
const LOCK_ATTEMPTS: usize = 100;

/// The file of a Unix socket of this server. Dropping it removes the file, if it is still ours, and
/// then releases the lock.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// `None` if the file was removed before its metadata could be read.
    identity: Option<Identity>,
    /// `None` if the path cannot be locked. Dropped after the file has been removed.
    _lock: Option<Lock>,
}

/// Binds a listener to `path`, and replaces a stale socket file there.
pub(crate) async fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let lock = match lock(path).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
        lock => lock,
    };
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path, error, &lock).await?;
            UnixListener::bind(path)
        }
        bound => bound,
    }?;
    let identity = fs::symlink_metadata(path).ok().map(|metadata| Identity::of(&metadata));
    // Absolute, because the server may change its working directory before it removes the file.
    let path = path::absolute(path)?;
    // Without a lock, binding to a free path is safe: the kernel lets only one process do it.
    Ok((listener, SocketFile { path, identity, _lock: lock.ok() }))
}

/// Takes the lock of `path`. If the owner is starting or stopping, waits for it.
///
/// # Errors
///
/// Returns `AddrInUse` if another server has the lock. Any other error means that no server can take
/// it, e.g. because a security policy or the file system forbids it.
async fn lock(path: &Path) -> io::Result<Lock> {
    let taking = async {
        loop {
            match Lock::take(path) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if server_answers(path).await? {
                        return Err(Errno::ADDRINUSE.into());
                    }
                    sleep(LOCK_PAUSE).await;
                }
                taken => return taken,
            }
        }
    };
    timeout(LOCK_PATIENCE, taking).await.unwrap_or_else(|_| Err(Errno::ADDRINUSE.into()))
}

/// Removes a stale socket file, and no other file.
async fn remove_stale(path: &Path, in_use: io::Error, lock: &io::Result<Lock>) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "the existing file is not a socket"));
    }
    if server_answers(path).await? {
        return Err(in_use);
    }
    if let Err(error) = lock {
        let lock = Lock::path(path);
        let lock = lock.display();
        let text = format!("the socket file is stale, but {lock} cannot be locked: {error}");
        return Err(io::Error::new(ErrorKind::AlreadyExists, text));
    }
    warn!("removing stale socket file {}: connection refused", path.display());
    fs::remove_file(path)
}

/// Returns whether a process has the socket open.
///
/// Only a refused connection, or a missing file, proves that no process has. A connection attempt to
/// a datagram socket or to a listener with a full backlog fails in another way, although a process
/// has the socket open. If this process may not connect to the file, the error is returned.
async fn server_answers(path: &Path) -> io::Result<bool> {
    match timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        Ok(Err(error)) => {
            Ok(!matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound))
        }
        Ok(Ok(_)) | Err(_) => Ok(true),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).ok();
        let found = found.map(|metadata| Identity::of(&metadata));
        // Another program may have replaced the file without taking the lock.
        if self.identity.is_some() && found == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Identifies a file, independently of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// Seconds and nanoseconds of the last change of the content, for a socket its creation. A new
    /// file may get the inode number of a removed one.
    modified: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Identity { device: metadata.dev(), inode: metadata.ino(), modified }
    }
}

/// An exclusive lock on the path of a socket: an `flock` on the file `path.lock`.
struct Lock {
    path: PathBuf,
    /// Closing it releases the lock.
    file: File,
}

impl Lock {
    /// Returns the path of the lock file of a socket.
    fn path(socket: &Path) -> PathBuf {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        path.into()
    }

    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// Returns `WouldBlock` if another process, or another socket of this process, holds the lock.
    /// Returns the error of the `open` or the `flock` system call otherwise.
    fn take(socket: &Path) -> io::Result<Lock> {
        let path = Lock::path(socket);
        // `NOFOLLOW` rejects a symbolic link. `NONBLOCK` avoids waiting if the file is a pipe.
        const FLAGS: OFlags =
            OFlags::CREATE.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
        for _ in 0..LOCK_ATTEMPTS {
            // A network file system can be interrupted even if the call does not wait for a lock.
            let file = retry_on_intr(|| open(&path, FLAGS, Mode::from_raw_mode(0o600)))?;
            retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive))?;
            let file = File::from(file);
            let lock = Lock { path: path.clone(), file };
            // The previous owner removes the file before it releases the lock. If we opened the
            // file before that, we have locked a file that no other server will find.
            if lock.is_current() {
                return Ok(lock);
            }
        }
        Err(io::Error::other("the lock file was removed before each attempt to lock it"))
    }

    /// Returns whether the locked file is the file that another server finds at the path.
    fn is_current(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        match (found, self.file.metadata()) {
            (Ok(found), Ok(ours)) => Identity::of(&found) == Identity::of(&ours),
            _ => false,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_current() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::{cases, folder, place, within_deadline};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use reactor::time::pause;
    use rustix::fs::{CWD, FileType, mknodat};
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;
    use std::os::unix::net;

    /// The parts of a path below the folder of [`binding_any_path_leaves_other_files_unchanged`].
    fn path() -> impl Strategy<Value = String> {
        let long = "x".repeat(60);
        let parts = [
            "new",
            "file",
            "stale",
            "live",
            "inside",
            "dangling",
            "loop",
            "missing",
            ".",
            "",
            "\0",
            "\n",
            "é\u{202e}",
            "stale.lock",
            &long,
        ];
        let parts = parts.map(str::to_owned).to_vec();
        let part = prop_oneof![9 => select(parts), 1 => "[^/]*"];
        vec(part, 0..4).prop_map(|parts| parts.join("/"))
    }

    /// The paths of all files below a folder.
    fn files(folder: &Path) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                found.extend(files(&entry.path()));
            }
            found.insert(entry.path());
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(100), failure_persistence: None, ..ProptestConfig::default() })]

        // Method: a folder with every kind of file that may be there before.
        #[test]
        fn binding_any_path_leaves_other_files_unchanged(path in path()) {
            let folder = folder();
            let at = |name: &str| folder.path().join(name);
            fs::create_dir(at("inside")).unwrap();
            fs::write(at("file"), "content").unwrap();
            symlink("nowhere", at("dangling")).unwrap();
            symlink("loop", at("loop")).unwrap();
            drop(net::UnixListener::bind(at("stale")).unwrap());
            let _live = net::UnixListener::bind(at("live")).unwrap();
            let before = files(folder.path());
            // Not `join`, because an absolute path would lead out of the folder.
            let path = PathBuf::from(format!("{}/{path}", folder.path().display()));
            executor::block_on(async {
                match bind(&path).await {
                    Ok((_listener, file)) => {
                        net::UnixStream::connect(&path).unwrap();
                        drop(file);
                        let left = before.iter().filter(|known| !known.ends_with("stale"));
                        assert!(left.eq(files(folder.path()).iter().filter(|known| !known.ends_with("stale"))));
                        assert!(fs::symlink_metadata(&path).is_err());
                    }
                    Err(_) => assert_eq!(files(folder.path()), before),
                }
            });
            assert_eq!(fs::read(at("file")).unwrap(), b"content");
            net::UnixStream::connect(at("live")).unwrap();
        }
    }

    #[test]
    fn lock_is_exclusive_until_it_is_dropped() {
        let socket = place();
        let lock = Lock::take(&socket).unwrap();
        assert_eq!(Lock::take(&socket).err().unwrap().kind(), ErrorKind::WouldBlock);
        drop(lock);
        assert!(!Lock::path(&socket).exists());
        drop(Lock::take(&socket).unwrap());
    }

    // The owner of the lock is about to listen, or has just stopped.
    #[test]
    fn locked_path_without_a_listener_is_in_use_after_a_timeout() {
        let _clock = pause();
        let socket = place();
        let _lock = Lock::take(&socket).unwrap();
        let bound = executor::block_on(bind(&socket));
        assert_eq!(bound.err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));
        assert!(!socket.exists());
    }

    #[test]
    fn symlink_in_place_of_a_lock_file_is_not_followed() {
        let socket = place();
        symlink("elsewhere", Lock::path(&socket)).unwrap();
        assert!(Lock::take(&socket).is_err());
        assert!(!socket.with_file_name("elsewhere").exists());
    }

    #[test]
    fn pipe_in_place_of_a_lock_file_does_not_block() {
        within_deadline(|| {
            let socket = place();
            let mode = Mode::from_raw_mode(0o600);
            mknodat(CWD, Lock::path(&socket), FileType::Fifo, mode, 0).unwrap();
            drop(Lock::take(&socket).unwrap());
        });
    }

    #[test]
    fn lock_file_of_a_killed_process_is_locked_again() {
        let socket = place();
        fs::write(Lock::path(&socket), "").unwrap();
        let lock = Lock::take(&socket).unwrap();
        drop(lock);
        assert!(!Lock::path(&socket).exists());
    }

    #[test]
    fn lock_of_a_removed_file_is_not_current() {
        let socket = place();
        let lock = Lock::take(&socket).unwrap();
        fs::remove_file(Lock::path(&socket)).unwrap();
        assert!(!lock.is_current());
        let next = Lock::take(&socket).unwrap();
        drop(lock);
        assert!(next.is_current(), "dropping a stale lock leaves the current file");
    }
}
