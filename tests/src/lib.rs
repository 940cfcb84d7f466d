//! What the tests share: a deadline for everything that can hang, loopback sockets, wakers that
//! count, a logger that captures the runtime's records, and comparisons of what programs print.
//!
//! `tests/README.md` lists the tests.

pub mod child;
pub mod client;
pub mod echod;
pub mod guide;
pub mod not_send;
pub mod process;
pub mod records;
pub mod transcript;
pub mod undone;
pub mod wakers;

use std::any::Any;
use std::env;
use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use reactor::Reactor;
use reactor::net::{TcpListener, TcpStream};
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::fcntl_setpipe_size;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tempfile::Builder;
pub use tempfile::TempDir;

/// Returns the number of random cases that a property test runs: `default`, unless the environment
/// variable `PROPTEST_CASES` says otherwise.
///
/// # Panics
///
/// Panics if the variable is not a number.
pub fn cases(default: u32) -> u32 {
    let cases = std::env::var("PROPTEST_CASES");
    cases.map_or(default, |cases| cases.parse().expect("PROPTEST_CASES is a number"))
}

/// How long a test may take before it counts as hanging.
///
/// Even on a busy machine, no test needs nearly as long.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test on another thread, and fails it if it hangs.
///
/// # Panics
///
/// Panics with the panic of `test`, or if `test` has not returned after [`DEADLINE`].
#[track_caller]
pub fn within_deadline<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    // The thread has the name of the test, so that a panic message names the test.
    let name = thread::current().name().unwrap_or("test").to_owned();
    let body = move || drop(sender.send(catch_unwind(AssertUnwindSafe(test))));
    thread::Builder::new().name(name).spawn(body).expect("the OS can start a thread");
    let result: Result<Result<T, Box<dyn Any + Send>>, _> = receiver.recv_timeout(DEADLINE);
    match result {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("the test hangs"),
        Err(RecvTimeoutError::Disconnected) => {
            panic!("the thread of the test has ended without a result")
        }
    }
}

/// Runs an async test with [`executor::block_on`], within the deadline.
///
/// # Panics
///
/// Panics in the same cases as [`within_deadline`].
#[track_caller]
pub fn run<F>(test: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F: Future,
    F::Output: Send + 'static,
{
    within_deadline(|| executor::block_on(test()))
}

/// Returns the client's and the server's end of a TCP connection over the loopback interface.
///
/// # Errors
///
/// Returns the error of the `bind`, `connect` or `accept` operation.
pub async fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    Ok((client, server))
}

/// Returns one end of a TCP connection for the runtime, and the other end as a blocking std socket.
///
/// # Errors
///
/// Returns the errors of [`tcp_pair`], and an error if the second end cannot be made blocking.
pub async fn tcp_pair_with_std() -> io::Result<(TcpStream, std::net::TcpStream)> {
    let (ours, theirs) = tcp_pair().await?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    Ok((ours, theirs))
}

/// Turns a reactor until `condition` holds.
///
/// # Panics
///
/// Panics if a turn fails, or if `condition` does not hold after [`DEADLINE`].
#[track_caller]
pub fn turn_until(reactor: &Reactor, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "the condition does not hold before the deadline");
        reactor.turn(Some(Duration::from_millis(20))).expect("the reactor can wait for events");
    }
}

/// Yields to other tasks until `condition` holds.
///
/// # Panics
///
/// Panics if `condition` does not hold after [`DEADLINE`].
pub async fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "the condition does not hold before the deadline");
        executor::yield_now().await;
    }
}

/// Blocks this thread until a condition holds. `what` names the condition.
///
/// # Panics
///
/// Panics if the condition does not hold after [`DEADLINE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "condition does not hold: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns both ends of a TCP connection over the loopback interface, as non-blocking std sockets.
///
/// # Errors
///
/// Returns the error of the `bind`, `connect`, `accept` or `set_nonblocking` operation.
pub fn std_pair() -> io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let client = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nonblocking(true)?;
    server.set_nonblocking(true)?;
    Ok((client, server))
}

/// Creates an empty folder for the test. Dropping the handle removes the folder and its contents.
///
/// The folder is in the directory for temporary files, or in `/tmp` if the path of that directory
/// is too long. The path of a Unix socket is limited to about a hundred bytes.
///
/// # Panics
///
/// Panics if the folder cannot be created.
pub fn folder() -> TempDir {
    named_folder("test-")
}

/// Returns a path that does not exist, in a new [`folder`]. Dropping the handle removes the folder.
///
/// # Panics
///
/// Panics in the same cases as [`folder`].
pub fn place() -> Place {
    let folder = folder();
    Place { path: folder.path().join("place"), _folder: folder }
}

/// A path for one test, created by [`place`].
pub struct Place {
    path: PathBuf,
    _folder: TempDir,
}

impl Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        self
    }
}

/// Returns a [`folder`] whose name begins with `prefix`.
///
/// # Panics
///
/// Panics if the folder cannot be created.
pub fn named_folder(prefix: &str) -> TempDir {
    const LONGEST: usize = 40;
    let parent = env::temp_dir();
    let parent = if parent.as_os_str().len() <= LONGEST { parent } else { "/tmp".into() };
    Builder::new().prefix(prefix).tempdir_in(parent).expect("a folder can be created")
}

/// Creates a pipe with a buffer of 64 KiB.
///
/// Linux gives smaller buffers to a user with very many pipes, and larger ones on machines with
/// larger pages. If the size cannot be set, prints that the test is skipped, and returns `None`.
///
/// # Panics
///
/// Panics if no pipe can be created.
pub fn pipe_of_64_kib() -> Option<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe().expect("a pipe can be created");
    match fcntl_setpipe_size(&writer, 1 << 16) {
        Ok(size) if size == 1 << 16 => Some((reader, writer)),
        other => {
            println!("skipped: cannot set a pipe to 64 KiB: {other:?}");
            None
        }
    }
}

/// Opens a pseudo-terminal. Returns the user's side and the programs' side.
///
/// If the system has no pseudo-terminals, prints that the test is skipped, and returns `None`.
///
/// # Panics
///
/// Panics if a pseudo-terminal can be opened but not set up.
pub fn terminal() -> Option<(File, File)> {
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
    let user = user
        .inspect_err(|error| println!("skipped: cannot open a pseudo-terminal: {error}"))
        .ok()?;
    grantpt(&user).expect("access can be granted");
    unlockpt(&user).expect("the terminal can be unlocked");
    let name = ptsname(&user, Vec::new()).expect("the terminal has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let programs =
        open(name.as_c_str(), flags, Mode::empty()).expect("the other side can be opened");
    Some((user.into(), programs.into()))
}

/// Returns the JSON data that a page of the recorder embeds.
///
/// # Panics
///
/// Panics if the page is incomplete, or its data is not JSON.
#[track_caller]
pub fn page_data(page: &str) -> serde_json::Value {
    assert!(page.trim_end().ends_with("</html>"), "the page is complete");
    let (_, data) = page.split_once("id=\"data\">").expect("the page contains data");
    let (data, _) = data.split_once("</script>").expect("the data has an end");
    serde_json::from_str(data).expect("the data is JSON")
}
