//! The load: clients that compare every byte while calls of the server fail.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use socket2::SockAddr;
use tests::client::{Client, is_wrong};

/// After this time without progress, an operation of a client counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// How many clients run concurrently.
const CLIENTS: usize = 6;

/// The clients of one server.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_paused: AtomicBool,
    is_stopped: AtomicBool,
    /// The number of clients that exchange nothing because the load is paused.
    paused: AtomicUsize,
    /// The number of exchanges of each client that succeeded.
    exchanges: [AtomicUsize; CLIENTS],
    seeds: AtomicU64,
    failures: Mutex<Failures>,
}

/// What went wrong for clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures {
    /// Connections that ended too early, and datagrams without an answer.
    pub(crate) ended: usize,
    /// Connections on which nothing happened for [`PATIENCE`].
    pub(crate) hung: usize,
    /// Connections on which wrong bytes came back.
    pub(crate) wrong: usize,
    /// The errors.
    pub(crate) errors: BTreeSet<String>,
}

impl Load {
    /// Starts clients on a TCP socket and, if given, on a Unix and a UDP socket.
    pub(crate) fn start(tcp: SockAddr, unix: Option<SockAddr>, udp: Option<SocketAddr>) -> Load {
        let shared = Arc::new(Shared::default());
        let mut load = Load { shared, threads: Vec::new() };
        for _ in 0..2 {
            let tcp = tcp.clone();
            load.spawn(move |shared, client| shared.talk(client, &tcp));
        }
        let same = tcp.clone();
        load.spawn(move |shared, client| shared.churn(client, &same));
        load.spawn(move |shared, client| shared.reset(client, &tcp));
        if let Some(unix) = unix {
            load.spawn(move |shared, client| shared.talk(client, &unix));
        }
        if let Some(udp) = udp {
            load.spawn(move |shared, client| shared.send_datagrams(client, udp));
        }
        load
    }

    fn spawn(&mut self, act: impl FnOnce(&Shared, usize) + Send + 'static) {
        let (shared, client) = (self.shared.clone(), self.threads.len());
        self.threads.push(thread::spawn(move || act(&shared, client)));
    }

    /// Lets all clients keep their connections, and exchange nothing more. A client that waits for
    /// an answer goes on waiting, but sends nothing.
    pub(crate) fn pause(&self) {
        self.shared.is_paused.store(true, Relaxed);
        let begin = Instant::now();
        while self.shared.paused.load(Relaxed) < self.threads.len()
            && begin.elapsed() < PATIENCE / 10
        {
            sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn resume(&self) {
        self.shared.is_paused.store(false, Relaxed);
    }

    /// Waits until each client has made two more exchanges. Returns whether they did.
    pub(crate) fn wait_for_progress(&self) -> bool {
        let clients = &self.shared.exchanges[..self.threads.len()];
        let before: Vec<usize> = clients.iter().map(|count| count.load(Relaxed)).collect();
        let begin = Instant::now();
        let has_progressed =
            || clients.iter().zip(&before).all(|(count, before)| count.load(Relaxed) >= before + 2);
        // The first exchange may have to wait until one that hangs has been given up.
        while !has_progressed() && begin.elapsed() < 3 * PATIENCE {
            sleep(Duration::from_millis(2));
        }
        has_progressed()
    }

    pub(crate) fn take_failures(&self) -> Failures {
        std::mem::take(&mut self.shared.failures())
    }

    /// Ends all clients and closes their connections.
    pub(crate) fn stop(self) -> Failures {
        self.shared.is_stopped.store(true, Relaxed);
        for thread in self.threads {
            thread.join().expect("clients do not panic");
        }
        self.shared.failures().clone()
    }
}

impl Shared {
    fn failures(&self) -> std::sync::MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the load is paused. Returns whether it goes on.
    fn goes_on(&self) -> bool {
        self.paused.fetch_add(1, Relaxed);
        while self.is_paused.load(Relaxed) && !self.is_stopped.load(Relaxed) {
            sleep(Duration::from_millis(2));
        }
        self.paused.fetch_sub(1, Relaxed);
        !self.is_stopped.load(Relaxed)
    }

    fn seed(&self) -> u64 {
        self.seeds.fetch_add(1, Relaxed)
    }

    /// Counts a result, and waits a moment before the next attempt.
    fn count(&self, client: usize, what: &str, result: Result<()>) {
        let Err(error) = result else {
            self.exchanges[client].fetch_add(1, Relaxed);
            return sleep(Duration::from_millis(3));
        };
        let mut failures = self.failures();
        if is_wrong(&error) {
            failures.wrong += 1;
        } else if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) {
            failures.hung += 1;
        } else {
            failures.ended += 1;
        }
        failures.errors.insert(format!("{what}: {error}"));
        drop(failures);
        sleep(Duration::from_millis(10));
    }

    /// Exchanges messages of different sizes on one connection, and connects again if it fails.
    fn talk(&self, client: usize, address: &SockAddr) {
        let mut connection: Option<Client> = None;
        let mut bytes = 1;
        while self.goes_on() {
            bytes = bytes * 7 % 20_000 + 1;
            let exchanged = match connection.take() {
                Some(connection) => Ok(connection),
                None => Client::connect(address, self.seed(), PATIENCE),
            };
            let exchanged = exchanged.and_then(|mut connected| {
                connected.exchange(bytes)?;
                connection = Some(connected);
                Ok(())
            });
            self.count(client, "a connection", exchanged);
        }
        if let Some(connection) = connection {
            // Nothing fails any more, so this end must succeed.
            self.count(client, "the end of a connection", connection.finish());
        }
    }

    /// Makes connections that end in an orderly way.
    fn churn(&self, client: usize, address: &SockAddr) {
        while self.goes_on() {
            let ended =
                Client::connect(address, self.seed(), PATIENCE).and_then(|mut connection| {
                    connection.exchange(1000)?;
                    connection.finish()
                });
            self.count(client, "a short connection", ended);
        }
    }

    /// Makes connections that the client resets while the echo is on its way.
    fn reset(&self, client: usize, address: &SockAddr) {
        while self.goes_on() {
            let ended =
                Client::connect(address, self.seed(), PATIENCE).and_then(|mut connection| {
                    connection.send(10_000)?;
                    // Let the server notice the connection first.
                    connection.receive_some(1)?;
                    connection.reset()
                });
            self.count(client, "a connection that is reset", ended);
        }
    }

    /// Sends datagrams, and compares the answers. An answer may be missing or late, but not wrong.
    fn send_datagrams(&self, client: usize, address: SocketAddr) {
        let connect = || {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(address)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Result::Ok(socket)
        };
        let socket = match connect() {
            Ok(socket) => socket,
            Err(error) => return self.count(client, "a UDP socket", Err(error)),
        };
        let mut number = 0u64;
        while self.goes_on() {
            number += 1;
            let exchanged = exchange_datagram(&socket, number);
            self.count(client, "a datagram", exchanged);
        }
    }
}

fn exchange_datagram(socket: &UdpSocket, number: u64) -> Result<()> {
    let datagram = |number: u64| [number.to_le_bytes(); 20].concat();
    socket.send(&datagram(number))?;
    let mut buffer = [0; 1000];
    loop {
        let bytes = match socket.recv(&mut buffer) {
            Ok(bytes) => &buffer[..bytes],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // A lost datagram, which UDP allows, is not a hanging connection.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(Error::other("no answer"));
            }
            Err(error) => return Err(error),
        };
        if bytes == datagram(number) {
            return Ok(());
        }
        if !(1..number).any(|earlier| bytes == datagram(earlier)) {
            return Err(Error::new(ErrorKind::InvalidData, "a wrong datagram came back"));
        }
    }
}
