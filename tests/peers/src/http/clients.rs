//! The clients of the HTTP cells. They write prepared bytes and look only for the end of an
//! answer, so that the load costs little beside the server.

use std::io::{self, Error, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};
use mio::net::TcpStream;

use super::{BODY, Cell, Exchange, Protocol};
use crate::load::{Answer, Client, Message, Stream};

/// Connects, and completes the handshakes of TLS and of the protocol.
pub(crate) fn connect(
    cell: &Cell,
    to: SocketAddr,
    trust: &Arc<ClientConfig>,
) -> io::Result<Client> {
    let mut socket = std::net::TcpStream::connect(to)?;
    socket.set_nodelay(true)?;
    if !cell.tls {
        let (message, answer) = prepare(cell, &mut socket)?;
        socket.set_nonblocking(true)?;
        return Ok(Client::new(TcpStream::from_std(socket), message, answer));
    }
    let name = ServerName::try_from("localhost").map_err(Error::other)?;
    let tls = ClientConnection::new(trust.clone(), name).map_err(Error::other)?;
    let mut blocking = StreamOwned::new(tls, socket);
    let (message, answer) = prepare(cell, &mut blocking)?;
    let (tls, socket) = blocking.into_parts();
    socket.set_nonblocking(true)?;
    let stream = StreamOwned::new(tls, TcpStream::from_std(socket));
    Ok(Client::new(stream, message, answer))
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&mut self) -> &mut TcpStream {
        &mut self.sock
    }
}

fn prepare(cell: &Cell, stream: &mut (impl Read + Write)) -> io::Result<(Message, Answer)> {
    match cell.protocol {
        Protocol::Http1 => prepare_http_1(cell.exchange, stream),
        Protocol::Http2 => prepare_http_2(cell, stream),
        Protocol::WebSocket => prepare_websocket(stream),
    }
}

fn body() -> Vec<u8> {
    vec![b'x'; BODY]
}

/// All responses to one request have the same length, so the first one tells it.
fn prepare_http_1(
    exchange: Exchange,
    stream: &mut (impl Read + Write),
) -> io::Result<(Message, Answer)> {
    let mut bytes = match exchange {
        Exchange::GetLine => b"GET /line HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        Exchange::Get => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        Exchange::Post => {
            format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY}\r\n\r\n").into()
        }
    };
    if exchange == Exchange::Post {
        bytes.extend(body());
    }
    stream.write_all(&bytes)?;
    stream.flush()?;
    let head = read_head(stream)?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = length.and_then(|length| length.parse().ok());
    let length: usize = length.ok_or_else(|| Error::other(format!("no length in {head:?}")))?;
    stream.read_exact(&mut vec![0; length])?;
    Ok((Message::new(bytes), Answer::Bytes(head.len() + length)))
}

fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).map_err(Error::other)
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
/// The flag of a `SETTINGS` frame that acknowledges, and of the last frame of a stream.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const LARGEST_PAYLOAD: usize = 16 * 1024;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The client gives the server the largest windows, and so never has to enlarge them. It ignores
/// the server's, which have space for one body of each connection.
fn prepare_http_2(cell: &Cell, stream: &mut (impl Read + Write)) -> io::Result<(Message, Answer)> {
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let initial_window = [&[0, 4][..], &LARGEST_WINDOW.to_be_bytes()].concat();
    hello.extend(frame(SETTINGS, 0, 0, &initial_window));
    hello.extend(frame(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - 65_535).to_be_bytes()));
    stream.write_all(&hello)?;
    stream.flush()?;
    // Wait until the server has enlarged the window of the connection: the first one ends a byte
    // before a body of 64 KiB does.
    let mut head = [0; 9];
    while head[3] != WINDOW_UPDATE {
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize])?;
    }
    stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
    stream.flush()?;

    // Fields by their index in HPACK's static table, and two with a value.
    let method = if cell.exchange == Exchange::Post { 0x83 } else { 0x82 };
    let scheme = if cell.tls { 0x87 } else { 0x86 };
    let mut fields = vec![method, scheme];
    match cell.exchange {
        Exchange::GetLine => fields.extend(b"\x04\x05/line"),
        _ => fields.push(0x84),
    }
    fields.extend(b"\x01\x09localhost");
    let ends = if cell.exchange == Exchange::Post { 0 } else { END_STREAM };
    let mut message = Message::new(Vec::new());
    message.push_frame(&frame(HEADERS, END_HEADERS | ends, 0, &fields));
    if cell.exchange == Exchange::Post {
        let body = body();
        let chunks = body.chunks(LARGEST_PAYLOAD);
        let last = chunks.len() - 1;
        for (at, chunk) in chunks.enumerate() {
            let flags = if at == last { END_STREAM } else { 0 };
            message.push_frame(&frame(DATA, flags, 0, chunk));
        }
    }
    let mut frames = Frames::default();
    Ok((message, Answer::Parsed(Box::new(move |bytes| frames.take(bytes)))))
}

/// Finds the ends of streams in a sequence of HTTP/2 frames.
#[derive(Default)]
struct Frames {
    head: [u8; 9],
    /// Bytes of the head that have arrived.
    filled: usize,
    /// Bytes of the payload that have not.
    payload: usize,
}

impl Frames {
    /// Takes the next bytes, and returns whether a stream has ended in them.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            if self.filled < self.head.len() {
                let taken = bytes.len().min(self.head.len() - self.filled);
                self.head[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                bytes = &bytes[taken..];
                let [high, middle, low, ..] = self.head;
                self.payload = u32::from_be_bytes([0, high, middle, low]) as usize;
            }
            let taken = bytes.len().min(self.payload);
            self.payload -= taken;
            bytes = &bytes[taken..];
            if self.filled == self.head.len() && self.payload == 0 {
                let [_, _, _, kind, flags, ..] = self.head;
                ended |= matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
                self.filled = 0;
            }
        }
        ended
    }
}

/// Of messages of 64 KiB, as one frame. A mask of zeros leaves the bytes as they are.
fn prepare_websocket(stream: &mut (impl Read + Write)) -> io::Result<(Message, Answer)> {
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    read_head(stream)?;
    let mut bytes = vec![0x82, 0xff];
    bytes.extend((BODY as u64).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(body());
    Ok((Message::new(bytes), Answer::Bytes(2 + 8 + BODY)))
}
