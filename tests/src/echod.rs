//! An `echod` process that a program of this package runs and measures.

use std::fs::{self, File};
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use socket2::SockAddr;

use crate::child::binary;
use crate::{DEADLINE, TempDir, named_folder};

/// The program, which is built if necessary.
pub static ECHOD: LazyLock<PathBuf> = LazyLock::new(|| binary("echo", "echod"));

/// A server. Its output goes to files, so that it can be read at any time and never fills a pipe.
/// Dropping the server kills it.
#[derive(Debug)]
pub struct Echod {
    child: Child,
    folder: TempDir,
}

/// What a server has printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// The lines `listening …`.
    pub stdout: String,
    /// The log and the errors.
    pub stderr: String,
}

impl Echod {
    /// Starts a server with these arguments, and waits until it listens on its first address.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot be started, ends, or does not listen within the
    /// deadline.
    pub fn start(arguments: &[&str]) -> Result<Echod> {
        let mut command = Command::new(&*ECHOD);
        command.args(arguments);
        let mut server = Echod::spawn(command)?;
        match server.wait_until(DEADLINE, |server| server.tcp().is_ok())? {
            None => Ok(server),
            Some(status) => Err(Error::other(format!("{status}: {}", server.output()?.stderr))),
        }
    }

    /// Runs a command that becomes a server.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot be started.
    pub fn spawn(command: Command) -> Result<Echod> {
        Echod::spawn_in(named_folder("echod-"), command)
    }

    /// Like [`spawn`](Echod::spawn), with the folder for the files `stdout` and `stderr`.
    ///
    /// # Errors
    ///
    /// Returns an error if the process cannot be started.
    pub fn spawn_in(folder: TempDir, mut command: Command) -> Result<Echod> {
        let file = |name| File::create(folder.path().join(name));
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
        let child = command.stdout(file("stdout")?).stderr(file("stderr")?).spawn()?;
        Ok(Echod { child, folder })
    }

    /// Returns the ID of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the folder with the files `stdout` and `stderr`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the address of the first TCP listener.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not listen on one yet.
    pub fn tcp(&self) -> Result<SockAddr> {
        Ok(self.address("tcp")?.into())
    }

    /// Returns the address of the first socket of this kind: `tcp` or `udp`.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not listen on one yet.
    pub fn address(&self, kind: &str) -> Result<SocketAddr> {
        let (stdout, prefix) = (self.output()?.stdout, format!("listening {kind} "));
        let address = stdout.lines().find_map(|line| line.strip_prefix(&prefix)?.parse().ok());
        address.ok_or_else(|| Error::other(format!("no {prefix}in {stdout:?}")))
    }

    /// Returns what the server has printed so far.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be read.
    pub fn output(&self) -> Result<Output> {
        let read = |name| fs::read(self.folder.path().join(name));
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { stdout: text(read("stdout")?), stderr: text(read("stderr")?) })
    }

    /// Sends a signal to the server.
    ///
    /// # Errors
    ///
    /// Returns an error if the server has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits until the condition holds or the server ends. Returns the exit status if it ended.
    ///
    /// # Errors
    ///
    /// Returns an error if neither happens within `deadline`.
    pub fn wait_until(
        &mut self,
        deadline: Duration,
        condition: impl Fn(&Echod) -> bool,
    ) -> Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if condition(self) {
                return Ok(None);
            }
            if begin.elapsed() > deadline {
                return Err(Error::other(format!("no change of the server in {deadline:?}")));
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Stops the server with SIGTERM, and waits until it ends. On a busy machine, a server may need
    /// long to write its recording.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not end within three times the deadline.
    pub fn stop(mut self) -> Result<(ExitStatus, Output)> {
        self.signal(Signal::TERM)?;
        let status = self.wait_until(3 * DEADLINE, |_| false)?;
        let status = status.ok_or_else(|| Error::other("the server runs on"))?;
        Ok((status, self.output()?))
    }
}

impl Drop for Echod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
