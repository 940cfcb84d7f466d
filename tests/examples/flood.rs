//! Measures how much one flooding connection delays a hundred other connections.
//!
//! ```text
//! cargo build --release -p echo && cargo run --release -p tests --example flood
//! ```
//!
//! The server runs on one core, and the load on another. A hundred polite connections alternate:
//! each sends a message of 64 bytes and waits for the echo. They are measured alone, and then
//! beside one connection that sends as much as it can and reads the echo. Each of three rounds
//! prints the 50th and the 99th percentile of the round trips. An optional argument is the path of
//! another echo server to measure.

use std::env;
use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

const POLITE: usize = 100;
const MESSAGES: usize = 10_000;
const PAUSE: Duration = Duration::from_micros(100);

fn main() -> Result<()> {
    let beside = env::current_exe()?.with_file_name("../echod");
    let echod = env::args_os().nth(1).unwrap_or(beside.into());
    pin(0)?;
    let mut server =
        Command::new(echod).args(["-q", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn()?;
    pin(1)?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line)?;
    let address = line.trim_end().rsplit(' ').next().unwrap().to_owned();

    let mut polite = Vec::new();
    for _ in 0..POLITE {
        let stream = TcpStream::connect(&address)?;
        stream.set_nodelay(true)?;
        polite.push(stream);
    }
    round_trips(&mut polite)?;
    for _ in 0..3 {
        let alone = round_trips(&mut polite)?;
        let flood = Flood::start(&address)?;
        let beside = round_trips(&mut polite)?;
        let rate = flood.stop();
        let ratio = beside.1.as_secs_f64() / alone.1.as_secs_f64();
        println!(
            "alone p50 {:?} p99 {:?} | beside a flood of {rate:.0} MB/s p50 {:?} p99 {:?} | {ratio:.1} times",
            alone.0, alone.1, beside.0, beside.1
        );
    }
    server.kill()
}

/// Returns the median and the 99th percentile of the round trips.
fn round_trips(polite: &mut [TcpStream]) -> Result<(Duration, Duration)> {
    let mut times = Vec::with_capacity(MESSAGES);
    for message in 0..MESSAGES {
        thread::sleep(PAUSE);
        let stream = &mut polite[message % POLITE];
        let before = Instant::now();
        stream.write_all(&[1; 64])?;
        stream.read_exact(&mut [0; 64])?;
        times.push(before.elapsed());
    }
    times.sort();
    Ok((times[MESSAGES / 2], times[MESSAGES * 99 / 100]))
}

struct Flood {
    stream: TcpStream,
    since: Instant,
    receiver: thread::JoinHandle<u64>,
}

impl Flood {
    fn start(address: &str) -> Result<Flood> {
        let stream = TcpStream::connect(address)?;
        let (mut sender, mut receiver) = (stream.try_clone()?, stream.try_clone()?);
        thread::spawn(move || {
            lower_priority();
            while sender.write_all(&[7; 1 << 16]).is_ok() {}
        });
        let receiver = thread::spawn(move || {
            lower_priority();
            let (mut bytes, mut total) = (vec![0; 1 << 16], 0);
            while let Ok(read @ 1..) = receiver.read(&mut bytes) {
                total += read as u64;
            }
            total
        });
        Ok(Flood { stream, since: Instant::now(), receiver })
    }

    /// Ends the flood, and returns its megabytes per second.
    fn stop(self) -> f64 {
        let _ = self.stream.shutdown(Shutdown::Both);
        let bytes = self.receiver.join().unwrap_or(0);
        bytes as f64 / self.since.elapsed().as_secs_f64() / 1e6
    }
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// Lowers the priority of this thread, so that it does not delay the polite clients on their core.
fn lower_priority() {
    let _ = setpriority_process(None, 19);
}
