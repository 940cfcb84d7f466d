//! A server process that a test starts, and that is killed when the test ends.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tests::DEADLINE;
pub(crate) use tests::eventually;

use crate::process::is_stopped;

/// The path of the program.
pub(crate) const ECHOD: &str = env!("CARGO_BIN_EXE_echod");

/// A running server. Dropping it kills it, and fails the test if it ever panicked.
pub(crate) struct Server {
    child: Child,
    pub(crate) addresses: Vec<SocketAddr>,
    stdout: Captured,
    stderr: Captured,
}

/// The exit status and the output of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Server {
    /// Starts a server with these arguments, and waits until it listens. Adds a free port if the
    /// arguments contain no address.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(ECHOD);
        command.args(arguments);
        if !arguments.iter().any(|argument| is_address(argument)) {
            command.arg("127.0.0.1:0");
        }
        Server::start_command(command)
    }

    /// Starts a server with a command whose last arguments are those of `echod`.
    #[track_caller]
    pub(crate) fn start_command(command: Command) -> Server {
        let is_address = |argument: &&OsStr| argument.to_str().is_some_and(is_address);
        let listeners = command.get_args().filter(is_address).count();
        Server::spawn(command).listening(listeners)
    }

    /// Waits until the server listens on this many addresses.
    #[track_caller]
    pub(crate) fn listening(mut self, listeners: usize) -> Server {
        eventually("the server listens", || self.stdout.get().lines().count() >= listeners);
        let address = |line: &str| {
            let address = line.strip_prefix("listening tcp ")?;
            Some(address.parse().expect("`listening tcp ADDR`"))
        };
        self.addresses = self.stdout.get().lines().take(listeners).filter_map(address).collect();
        self
    }

    /// Returns the address in the first line `listening KIND ADDRESS`.
    #[track_caller]
    pub(crate) fn address(&self, kind: &str) -> String {
        let (stdout, prefix) = (self.stdout.get(), format!("listening {kind} "));
        let address = stdout.lines().find_map(|line| line.strip_prefix(&prefix));
        address.unwrap_or_else(|| panic!("no {prefix}in {stdout}")).to_owned()
    }

    /// Runs a command and captures its output. Does not wait until the server listens.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Server {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Server::spawn_uncaptured(command)
    }

    /// Runs a command without capturing its output.
    #[track_caller]
    pub(crate) fn spawn_uncaptured(mut command: Command) -> Server {
        command.stdin(Stdio::null());
        Server::spawn_command(command)
    }

    /// Runs a command that inherits a socket as standard input, and captures its output.
    #[track_caller]
    pub(crate) fn spawn_with(mut command: Command, socket: impl Into<OwnedFd>) -> Server {
        command.stdin(socket.into()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Server::spawn_command(command)
    }

    #[track_caller]
    fn spawn_command(mut command: Command) -> Server {
        // In some tests, the clients and the server need thousands of descriptors.
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("a limit may be raised to its maximum");
        if !command.get_envs().any(|(name, _)| name == "RUST_LOG") {
            command.env_remove("RUST_LOG");
        }
        // A shell warns of a locale that is not installed, and tests parse the messages of tools.
        command.env("LC_ALL", "C");
        let mut child = command.spawn().expect("echod starts");
        let stdout = child.stdout.take().map(Captured::from).unwrap_or_default();
        let stderr = child.stderr.take().map(Captured::from).unwrap_or_default();
        Server { child, addresses: Vec::new(), stdout, stderr }
    }

    /// Runs `echod` until it exits.
    #[track_caller]
    pub(crate) fn run(arguments: &[&str]) -> Ended {
        let mut command = Command::new(ECHOD);
        command.args(arguments);
        Server::spawn(command).wait()
    }

    /// Connects to the first listener. All operations have a deadline.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addresses[0])
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server runs");
    }

    /// The standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.get()
    }

    /// The standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.get()
    }

    /// Stops the server until SIGCONT. It then finds everything that happened in the meantime at
    /// the same time.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        eventually("the server is stopped", || is_stopped(self.pid()));
    }

    /// Returns whether the process has exited.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until the process exits.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        eventually("the server ends", || self.has_ended());
        let status = self.child.wait().expect("the child can be waited for");
        Ended { status, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let stderr = self.stderr.all();
        if thread::panicking() {
            let tail: Vec<&str> = stderr.lines().rev().take(20).collect();
            eprintln!("the last lines of the server's standard error: {tail:#?}");
        } else {
            assert!(!stderr.contains("panicked"), "the server panicked: {stderr}");
        }
    }
}

/// The text that a thread has read from a pipe.
#[derive(Default)]
struct Captured {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn from(pipe: impl Read + Send + 'static) -> Captured {
        let text = Arc::new(Mutex::new(String::new()));
        let captured = text.clone();
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                captured.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Captured { text, reader: Some(reader) }
    }

    fn get(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits until the writer has closed the pipe, and returns the whole text.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading a pipe does not panic");
        }
        self.get()
    }
}

fn is_address(argument: &str) -> bool {
    let kinds = ["udp:", "unix:", "fd:"];
    argument.parse::<SocketAddr>().is_ok() || kinds.iter().any(|kind| argument.starts_with(kind))
}

/// Returns a permit for a test that needs many connections. Only one test at a time has one,
/// because together they would need more descriptors than many systems give to a process.
///
/// If a process may not have this many descriptors, prints that the test is skipped and returns
/// `None`.
pub(crate) fn many_connections(connections: u64) -> Option<MutexGuard<'static, ()>> {
    static ALONE: Mutex<()> = Mutex::new(());
    // 500 more for the other tests of this process.
    let needed = connections + 500;
    if getrlimit(Resource::Nofile).maximum.is_some_and(|most| most < needed) {
        println!("skipped: no process may have {needed} descriptors (ulimit -n)");
        return None;
    }
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Connects to an address. All operations on the connection have a deadline.
#[track_caller]
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Calls `act` repeatedly on several threads, until the returned handle is dropped.
pub(crate) fn flood(act: impl Fn() + Clone + Send + 'static) -> Arc<()> {
    let handle = Arc::new(());
    for _ in 0..8 {
        let (act, handle) = (act.clone(), Arc::downgrade(&handle));
        thread::spawn(move || {
            while handle.strong_count() > 0 {
                act();
            }
        });
    }
    handle
}
