//! The clients. Each kind runs in a thread of its own until the load stops.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::SockAddr;
use tests::DEADLINE;
use tests::client::Client;

use crate::samples::Histogram;

/// A client, which runs until the load stops.
type Run = fn(&Load) -> Result<()>;

/// All kinds of clients.
pub(crate) const KINDS: [(&str, Run); 6] = [
    ("messages", messages),
    ("churn", churn),
    ("bulk", bulk),
    ("slow", slow),
    ("resetting", resetting),
    ("idle", idle),
];

/// What the clients share, and what they have done so far.
pub(crate) struct Load {
    address: SockAddr,
    /// The factor by which all pauses are multiplied.
    slower: u32,
    is_stopped: AtomicBool,
    failures: Mutex<Vec<String>>,
    pub(crate) connections: AtomicU64,
    /// Bytes that came back.
    pub(crate) bytes: AtomicU64,
    /// The round trips of [`messages`] since the last sample.
    pub(crate) latencies: Mutex<Histogram>,
}

impl Load {
    pub(crate) fn new(address: SockAddr, slower: u32) -> Load {
        Load {
            address,
            slower,
            is_stopped: AtomicBool::new(false),
            failures: Mutex::default(),
            connections: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            latencies: Mutex::default(),
        }
    }

    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
    }

    pub(crate) fn fail(&self, kind: &str, error: &Error) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.push(format!("{kind}: {error}"));
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.failures.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Returns an error that names all clients that failed.
    pub(crate) fn result(&self) -> Result<()> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.is_empty() { Ok(()) } else { Err(Error::other(failures.join("; "))) }
    }

    fn runs(&self) -> bool {
        !self.is_stopped.load(Relaxed)
    }

    fn pause(&self, time: Duration) {
        sleep(time * self.slower);
    }

    fn connect(&self) -> Result<Client> {
        let seed = self.connections.fetch_add(1, Relaxed);
        Client::connect(&self.address, seed, DEADLINE)
    }

    /// Exchanges a message.
    fn exchange(&self, client: &mut Client, bytes: usize) -> Result<()> {
        client.exchange(bytes)?;
        self.bytes.fetch_add(bytes as u64, Relaxed);
        Ok(())
    }
}

/// Fifty connections send small messages, one after the other. Only these round trips are measured.
fn messages(load: &Load) -> Result<()> {
    const MESSAGE: usize = 64;
    let clients = (0..50).map(|_| load.connect()).collect::<Result<Vec<_>>>();
    let mut clients = clients?;
    while load.runs() {
        for client in &mut clients {
            load.pause(Duration::from_millis(1));
            let begin = Instant::now();
            load.exchange(client, MESSAGE)?;
            let latency = begin.elapsed();
            load.latencies.lock().unwrap_or_else(PoisonError::into_inner).add(latency);
        }
    }
    clients.into_iter().try_for_each(Client::finish)
}

/// Connections that send between 1 byte and 64 KiB and end: up to five hundred per second.
fn churn(load: &Load) -> Result<()> {
    let mut bytes = 1;
    while load.runs() {
        load.pause(Duration::from_millis(2));
        let mut client = load.connect()?;
        load.exchange(&mut client, bytes)?;
        client.finish()?;
        bytes = bytes * 7 % (1 << 16) + 1;
    }
    Ok(())
}

/// A connection with half a megabyte in flight, which moves at most 25 MB/s and is replaced every ten
/// seconds.
fn bulk(load: &Load) -> Result<()> {
    const IN_FLIGHT: u64 = 1 << 19;
    while load.runs() {
        let mut client = load.connect()?;
        let begin = Instant::now();
        while load.runs() && begin.elapsed() < Duration::from_secs(10) {
            // Most of the time, more is in flight than a half-closed connection would be left with.
            while client.pending() < IN_FLIGHT {
                client.send_some((IN_FLIGHT - client.pending()) as usize)?;
            }
            for _ in 0..4 {
                load.bytes.fetch_add(client.receive_some(1 << 16)? as u64, Relaxed);
            }
            load.pause(Duration::from_millis(10));
        }
        load.bytes.fetch_add(client.pending(), Relaxed);
        client.finish()?;
    }
    Ok(())
}

/// Twenty connections that send as much as the server accepts and read slowly, so that the server
/// stops reading from them. Every three seconds the oldest one reads the rest and is replaced.
fn slow(load: &Load) -> Result<()> {
    const MOST_PENDING: u64 = 32 << 20;
    let connect = || {
        let client = load.connect()?;
        client.stream().set_nonblocking(true)?;
        Result::Ok(client)
    };
    let finish = |client: Client| {
        client.stream().set_nonblocking(false)?;
        load.bytes.fetch_add(client.pending(), Relaxed);
        client.finish()
    };
    let is_full = |error: &Error| error.kind() == ErrorKind::WouldBlock;
    let mut clients = (0..20).map(|_| connect()).collect::<Result<VecDeque<_>>>()?;
    let mut replaced = Instant::now();
    while load.runs() {
        for client in &mut clients {
            while client.pending() < MOST_PENDING {
                match client.send_some(1 << 16) {
                    Ok(_) => {}
                    Err(error) if is_full(&error) => break,
                    Err(error) => return Err(error),
                }
            }
            match client.receive_some(1 << 13) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => drop(load.bytes.fetch_add(bytes as u64, Relaxed)),
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        load.pause(Duration::from_millis(50));
        if replaced.elapsed() > Duration::from_secs(3) * load.slower {
            clients.push_back(connect()?);
            clients.pop_front().map_or(Ok(()), finish)?;
            replaced = Instant::now();
        }
    }
    clients.into_iter().try_for_each(finish)
}

/// Connections that the client resets: before it has sent anything, while the echo is on its way,
/// after it has read a part, and after it has shut down writing.
fn resetting(load: &Load) -> Result<()> {
    for number in 0.. {
        if !load.runs() {
            break;
        }
        load.pause(Duration::from_millis(10));
        let mut client = load.connect()?;
        if number % 4 > 0 {
            client.send(40_000)?;
        }
        if number % 4 > 1 {
            load.bytes.fetch_add(client.receive_some(1000)? as u64, Relaxed);
        }
        if number % 4 > 2 {
            client.stream().shutdown(Shutdown::Write)?;
        }
        client.reset()?;
    }
    Ok(())
}

/// Four hundred connections that are idle most of the time: each sends one byte within about forty
/// seconds.
fn idle(load: &Load) -> Result<()> {
    let clients = (0..400).map(|_| load.connect()).collect::<Result<Vec<_>>>();
    let mut clients = clients?;
    'load: loop {
        for client in &mut clients {
            if !load.runs() {
                break 'load;
            }
            load.pause(Duration::from_millis(100));
            load.exchange(client, 1)?;
        }
    }
    let begin = Instant::now();
    for mut client in clients {
        load.exchange(&mut client, 1)?;
        client.finish()?;
    }
    if begin.elapsed() > DEADLINE {
        return Err(Error::other("ending the idle connections took too long"));
    }
    Ok(())
}
