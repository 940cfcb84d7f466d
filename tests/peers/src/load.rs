//! The load: connections that send a message, wait for all of it to come back, and send again.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// How many connections, how large a message, and how many messages a connection has in flight.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) bytes: usize,
    pub(crate) in_flight: usize,
}

impl Workload {
    /// Connects to an echo server: the answer is as long as the message.
    ///
    /// Each connection exchanges a message before the next one connects. So a server allocates the
    /// same things in the same order in each run, which decides what misses the cache later.
    pub(crate) fn connect(self, to: SocketAddr) -> io::Result<Load> {
        let connect = || -> io::Result<Client> {
            let mut message = vec![b'x'; self.bytes];
            let mut stream = std::net::TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.write_all(&message)?;
            stream.read_exact(&mut message)?;
            stream.set_nonblocking(true)?;
            let (stream, message) = (TcpStream::from_std(stream), Message::new(message));
            Ok(Client::new(stream, message, Answer::Bytes(self.bytes)))
        };
        let clients = (0..self.connections).map(|_| connect()).collect::<io::Result<_>>()?;
        Load::new(clients, self.in_flight)
    }
}

/// Connections that exchange messages with a server.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    in_flight: usize,
    buffer: Vec<u8>,
    /// The time from the begin of sending a message to the end of its answer, for each answer.
    latencies: Vec<Duration>,
}

/// What a load has seen during some time.
pub(crate) struct Exchange {
    pub(crate) time: Duration,
    /// Sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Exchange {
    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    /// The latency that so many of a hundred messages do not exceed, in microseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = self.latencies.len().saturating_sub(1) * percent / 100;
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }
}

impl Load {
    pub(crate) fn new(mut clients: Vec<Client>, in_flight: usize) -> io::Result<Load> {
        let poll = Poll::new()?;
        for (token, client) in clients.iter_mut().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(client.stream.socket(), Token(token), interest)?;
        }
        let (events, buffer) = (Events::with_capacity(1024), vec![0; 256 * 1024]);
        Ok(Load { poll, events, clients, in_flight, buffer, latencies: Vec::new() })
    }

    /// Exchanges messages as fast as the server can, each connection for itself. Afterwards no
    /// message is in flight.
    pub(crate) fn exchange(&mut self, time: Duration) -> io::Result<Exchange> {
        self.latencies.clear();
        let begin = Instant::now();
        for _ in 0..self.in_flight {
            self.send_all()?;
        }
        while begin.elapsed() < time {
            self.turn(true)?;
        }
        while self.clients.iter().any(|client| !client.begun.is_empty()) {
            self.turn(false)?;
        }
        let time = begin.elapsed();
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        Ok(Exchange { time, latencies })
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
            while self.latencies.len() < batch * self.clients.len() {
                self.turn(false)?;
            }
        }
        Ok(())
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
            let answers = client.receive(&mut self.buffer, &mut self.latencies)?;
            if again {
                (0..answers).for_each(|_| client.begin());
            }
            client.send()?;
        }
        Ok(())
    }
}

/// A socket, or a protocol above one.
pub(crate) trait Stream: Read + Write {
    fn socket(&mut self) -> &mut TcpStream;

    /// Whether a read that does not fill its buffer has emptied the socket.
    fn short_read_is_last(&self) -> bool {
        false
    }
}

impl Stream for TcpStream {
    fn socket(&mut self) -> &mut TcpStream {
        self
    }

    fn short_read_is_last(&self) -> bool {
        true
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

/// How a client finds the ends of answers.
pub(crate) enum Answer {
    /// Each has this length.
    Bytes(usize),
    Parsed(Parse),
}

/// Takes the next bytes, and returns whether an answer ends in them.
type Parse = Box<dyn FnMut(&[u8]) -> bool>;

/// A connection that sends its message and waits for the answer.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    message: Message,
    answer: Answer,
    /// Messages that are not completely sent, and bytes of the first of them that are.
    unsent: usize,
    sent: usize,
    /// Bytes of the next answer that have arrived, if its length is known.
    arrived: usize,
    /// When the messages without an answer began.
    begun: VecDeque<Instant>,
}

impl Client {
    pub(crate) fn new(stream: impl Stream + 'static, message: Message, answer: Answer) -> Client {
        let (stream, begun) = (Box::new(stream), VecDeque::new());
        Client { stream, message, answer, unsent: 0, sent: 0, arrived: 0, begun }
    }

    fn begin(&mut self) {
        self.unsent += 1;
        self.begun.push_back(Instant::now());
    }

    fn send(&mut self) -> io::Result<()> {
        while self.unsent > 0 {
            if self.sent == 0 {
                self.message.number();
            }
            match self.stream.write(&self.message.bytes[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.sent == self.message.bytes.len() {
                self.sent = 0;
                self.unsent -= 1;
            }
        }
        // TLS holds records back that the socket did not take.
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads all that has arrived, and returns the number of answers that are complete now.
    fn receive(&mut self, buffer: &mut [u8], latencies: &mut Vec<Duration>) -> io::Result<usize> {
        let mut complete = 0;
        loop {
            let bytes = match self.stream.read(&mut buffer[..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => &buffer[..bytes],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(complete),
                Err(error) => return Err(error),
            };
            let answers = match &mut self.answer {
                Answer::Bytes(length) => {
                    self.arrived += bytes.len();
                    let answers = self.arrived / *length;
                    self.arrived %= *length;
                    answers
                }
                Answer::Parsed(ends) => usize::from(ends(bytes)),
            };
            let answers = answers.min(self.begun.len());
            latencies.extend(self.begun.drain(..answers).map(|begun| begun.elapsed()));
            complete += answers;
            // What arrives later causes another event.
            if self.stream.short_read_is_last() && bytes.len() < buffer.len() {
                return Ok(complete);
            }
        }
    }
}
