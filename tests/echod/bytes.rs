//! The echo: all bytes come back in order, followed by the end of file.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::calls::Injection;
use crate::server::{Server, connect, eventually, many_connections};

/// The length of a chunk of random bytes. A test that compares bytes in parts must split them
/// between chunks.
pub(crate) const CHUNK: usize = 1 << 16;

#[test]
fn client_that_sends_nothing_gets_eof() {
    let server = Server::start(&[]);
    let client = server.connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn one_byte_is_echoed() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"x");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn hundred_mebibytes_are_echoed_while_they_are_sent() {
    const BYTES: usize = 100 << 20;
    let server = Server::start(&[]);
    let client = server.connect();
    let sender = client.try_clone().unwrap();
    let sending = thread::spawn(move || {
        send(&sender, Random::new(1), BYTES).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert_receives(&client, &mut Random::new(1), BYTES);
    assert_eq!(read_to_end(&client), b"");
    sending.join().unwrap();
}

// Pitfall: S12, E1
#[test]
fn half_closed_client_gets_every_byte_and_eof() {
    let server = Server::start(&[]);
    let client = server.connect();
    let sent = fill(&client, Random::new(2));
    client.shutdown(Shutdown::Write).unwrap();
    assert_receives(&client, &mut Random::new(2), sent);
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn two_thousand_clients_each_get_their_own_bytes() {
    const CLIENTS: u64 = 2000;
    const BYTES: usize = 10_000;
    let Some(_permit) = many_connections(CLIENTS) else { return };
    let server = Server::start(&[]);
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (seed, client) in (1..).zip(&clients) {
        send(client, Random::new(seed), BYTES).unwrap();
    }
    for (seed, client) in (1..).zip(&clients) {
        client.shutdown(Shutdown::Write).unwrap();
        assert_receives(client, &mut Random::new(seed), BYTES);
        assert_eq!(read_to_end(client), b"");
    }
}

// The peers reset while the server waits for bytes, while an echo is in transit, and in the accept
// queue.
#[test]
fn reset_ends_only_its_connection() {
    let server = Server::start(&["-v"]);
    let mut survivor = server.connect();
    assert_echoes(&mut survivor, b"before");
    let mut idle = server.connect();
    assert_echoes(&mut idle, b"x");
    let stalled = server.connect();
    fill(&stalled, Random::new(3));
    for client in [idle, stalled, server.connect()] {
        reset(client);
        assert_echoes(&mut survivor, b"still here");
    }
    eventually("two resets are logged", || {
        server.stderr().matches("Connection reset by peer").count() >= 2
    });
    assert_echoes(&mut survivor, b"after");
}

#[test]
fn failed_write_resets_the_connection() {
    let server = Server::start(&["-v"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"before");
    let errno = Errno::NOBUFS.raw_os_error();
    let Some(_injection) = Injection::start(&server, "sendto", errno) else { return };
    client.write_all(b"lost").unwrap();
    assert_eq!(read_to_reset(&client), 0);
}

/// Sends bytes, and checks that the same bytes come back.
#[track_caller]
pub(crate) fn assert_echoes(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}

/// Connects several clients concurrently. Checks that each gets back the bytes that it sends.
#[track_caller]
pub(crate) fn assert_echoes_to(address: SocketAddr, clients: u64, bytes: usize) {
    let clients = (0..clients).map(|seed| {
        thread::spawn(move || {
            let client = connect(address);
            let sender = client.try_clone().unwrap();
            let sending = thread::spawn(move || {
                send(&sender, Random::new(seed), bytes).unwrap();
                sender.shutdown(Shutdown::Write).unwrap();
            });
            assert_receives(&client, &mut Random::new(seed), bytes);
            assert_eq!(read_to_end(&client), b"");
            sending.join().unwrap();
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
}

/// Checks that no byte arrives for 30 ms.
#[track_caller]
pub(crate) fn assert_silent(client: &TcpStream) {
    client.set_nonblocking(false).unwrap();
    let before = client.read_timeout().unwrap();
    client.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
    // With a timeout, the kernel does not repeat a call that a signal interrupts.
    let peek = || client.peek(&mut [0]).map_err(|error| error.kind());
    let mut peeked = peek();
    while peeked == Err(ErrorKind::Interrupted) {
        peeked = peek();
    }
    assert_eq!(peeked, Err(ErrorKind::WouldBlock));
    client.set_read_timeout(before).unwrap();
}

/// Reads until the end of file, and returns the bytes.
#[track_caller]
pub(crate) fn read_to_end(mut client: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("the connection ends with a FIN");
    bytes
}

/// Reads until the connection is reset, and returns how many bytes came before that.
#[track_caller]
pub(crate) fn read_to_reset(mut client: &TcpStream) -> usize {
    let mut bytes = Vec::new();
    let ended = client.read_to_end(&mut bytes).map_err(|error| error.kind());
    assert_eq!(ended, Err(ErrorKind::ConnectionReset), "after {} bytes", bytes.len());
    bytes.len()
}

/// Closes the connection with a reset instead of a FIN.
pub(crate) fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Sends random bytes.
pub(crate) fn send(mut client: &TcpStream, mut random: Random, bytes: usize) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(chunk.len());
        random.fill(&mut chunk);
        client.write_all(&chunk[..length])?;
        left -= length;
    }
    Ok(())
}

/// Checks that these random bytes arrive.
#[track_caller]
pub(crate) fn assert_receives(mut client: &TcpStream, random: &mut Random, bytes: usize) {
    let (mut chunk, mut expected) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut left = bytes;
    while left > 0 {
        let length = left.min(chunk.len());
        client.read_exact(&mut chunk[..length]).expect("every byte comes back");
        random.fill(&mut expected);
        assert!(chunk[..length] == expected[..length], "wrong bytes, {left} bytes before the end");
        left -= length;
    }
}

/// Sends without reading until the connection is full. Returns the number of bytes.
///
/// The connection counts as full if two writes in a row transfer no byte in 200 ms each. One write
/// may only mean that a busy machine has not run the server.
pub(crate) fn fill(mut client: &TcpStream, mut random: Random) -> usize {
    let before = client.write_timeout().unwrap();
    client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut chunk = vec![0; CHUNK];
    let (mut sent, mut stalls) = (0, 0);
    'full: loop {
        random.fill(&mut chunk);
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            match client.write(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    stalls = 0;
                }
                // With a timeout, the kernel does not repeat a call that a signal interrupts.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && stalls == 0 => stalls = 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sent += chunk.len() - rest.len();
                    break 'full;
                }
                Err(error) => panic!("sending: {error}"),
            }
        }
        sent += chunk.len();
    }
    client.set_write_timeout(before).unwrap();
    sent
}

/// A generator of bytes that repeat neither within a connection nor between two connections.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Fills a chunk whose length is a multiple of eight.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.as_chunks_mut().0 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *eight = self.0.to_le_bytes();
        }
    }
}
