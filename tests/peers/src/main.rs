//! Measures our echo server beside tokio's, smol's, monoio's (on epoll) and a raw mio loop.
//!
//! ```text
//! cargo run --release -p peers                    messages per second, as ratios to ours
//! cargo run --release -p peers -- instructions    user instructions per message (needs valgrind)
//! cargo run --release -p peers -- files [FOLDER]  cached files, as ratios to std::fs
//! cargo run --release -p peers -- http [CELL]     HTTP/1, HTTP/2, HTTPS and WebSocket below hyper
//! cargo run --release -p peers -- http-instructions [CELL]   the same, instructions per request
//! ```
//!
//! All run in one go, interleaved, the server on one core and the load on another; each figure is
//! the median of several rounds. Absolute times mean little on a small machine, ratios do.

mod files;
mod http;
mod load;
mod servers;

use std::io::{BufRead, BufReader, Error, Read, Result};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, process};

use load::Workload;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::thread::{CpuSet, sched_setaffinity};
use servers::SERVERS;

/// The environment variable that makes this program one of the servers.
const SERVER: &str = "PEERS_SERVER";

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(500);

const WORKLOADS: [Workload; 4] = [
    Workload { name: "1 connection, 64 B", connections: 1, bytes: 64 },
    Workload { name: "50 connections, 1 KiB", connections: 50, bytes: 1024 },
    Workload { name: "1000 connections, 64 B", connections: 1000, bytes: 64 },
    Workload { name: "10 connections, 64 KiB", connections: 10, bytes: 64 * 1024 },
];

fn main() -> Result<()> {
    if let Ok(name) = env::var(SERVER) {
        if let Some(result) = http::serve(&name) {
            return result;
        }
        let server = SERVERS.iter().find(|(server, _)| *server == name);
        return server.ok_or_else(|| Error::other(format!("{SERVER} names no server")))?.1();
    }
    let filter = || env::args().nth(2).unwrap_or_default();
    match env::args().nth(1).as_deref() {
        None => throughput(),
        Some("instructions") => instructions(),
        Some("files") => files::compare(env::args().nth(2)),
        Some("http") => http::throughput(&filter()),
        Some("http-instructions") => http::instructions(&filter()),
        Some(other) => {
            eprintln!(
                "peers: {other}: no such measurement; there are `instructions`, `files`, `http` \
                 and `http-instructions`"
            );
            process::exit(2);
        }
    }
}

fn throughput() -> Result<()> {
    print!("{:24}", "messages/s, median");
    SERVERS.iter().for_each(|(name, _)| print!("{name:>16}"));
    println!();
    for workload in WORKLOADS {
        let mut rates = [const { Vec::new() }; SERVERS.len()];
        for _ in 0..ROUNDS {
            for ((name, _), rates) in SERVERS.iter().zip(&mut rates) {
                let server = Server::start(Command::new(env::current_exe()?), name)?;
                rates.push(workload.connect(server.address)?.messages_per_second(ROUND)?);
            }
        }
        let medians = rates.map(median);
        print!("{:24}", workload.name);
        medians.iter().for_each(|rate| print!("{rate:>9.0} {:>5.2}x", rate / medians[0]));
        println!();
    }
    Ok(())
}

/// Counts with callgrind: one run with few messages, one with many, and the difference between.
fn instructions() -> Result<()> {
    let workload = Workload { name: "", connections: 50, bytes: 1024 };
    let (few, many) = (20, 220);
    println!("user instructions per message, 50 connections, 1 KiB");
    for (name, _) in SERVERS {
        let count = |batches| -> Result<u64> {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
            valgrind.arg(env::current_exe()?).stderr(Stdio::piped());
            let server = Server::start(valgrind, name)?;
            let load = workload.connect(server.address)?;
            load.exchange_in_batches(batches, |run| server.run(run))?;
            server.instructions()
        };
        let messages = (many - few) * workload.connections;
        println!("{name:8} {:>8}", (count(many)? - count(few)?) / messages as u64);
    }
    Ok(())
}

/// A server in a process of its own, on a core of its own; killed when dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(mut command: Command, name: &str) -> Result<Server> {
        // A child inherits the core of its parent.
        pin_to(0)?;
        let started = command.env(SERVER, name).stdout(Stdio::piped()).spawn();
        pin_to(1)?;
        let mut process = started?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or_else(|| Error::other("no output"))?)
            .read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening ").unwrap_or_default();
        let address = address.parse().map_err(Error::other)?;
        Ok(Server { process, address })
    }

    /// Stops the server while the load sends, so that it finds all messages at once, and lets it
    /// run again: each batch is then the same work.
    fn run(&self, run: bool) -> Result<()> {
        let id = Pid::from_child(&self.process);
        kill_process(id, if run { Signal::CONT } else { Signal::STOP })?;
        if !run {
            waitpid(Some(id), WaitOptions::UNTRACED)?;
        }
        Ok(())
    }

    /// Ends the server, and reads what valgrind has counted.
    fn instructions(mut self) -> Result<u64> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let mut text = String::new();
        self.process
            .stderr
            .take()
            .map(|mut stderr| stderr.read_to_string(&mut text))
            .transpose()?;
        let count = text.lines().find_map(|line| line.split("Collected : ").nth(1)?.parse().ok());
        count.ok_or_else(|| Error::other(format!("valgrind says: {text}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn pin_to(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
