//! An `echod` of the test's own, which ends with it.

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

/// The program.
pub(crate) const ECHOD: &str = env!("CARGO_BIN_EXE_echod");

/// A running server. Dropping it kills it, and fails the test if it ever panicked.
pub(crate) struct Server {
    child: Child,
    pub(crate) addresses: Vec<SocketAddr>,
    stdout: Heard,
    stderr: Heard,
}

/// What a process said before it ended, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Server {
    /// Starts a server with these arguments, at a free port if they name no address, and waits
    /// until it listens.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let mut command = Command::new(ECHOD);
        command.args(arguments);
        if !arguments.iter().any(|argument| is_address(argument)) {
            command.arg("127.0.0.1:0");
        }
        Server::start_command(command)
    }

    /// Starts a server by a command that ends in an argument list of `echod`.
    #[track_caller]
    pub(crate) fn start_command(command: Command) -> Server {
        let is_address = |argument: &&OsStr| argument.to_str().is_some_and(is_address);
        let listeners = command.get_args().filter(is_address).count();
        Server::spawn(command).listening(listeners)
    }

    /// Waits until it listens at so many addresses.
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

    /// What follows `listening KIND` in the first such line.
    #[track_caller]
    pub(crate) fn place(&self, kind: &str) -> String {
        let (stdout, told) = (self.stdout.get(), format!("listening {kind} "));
        let place = stdout.lines().find_map(|line| line.strip_prefix(&told));
        place.unwrap_or_else(|| panic!("no {told}in {stdout}")).to_owned()
    }

    /// Runs a command whose output is heard, and waits for nothing.
    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Server {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Server::spawn_unheard(command)
    }

    /// Runs a command that sends its output where it was told to.
    #[track_caller]
    pub(crate) fn spawn_unheard(mut command: Command) -> Server {
        command.stdin(Stdio::null());
        Server::spawn_as_told(command)
    }

    /// Runs a command that inherits a socket as standard input. Its output is heard.
    #[track_caller]
    pub(crate) fn spawn_with(mut command: Command, socket: impl Into<OwnedFd>) -> Server {
        command.stdin(socket.into()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Server::spawn_as_told(command)
    }

    #[track_caller]
    fn spawn_as_told(mut command: Command) -> Server {
        // The clients and the server have thousands of descriptors in some tests.
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("a limit may be raised to its maximum");
        if !command.get_envs().any(|(name, _)| name == "RUST_LOG") {
            command.env_remove("RUST_LOG");
        }
        // No locale: a shell complains of one that is not installed, and tests read what tools say.
        command.env("LC_ALL", "C");
        let mut child = command.spawn().expect("echod starts");
        let stdout = child.stdout.take().map(Heard::from).unwrap_or_default();
        let stderr = child.stderr.take().map(Heard::from).unwrap_or_default();
        Server { child, addresses: Vec::new(), stdout, stderr }
    }

    /// Runs `echod` to its end.
    #[track_caller]
    pub(crate) fn run(arguments: &[&str]) -> Ended {
        let mut command = Command::new(ECHOD);
        command.args(arguments);
        Server::spawn(command).wait()
    }

    /// A connection to the first listener. All that it does has a deadline.
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

    /// What it said on standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.get()
    }

    /// What it said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.get()
    }

    /// Stops it in its tracks, so that what happens next happens all at once for it, until
    /// SIGCONT.
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        eventually("the server is stopped", || is_stopped(self.pid()));
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        eventually("the server ends", || matches!(self.child.try_wait(), Ok(Some(_))));
        let status = self.child.wait().expect("it is our child");
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
            eprintln!("the server's last words: {tail:#?}");
        } else {
            assert!(!stderr.contains("panicked"), "the server panicked: {stderr}");
        }
    }
}

/// What came out of a pipe so far, read by a thread.
#[derive(Default)]
struct Heard {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Heard {
    fn from(pipe: impl Read + Send + 'static) -> Heard {
        let text = Arc::new(Mutex::new(String::new()));
        let heard = text.clone();
        let reader = thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                heard.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Heard { text, reader: Some(reader) }
    }

    fn get(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// All of it, when the writer has ended.
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

/// Permission to have so many connections at once, which one test has at a time: together they
/// would need more descriptors than many systems give to a process. Or `None`, if this one does not
/// give so many, and that is said.
pub(crate) fn crowd(connections: u64) -> Option<MutexGuard<'static, ()>> {
    static ALONE: Mutex<()> = Mutex::new(());
    // Beside those of the other tests.
    let needed = connections + 500;
    if getrlimit(Resource::Nofile).maximum.is_some_and(|most| most < needed) {
        println!("skipped: no process may have {needed} descriptors (ulimit -n)");
        return None;
    }
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A connection on which all that can hang has a deadline.
#[track_caller]
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Does something without a pause, on several threads, until what this returns is dropped.
pub(crate) fn flood(act: impl Fn() + Clone + Send + 'static) -> Arc<()> {
    let wanted = Arc::new(());
    for _ in 0..8 {
        let (act, still) = (act.clone(), Arc::downgrade(&wanted));
        thread::spawn(move || {
            while still.strong_count() > 0 {
                act();
            }
        });
    }
    wanted
}
