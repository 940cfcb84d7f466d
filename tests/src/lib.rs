//! What the tests share: a deadline on all that can hang, sockets on the loopback, wakers that
//! count, the records that the runtime emits, and comparisons of what programs print.
//!
//! The fifteen questions, and all promises with their tests, are in [the last
//! chapter](../../../tests/README.md) of the guide.

pub mod child;
pub mod not_send;
pub mod records;
pub mod transcript;
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

/// How long a test may take before it counts as hanging.
///
/// Far beyond what any of them needs, also on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test on a thread of its own, and fails it if it hangs.
///
/// # Panics
///
/// With the panic of `test`, or when [`DEADLINE`] has passed.
#[track_caller]
pub fn within_deadline<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    // Named as the test, so that its panic is told under that name.
    let name = thread::current().name().unwrap_or("test").to_owned();
    let body = move || drop(sender.send(catch_unwind(AssertUnwindSafe(test))));
    thread::Builder::new().name(name).spawn(body).expect("a thread for the test");
    let result: Result<Result<T, Box<dyn Any + Send>>, _> = receiver.recv_timeout(DEADLINE);
    match result {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => panic!("the test hangs"),
        Err(RecvTimeoutError::Disconnected) => panic!("the test's thread has gone"),
    }
}

/// Runs an async test with [`executor::block_on`], within the deadline.
///
/// # Panics
///
/// As [`within_deadline`].
#[track_caller]
pub fn run<F>(test: impl FnOnce() -> F + Send + 'static) -> F::Output
where
    F: Future,
    F::Output: Send + 'static,
{
    within_deadline(|| executor::block_on(test()))
}

/// Two ends of one TCP connection over the loopback.
///
/// # Errors
///
/// What the system says.
pub async fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    Ok((client, server))
}

/// One end for the runtime, and the other as std's blocking socket, for a peer from outside.
///
/// # Errors
///
/// What the system says.
pub async fn tcp_pair_with_std() -> io::Result<(TcpStream, std::net::TcpStream)> {
    let (ours, theirs) = tcp_pair().await?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    Ok((ours, theirs))
}

/// Turns a reactor by hand until `condition` holds.
///
/// # Panics
///
/// When it has not after [`DEADLINE`].
#[track_caller]
pub fn turn_until(reactor: &Reactor, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "the reactor does not bring it about");
        reactor.turn(Some(Duration::from_millis(20))).expect("a turn");
    }
}

/// Lets all other tasks run until `condition` holds.
///
/// # Panics
///
/// When it has not after [`DEADLINE`].
pub async fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "it does not come about");
        executor::yield_now().await;
    }
}

/// Waits on this thread until a condition holds; `what` names the condition.
///
/// # Panics
///
/// Panics if the condition does not hold after [`DEADLINE`].
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waiting in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Two ends of one TCP connection over the loopback, both std's and non-blocking.
///
/// # Errors
///
/// What the system says.
pub fn std_pair() -> io::Result<(std::net::TcpStream, std::net::TcpStream)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let client = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nonblocking(true)?;
    server.set_nonblocking(true)?;
    Ok((client, server))
}

/// A folder of the test's own, removed with all that is in it when this is dropped.
///
/// It is among the temporary files; or in `/tmp`, if the name of their place is too long for the
/// path of a socket, which may have a hundred bytes or so.
///
/// # Panics
///
/// If the system refuses to make it.
pub fn folder() -> TempDir {
    named_folder("test-")
}

/// A path that nobody else uses, in a [`folder`] of its own, which goes with it.
///
/// Nothing is there yet.
///
/// # Panics
///
/// As [`folder`].
pub fn place() -> Place {
    let folder = folder();
    Place { path: folder.path().join("place"), _folder: folder }
}

/// A path of a test's own, made by [`place`].
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
    let place = env::temp_dir();
    let place = if place.as_os_str().len() <= LONGEST { place } else { "/tmp".into() };
    Builder::new().prefix(prefix).tempdir_in(place).expect("a folder for the test")
}

/// A pipe that holds 64 KiB.
///
/// The system gives smaller ones to a user who has very many, and larger ones where its pages are
/// larger; if it gives no other, this says that the test is skipped.
///
/// # Panics
///
/// If there is none at all.
pub fn pipe_of_64_kib() -> Option<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe().expect("a pipe");
    match fcntl_setpipe_size(&writer, 1 << 16) {
        Ok(size) if size == 1 << 16 => Some((reader, writer)),
        other => {
            println!("skipped: this user gets no pipe of 64 KiB: {other:?}");
            None
        }
    }
}

/// Opens a pseudo-terminal. Returns the side of the person and the side of the programs.
///
/// If the system has no pseudo-terminals, prints that the test is skipped, and returns `None`.
///
/// # Panics
///
/// Panics if the system opens a pseudo-terminal, but cannot set it up.
pub fn terminal() -> Option<(File, File)> {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
    let person = person.inspect_err(|error| println!("skipped: no terminal: {error}")).ok()?;
    grantpt(&person).expect("access to the terminal");
    unlockpt(&person).expect("an open terminal");
    let name = ptsname(&person, Vec::new()).expect("the name of the terminal");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let programs = open(name.as_c_str(), flags, Mode::empty()).expect("the other side");
    Some((person.into(), programs.into()))
}

/// The data in a page of the recorder, which has all but words and code.
///
/// # Panics
///
/// If the page is not whole, or its data is no JSON.
#[track_caller]
pub fn page_data(page: &str) -> serde_json::Value {
    assert!(page.trim_end().ends_with("</html>"), "the page is whole");
    let (_, data) = page.split_once("id=\"data\">").expect("the page has data");
    let (data, _) = data.split_once("</script>").expect("they end");
    serde_json::from_str(data).expect("they are JSON")
}
