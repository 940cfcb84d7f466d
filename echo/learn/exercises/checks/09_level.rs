//! Check of exercise 9.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Echo;
use crate::check::{Seen, Step, count_of, require};
use crate::kernel::{Calls, Kernel, Mode};

pub(crate) const STEPS: &[Step] = &[
    ("while nothing happens, epoll_wait reports nothing", idle),
    ("a message costs one wait, one read and one write", messages),
    ("while the client does not read, epoll_wait reports nothing", full),
    ("all bytes come back, and then epoll_wait reports nothing again", all_bytes),
    ("the end of the connection is seen", end),
];

/// How many messages the client sends, one after the other.
const MESSAGES: usize = 100;

/// An echo server with one client, on one thread.
struct Server {
    kernel: Kernel,
    echo: Echo,
    client: UnixStream,
}

fn server() -> Result<Server, String> {
    let start = || {
        let (client, stream) = UnixStream::pair()?;
        client.set_nonblocking(true)?;
        stream.set_nonblocking(true)?;
        let mut kernel = Kernel::new(Mode::Level)?;
        let echo = Echo::new(&mut kernel, stream)?;
        io::Result::Ok(Server { kernel, echo, client })
    };
    start().map_err(|error| format!("the server cannot start: {error}"))
}

impl Server {
    /// Handles events until epoll reports none, or 1,000 times. Returns how many there were.
    fn run(&mut self) -> Result<usize, String> {
        for events in 0..1000 {
            if !self.kernel.wait(Duration::ZERO).map_err(|error| error.to_string())? {
                return Ok(events);
            }
            match self.echo.ready(&mut self.kernel) {
                Ok(true) => {}
                Ok(false) => return Err("the server saw the end of an open connection".to_owned()),
                Err(error) => return Err(format!("the server failed: {error}")),
            }
        }
        Ok(1000)
    }

    /// Reads what has come back to the client.
    fn receive(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.client.read(&mut buffer) {
            bytes.extend_from_slice(&buffer[..count]);
        }
        bytes
    }
}

fn idle() -> Seen {
    let events = server()?.run()?;
    require(events == 0, format!("nothing was sent, and epoll_wait reported {events} events"), "0")
}

/// Counts the calls of a server that is edge-triggered, and reads until `WouldBlock`.
fn edge_triggered() -> io::Result<Calls> {
    let (mut client, stream) = UnixStream::pair()?;
    stream.set_nonblocking(true)?;
    let mut kernel = Kernel::new(Mode::Edge)?;
    kernel.watch(&stream, true, true)?;
    kernel.wait(Duration::ZERO)?;
    kernel.calls = Calls::default();
    let mut buffer = [0; 4096];
    for _ in 0..MESSAGES {
        client.write_all(b"0123456789abcdef")?;
        kernel.wait(Duration::ZERO)?;
        while let Ok(count) = kernel.read(&stream, &mut buffer) {
            kernel.write(&stream, &buffer[..count])?;
        }
        client.read_exact(&mut buffer[..16])?;
    }
    Ok(kernel.calls)
}

fn messages() -> Seen {
    let mut server = server()?;
    server.kernel.calls = Calls::default();
    for message in 0..MESSAGES {
        let sent = server.client.write_all(b"0123456789abcdef");
        sent.map_err(|error| format!("the client cannot write: {error}"))?;
        // One turn of the loop for each message. An idle server does not turn.
        let has_event = server.kernel.wait(Duration::from_secs(1));
        require(has_event.is_ok_and(|has| has), "epoll_wait reported nothing", "the message")?;
        let _ = server.echo.ready(&mut server.kernel);
        let back = server.receive().len();
        require(back == 16, format!("of message {message}, {back} bytes came back"), "16")?;
    }
    let calls = server.kernel.calls;
    let edge = edge_triggered().map_err(|error| error.to_string())?;
    let saw = format!(
        "{MESSAGES} messages cost {}: {} epoll_wait, {} read, {} write, {} epoll_ctl; an \
         edge-triggered server makes {}",
        count_of(calls.total(), "system call"),
        calls.wait,
        calls.read,
        calls.write,
        calls.control,
        edge.total()
    );
    require(calls.total() == 3 * MESSAGES, saw, "300: a level needs no second read")
}

/// Sends until the server's buffers are full, because the client does not read. Returns the bytes.
fn fill(server: &mut Server) -> Result<Vec<u8>, String> {
    let mut sent = Vec::new();
    for chunk in (b'a'..=b'z').cycle().map(|letter| [letter; 1024]) {
        match server.client.write(&chunk) {
            Ok(count) => sent.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let events = server.run()?;
                if events == 0 {
                    return Ok(sent);
                }
                let saw = format!(
                    "the client does not read its {}, and epoll_wait reported {events} events in \
                     a row",
                    count_of(sent.len(), "byte")
                );
                require(events < 1000, saw, "it to wait for space")?;
            }
            Err(error) => return Err(format!("the client cannot write: {error}")),
        }
    }
    Ok(sent)
}

fn full() -> Seen {
    let mut server = server()?;
    let sent = fill(&mut server)?;
    let events = server.run()?;
    let saw = format!(
        "{} bytes were sent and not read back; then epoll_wait reported {events} events",
        sent.len()
    );
    require(events == 0, saw, "0")
}

fn all_bytes() -> Seen {
    let mut server = server()?;
    let sent = fill(&mut server)?;
    let mut back = Vec::new();
    for _ in 0..1000 {
        back.extend(server.receive());
        if back.len() >= sent.len() {
            break;
        }
        server.run()?;
    }
    let saw = format!("{} of {} bytes came back", back.len(), sent.len());
    require(back == sent, saw.clone(), "all of them, in order")?;
    let events = server.run()?;
    let saw = format!("{saw}, with {} epoll_ctl", server.kernel.calls.control);
    require(events == 0, format!("{saw}; then epoll_wait reported {events} events"), "0")
}

fn end() -> Seen {
    let Server { mut kernel, mut echo, client } = server()?;
    drop(client);
    for _ in 0..1000 {
        let has_event = kernel.wait(Duration::from_secs(1)).is_ok_and(|has| has);
        require(has_event, "the client has closed, and epoll_wait reported nothing", "the end")?;
        match echo.ready(&mut kernel) {
            Ok(true) => {}
            Ok(false) => return Ok("the client has closed, and ready returned false".to_owned()),
            Err(error) => return Err(format!("the server failed: {error}")),
        }
    }
    Err("the client has closed, and ready returned true 1000 times; expected false".to_owned())
}
