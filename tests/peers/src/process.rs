//! A server in a process of its own, and what the kernel and callgrind report about it.

use std::io::{BufRead, BufReader, Error, Read, Result};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The environment variable that turns this program into one of the servers.
pub(crate) const SERVER: &str = "PEERS_SERVER";

/// The core of the process that is measured, and the core of the load.
pub(crate) const MEASURED: usize = 0;
pub(crate) const LOAD: usize = 1;

/// A server in a process of its own, on a core of its own. Dropping it kills the process.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts this program as the server of that name.
    pub(crate) fn start(name: &str) -> Result<Server> {
        Server::start_with(Command::new(env::current_exe()?), name)
    }

    /// Starts a command that runs this program, for example under valgrind, as the server of that
    /// name.
    pub(crate) fn start_with(mut command: Command, name: &str) -> Result<Server> {
        command.env(SERVER, name).stdout(Stdio::piped());
        // A child inherits the core of its parent.
        pin_to(MEASURED)?;
        let started = command.spawn();
        pin_to(LOAD)?;
        let mut process = started?;
        let stdout = process.stdout.take().ok_or_else(|| Error::other("no output"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        // "listening ADDRESS" of the servers here, "listening tcp ADDRESS" of echod.
        let address = line.split_whitespace().last().unwrap_or_default();
        let address = address.parse().map_err(|_| Error::other(format!("{name} says: {line}")));
        match address {
            Ok(address) => Ok(Server { process, address }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// The CPU time that all threads of the server have used, in user code and in the kernel.
    ///
    /// The kernel counts in nanoseconds when a thread goes to sleep, so call this while no message
    /// is in flight.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        thread::sleep(Duration::from_millis(1));
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds = schedstat.split(' ').next().and_then(|first| first.parse().ok());
            sum += nanoseconds.unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }

    /// The bytes of user memory that belong to the server: heap, stacks and changed pages.
    pub(crate) fn memory(&self) -> Result<u64> {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let line = smaps.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kibibytes.ok_or_else(|| Error::other("smaps_rollup without Anonymous"))? * 1024)
    }

    /// Stops the server or lets it run again.
    ///
    /// If the server is stopped while the load sends, it finds all messages at once, and each
    /// batch is the same work.
    pub(crate) fn run(&self, run: bool) -> Result<()> {
        let id = Pid::from_child(&self.process);
        kill_process(id, if run { Signal::CONT } else { Signal::STOP })?;
        if !run {
            waitpid(Some(id), WaitOptions::UNTRACED)?;
        }
        Ok(())
    }

    /// Ends the server and returns what it, or valgrind around it, has written to standard error.
    pub(crate) fn end(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let mut text = String::new();
        if let Some(mut stderr) = self.process.stderr.take() {
            stderr.read_to_string(&mut text)?;
        }
        Ok(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Restricts this thread, and the threads and processes that it starts, to one core.
pub(crate) fn pin_to(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
