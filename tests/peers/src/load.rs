//! The load: connections that send a message, wait for all of it to come back, and send again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_rustls::rustls::{ClientConnection, StreamOwned};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::http::Frames;

/// How many connections, and how large a message.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) bytes: usize,
}

impl Workload {
    /// Connects to an echo server: the answer is as long as the message.
    pub(crate) fn connect(self, to: SocketAddr) -> io::Result<Load> {
        let connect = || -> io::Result<Client> {
            let stream = std::net::TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let stream = Stream::Plain(TcpStream::from_std(stream));
            let message = Message::new(vec![b'x'; self.bytes]);
            Ok(Client::new(stream, message, Answer::Bytes(self.bytes)))
        };
        Load::new((0..self.connections).map(|_| connect()).collect::<io::Result<_>>()?)
    }
}

/// Connections that exchange messages with a server.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

impl Load {
    pub(crate) fn new(mut clients: Vec<Client>) -> io::Result<Load> {
        let poll = Poll::new()?;
        for (token, client) in clients.iter_mut().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(client.stream.socket(), Token(token), interest)?;
        }
        let buffer = vec![0; 256 * 1024];
        Ok(Load { poll, events: Events::with_capacity(1024), clients, buffer })
    }

    /// Exchanges messages as fast as the server can, each connection for itself.
    pub(crate) fn messages_per_second(&mut self, time: Duration) -> io::Result<f64> {
        self.send_all()?;
        let (begin, before) = (Instant::now(), self.received());
        while begin.elapsed() < time {
            self.turn(true)?;
        }
        Ok((self.received() - before) as f64 / begin.elapsed().as_secs_f64())
    }

    /// Sends one message on each connection, waits for all answers, and repeats: the server sees
    /// the same each time.
    pub(crate) fn exchange_in_batches(
        mut self,
        batches: usize,
        run_server: impl Fn(bool) -> io::Result<()>,
    ) -> io::Result<()> {
        for batch in 1..=batches {
            run_server(false)?;
            self.send_all()?;
            run_server(true)?;
            while self.received() < batch * self.clients.len() {
                self.turn(false)?;
            }
        }
        Ok(())
    }

    fn received(&self) -> usize {
        self.clients.iter().map(|client| client.received).sum()
    }

    fn send_all(&mut self) -> io::Result<()> {
        for client in &mut self.clients {
            client.begin();
            client.send()?;
        }
        Ok(())
    }

    /// Waits for answers; with `again`, each one is followed by the next message.
    fn turn(&mut self, again: bool) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(Duration::from_secs(10)))?;
        if self.events.is_empty() {
            return Err(io::Error::other("no answer within 10 s"));
        }
        for event in &self.events {
            let client = &mut self.clients[event.token().0];
            client.send()?;
            while client.receive(&mut self.buffer)? && again {
                client.begin();
                client.send()?;
            }
        }
        Ok(())
    }
}

/// A connection without or with TLS.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&mut self) -> &mut TcpStream {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.read(buf),
            Stream::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(socket) => socket.write(buf),
            Stream::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

/// What a client sends, again and again.
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// Where the HTTP/2 frames in it start: each message is a stream of its own.
    frames: Vec<usize>,
    stream: u32,
}

impl Message {
    pub(crate) fn new(bytes: Vec<u8>) -> Message {
        Message { bytes, frames: Vec::new(), stream: 1 }
    }

    pub(crate) fn push_frame(&mut self, frame: &[u8]) {
        self.frames.push(self.bytes.len());
        self.bytes.extend(frame);
    }

    /// Numbers the frames as those of the next stream.
    fn number(&mut self) {
        for &frame in &self.frames {
            self.bytes[frame + 5..][..4].copy_from_slice(&self.stream.to_be_bytes());
        }
        self.stream += 2;
    }
}

/// How a client finds the end of an answer.
pub(crate) enum Answer {
    /// Each has this length.
    Bytes(usize),
    /// It is a stream of HTTP/2.
    Frames(Frames),
}

/// A connection that sends its message and waits for the answer.
pub(crate) struct Client {
    stream: Stream,
    message: Message,
    answer: Answer,
    /// Bytes of the message that are still to be sent.
    to_send: usize,
    /// Whether an answer is due; of one with a known length, bytes that are still to come.
    waits: bool,
    to_come: usize,
    received: usize,
}

impl Client {
    pub(crate) fn new(stream: Stream, message: Message, answer: Answer) -> Client {
        Client { stream, message, answer, to_send: 0, waits: false, to_come: 0, received: 0 }
    }

    fn begin(&mut self) {
        self.message.number();
        self.to_send = self.message.bytes.len();
        self.waits = true;
        if let Answer::Bytes(bytes) = self.answer {
            self.to_come = bytes;
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let bytes = &self.message.bytes;
        while self.to_send > 0 {
            match self.stream.write(&bytes[bytes.len() - self.to_send..]) {
                Ok(sent) => self.to_send -= sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // TLS holds records back that the socket did not take.
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads what has come; true, when the answer is complete.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            let bytes = match self.stream.read(&mut buffer[..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => &buffer[..bytes],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let complete = match &mut self.answer {
                Answer::Bytes(_) => {
                    self.to_come = self.to_come.saturating_sub(bytes.len());
                    self.to_come == 0
                }
                Answer::Frames(frames) => frames.take(bytes),
            };
            if complete && self.waits {
                self.waits = false;
                self.received += 1;
                return Ok(true);
            }
        }
    }
}
