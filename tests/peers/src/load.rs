//! The load: connections that send a message, wait for all of it to come back, and send again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// How many connections, and how large a message.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) bytes: usize,
}

impl Workload {
    /// Echoes as fast as the server can, each connection for itself.
    pub(crate) fn messages_per_second(self, to: SocketAddr, time: Duration) -> io::Result<f64> {
        let mut load = Load::connect(self, to)?;
        load.send_all()?;
        let (begin, before) = (Instant::now(), load.received());
        while begin.elapsed() < time {
            load.turn(true)?;
        }
        Ok((load.received() - before) as f64 / begin.elapsed().as_secs_f64())
    }

    /// Sends one message on each connection, waits for all answers, and again: what the server
    /// sees is the same each time.
    pub(crate) fn exchange_in_batches(
        self,
        to: SocketAddr,
        batches: usize,
        run_server: impl Fn(bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut load = Load::connect(self, to)?;
        for batch in 1..=batches {
            run_server(false)?;
            load.send_all()?;
            run_server(true)?;
            while load.received() < batch * self.connections {
                load.turn(false)?;
            }
        }
        Ok(())
    }
}

struct Load {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    message: Vec<u8>,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    /// Bytes of the message on its way that are still to be sent, and still to come back.
    to_send: usize,
    to_come: usize,
    received: usize,
}

impl Load {
    fn connect(workload: Workload, to: SocketAddr) -> io::Result<Load> {
        let poll = Poll::new()?;
        let mut clients = Vec::new();
        for token in 0..workload.connections {
            let stream = std::net::TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(token), interest)?;
            clients.push(Client { stream, to_send: 0, to_come: 0, received: 0 });
        }
        let message = vec![b'x'; workload.bytes];
        let buffer = vec![0; 256 * 1024];
        Ok(Load { poll, events: Events::with_capacity(1024), clients, message, buffer })
    }

    fn received(&self) -> usize {
        self.clients.iter().map(|client| client.received).sum()
    }

    fn send_all(&mut self) -> io::Result<()> {
        for client in &mut self.clients {
            client.begin(self.message.len());
            client.send(&self.message)?;
        }
        Ok(())
    }

    /// Waits for answers; with `again`, each one is followed by the next message.
    fn turn(&mut self, again: bool) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(Duration::from_secs(10)))?;
        for event in &self.events {
            let client = &mut self.clients[event.token().0];
            client.send(&self.message)?;
            while client.receive(&mut self.buffer)? && again {
                client.begin(self.message.len());
                client.send(&self.message)?;
            }
        }
        Ok(())
    }
}

impl Client {
    fn begin(&mut self, bytes: usize) {
        (self.to_send, self.to_come) = (bytes, bytes);
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        while self.to_send > 0 {
            match self.stream.write(&message[message.len() - self.to_send..]) {
                Ok(sent) => self.to_send -= sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has come; true, when the message is complete.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        while self.to_come > 0 {
            match self.stream.read(&mut buffer[..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => self.to_come -= bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if self.to_come == 0 {
                self.received += 1;
                return Ok(true);
            }
        }
        Ok(false)
    }
}
