//! A client of an echo server that compares every byte.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::Shutdown;
use std::sync::LazyLock;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// The length of the random bytes that a [`Pattern`] repeats. It is prime, so no buffer size divides
/// it, and a lost or repeated buffer shifts the pattern.
const PERIOD: usize = 1_048_573;

/// Pseudo-random bytes. Each seed begins elsewhere in them.
#[derive(Clone, Debug)]
pub struct Pattern {
    at: usize,
}

impl Pattern {
    /// Returns the pattern of a seed, from its first byte.
    pub fn new(seed: u64) -> Pattern {
        // The odd factor spreads the beginnings of small seeds over the whole period.
        Pattern { at: (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) % PERIOD as u64) as usize }
    }

    /// Returns the next bytes: at most `most`, and fewer at the end of the period.
    pub fn next(&mut self, most: usize) -> &'static [u8] {
        static BYTES: LazyLock<Vec<u8>> = LazyLock::new(random_bytes);
        let bytes = &BYTES[self.at..(self.at + most).min(PERIOD)];
        self.at = (self.at + bytes.len()) % PERIOD;
        bytes
    }

    /// Returns whether `bytes` are the next bytes.
    pub fn continues_with(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.next(bytes.len());
            let (head, rest) = bytes.split_at(expected.len());
            if head != expected {
                return false;
            }
            bytes = rest;
        }
        true
    }
}

fn random_bytes() -> Vec<u8> {
    let mut state = 1u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..PERIOD).map(|_| byte()).collect()
}

/// A connection to an echo server. It compares each byte that comes back.
#[derive(Debug)]
pub struct Client {
    stream: Socket,
    sent: Pattern,
    received: Pattern,
    /// The number of bytes that were sent and have not come back yet.
    pending: u64,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to a TCP or Unix socket. Each operation on the connection fails if it takes longer
    /// than `deadline`.
    ///
    /// # Errors
    ///
    /// Returns the error of the system call that fails.
    pub fn connect(address: &SockAddr, seed: u64, deadline: Duration) -> Result<Client> {
        let stream = Socket::new(address.domain(), Type::STREAM, None)?;
        if address.domain() == Domain::UNIX {
            stream.connect(address)?;
        } else {
            stream.connect_timeout(address, deadline)?;
            stream.set_tcp_nodelay(true)?;
        }
        stream.set_read_timeout(Some(deadline))?;
        stream.set_write_timeout(Some(deadline))?;
        let (sent, received) = (Pattern::new(seed), Pattern::new(seed));
        Ok(Client { stream, sent, received, pending: 0, buffer: vec![0; 1 << 16] })
    }

    /// Returns the socket.
    pub fn stream(&self) -> &Socket {
        &self.stream
    }

    /// Returns the number of bytes that were sent and have not come back yet.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Sends the next bytes of the pattern.
    ///
    /// # Errors
    ///
    /// Returns the error of the `send` system call.
    pub fn send(&mut self, bytes: usize) -> Result<()> {
        let mut left = bytes;
        while left > 0 {
            left -= self.send_some(left)?;
        }
        Ok(())
    }

    /// Makes one attempt to send at most `most` bytes, and returns how many were sent.
    ///
    /// # Errors
    ///
    /// Returns the error of the `send` system call.
    pub fn send_some(&mut self, most: usize) -> Result<usize> {
        let bytes = self.sent.clone().next(most);
        let sent = retry(|| self.stream.write(bytes))?;
        self.sent.next(sent);
        self.pending += sent as u64;
        Ok(sent)
    }

    /// Makes one attempt to receive at most `most` bytes, compares them, and returns how many there
    /// were: 0 at the end of the stream.
    ///
    /// # Errors
    ///
    /// Returns the error of the `recv` system call, and an error if a byte is wrong or was never
    /// sent.
    pub fn receive_some(&mut self, most: usize) -> Result<usize> {
        let most = most.min(self.buffer.len());
        let bytes = retry(|| self.stream.read(&mut self.buffer[..most]))?;
        let is_right = self.received.continues_with(&self.buffer[..bytes]);
        self.pending = match self.pending.checked_sub(bytes as u64) {
            Some(pending) if is_right => pending,
            Some(_) => return Err(wrong("a wrong byte came back")),
            None => return Err(wrong("more bytes came back than were sent")),
        };
        Ok(bytes)
    }

    /// Receives everything that was sent.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`receive_some`](Client::receive_some), and an error if the stream ends
    /// too early.
    pub fn receive(&mut self) -> Result<()> {
        while self.pending > 0 {
            if self.receive_some(usize::MAX)? == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, self.missing()));
            }
        }
        Ok(())
    }

    /// Sends a message, and receives its echo.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`send`](Client::send) and [`receive`](Client::receive).
    pub fn exchange(&mut self, bytes: usize) -> Result<()> {
        self.send(bytes)?;
        self.receive()
    }

    /// Ends the sending direction, receives the rest, and expects the end of the stream.
    ///
    /// # Errors
    ///
    /// Returns the errors of `shutdown` and of [`receive`](Client::receive), and an error if the
    /// server sends more.
    pub fn finish(mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.receive()?;
        match self.receive_some(1)? {
            0 => Ok(()),
            _ => unreachable!("a byte that was never sent is an error"),
        }
    }

    /// Closes the connection with a reset instead of a FIN.
    ///
    /// # Errors
    ///
    /// Returns the error of the `setsockopt` system call.
    pub fn reset(self) -> Result<()> {
        self.stream.set_linger(Some(Duration::ZERO))
    }

    fn missing(&self) -> String {
        format!("the stream ended although {} bytes were missing", self.pending)
    }
}

/// Returns whether the error says that the server sent wrong bytes, and not that the connection
/// failed.
pub fn is_wrong(error: &Error) -> bool {
    error.kind() == ErrorKind::InvalidData
}

fn wrong(text: &str) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

/// Repeats a system call that a signal has interrupted.
fn retry(mut call: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEADLINE;
    use std::net::TcpListener;
    use std::thread;

    /// Runs a server that sends back the changed message, and returns the client's error.
    fn error_after(change: fn(&mut Vec<u8>)) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().into();
        let mut client = Client::connect(&address, 1, DEADLINE).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; 100];
            stream.read_exact(&mut bytes).unwrap();
            change(&mut bytes);
            stream.write_all(&bytes).unwrap();
        });
        let ended = client.exchange(100).and_then(|()| client.finish());
        server.join().unwrap();
        ended.expect_err("the client compares bytes")
    }

    #[test]
    fn client_detects_changed_missing_and_additional_bytes() {
        assert!(is_wrong(&error_after(|bytes| bytes[50] ^= 1)));
        assert!(is_wrong(&error_after(|bytes| bytes.push(0))));
        assert!(is_wrong(&error_after(|bytes| bytes.swap(50, 51))));
        assert!(is_wrong(&error_after(|bytes| bytes.rotate_left(1))));
        let short = error_after(|bytes| bytes.truncate(99));
        assert_eq!(short.kind(), ErrorKind::UnexpectedEof);
    }
}
