//! Measures how much it costs to record a run.
//!
//! ```text
//! cargo build --release -p echo && cargo run --release -p tests --example recorded
//! ```
//!
//! Two servers run on one core, one of them with `--trace`, and the load runs on another core. The
//! servers take turns for ten seconds each, in slices of half a second. There are two loads: small
//! messages, where the client sends the next message after the echo of the last, and a flood of
//! bytes. The client checks every byte of the echo. The output is the medians, the median of the
//! ratios of adjacent slices, and the peak memory of each server.

use std::env;
use std::fs;
use std::io::{Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::id;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use tests::echod::Echod;
use tests::process::peak;

const SLICE: Duration = Duration::from_millis(500);
const SLICES: usize = 20;
const MESSAGE: usize = 64;
const CHUNK: usize = 1 << 16;

fn main() -> Result<()> {
    let folder = env::temp_dir().join(format!("recorded-{}", id()));
    fs::create_dir_all(&folder)?;
    let trace = folder.join("run.jsonl");
    let measured = measure(&trace);
    let written = fs::metadata(&trace).map_or(0, |file| file.len());
    println!("size of the recording: {} KiB", written >> 10);
    fs::remove_dir_all(&folder)?;
    measured
}

fn measure(trace: &Path) -> Result<()> {
    pin(0)?;
    let trace = trace.to_str().expect("a temporary folder with a plain name");
    let plain = Echod::start(&["-q", "127.0.0.1:0"])?;
    let recorded = Echod::start(&["-q", "--trace", trace, "127.0.0.1:0"])?;
    pin(1)?;
    compare("messages/s, one at a time", &plain, &recorded, 1.0, messages)?;
    compare("MB/s, as many as possible", &plain, &recorded, 1e6, flood)?;
    let [without, with] = [&plain, &recorded].map(|server| peak(server.pid()) >> 10);
    println!("peak memory: {without} KiB without, {with} KiB with --trace");
    for server in [recorded, plain] {
        let (status, _) = server.stop()?;
        assert!(status.success(), "{status}");
    }
    Ok(())
}

/// Alternates slices with the plain and the recorded server, and swaps their order each time.
fn compare(
    what: &str,
    plain: &Echod,
    recorded: &Echod,
    unit: f64,
    slice: fn(SocketAddr) -> Result<u64>,
) -> Result<()> {
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..SLICES {
        let (a, b) = if number % 2 == 0 {
            let a = rate(slice, plain)?;
            (a, rate(slice, recorded)?)
        } else {
            let b = rate(slice, recorded)?;
            (rate(slice, plain)?, b)
        };
        without.push(a / unit);
        with.push(b / unit);
        ratios.push(b / a);
    }
    let [without, with, ratio] = [without, with, ratios].map(median);
    println!("{what}: {without:.0} without, {with:.0} with --trace: {:.1} %", ratio * 100.0);
    Ok(())
}

fn rate(slice: fn(SocketAddr) -> Result<u64>, server: &Echod) -> Result<f64> {
    let began = Instant::now();
    let number = slice(server.address("tcp")?)?;
    Ok(number as f64 / began.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the number of messages that came back in one slice.
fn messages(address: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < SLICE {
        let message = [number as u8; MESSAGE];
        stream.write_all(&message)?;
        let mut back = [0; MESSAGE];
        stream.read_exact(&mut back)?;
        assert_eq!(back, message, "message {number}");
        number += 1;
    }
    Ok(number)
}

/// Returns the number of bytes that came back in one slice.
fn flood(address: SocketAddr) -> Result<u64> {
    let stream = TcpStream::connect(address)?;
    let mut sender = stream.try_clone()?;
    let sending = thread::spawn(move || -> Result<u64> {
        let began = Instant::now();
        let mut sent = 0;
        while began.elapsed() < SLICE {
            sender.write_all(&pattern(sent))?;
            sent += CHUNK as u64;
        }
        sender.shutdown(Shutdown::Write)?;
        Ok(sent)
    });
    let mut receiver = stream;
    let (mut back, mut received) = (vec![0; CHUNK], 0);
    while receiver.read_exact(&mut back).is_ok() {
        assert!(back == pattern(received), "bytes after {received}");
        received += CHUNK as u64;
    }
    let sent = sending.join().expect("sending does not panic")?;
    assert_eq!(received, sent, "bytes that came back");
    Ok(received)
}

/// Returns the chunk of the flood at this offset. Adjacent chunks differ.
fn pattern(at: u64) -> Vec<u8> {
    vec![(at / CHUNK as u64 % 251) as u8; CHUNK]
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
