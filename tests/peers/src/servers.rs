//! The same echo server on each runtime, as its own documentation would write it: one thread,
//! one task for each connection, the runtime's own `copy` where it has one.
//!
//! All set `TCP_NODELAY`: else those that answer a message in several writes would wait 40 ms for
//! a delayed acknowledgement, and the benchmark would measure that.

use std::io::{self, Write};

use monoio::{Buildable, Driver, IoUringDriver, LegacyDriver, RuntimeBuilder};
use slab::Slab;

/// A runtime, and its echo server. Each prints `listening ADDRESS` and then serves forever.
type Server = (&'static str, fn() -> io::Result<()>);

/// All servers; ours comes first.
pub(crate) const SERVERS: [Server; 8] = [
    ("ours", ours),
    ("tokio", tokio),
    ("tokio LocalSet", tokio_local),
    ("tokio 64 KiB", tokio_with_64_kib),
    ("smol", smol),
    ("monoio", monoio::<LegacyDriver>),
    ("monoio uring", monoio::<IoUringDriver>),
    ("mio loop", mio),
];

/// A free port of the loopback.
pub(crate) const ADDRESS: &str = "127.0.0.1:0";

pub(crate) fn announce(address: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "listening {address}")
}

fn ours() -> io::Result<()> {
    use futures_lite::StreamExt;

    executor::block_on(async {
        let listener = reactor::net::TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr()?)?;
        let mut incoming = listener.incoming();
        while let Some(stream) = incoming.next().await {
            let mut stream = stream?;
            stream.set_nodelay(true)?;
            drop(executor::spawn(async move {
                let (reader, writer) = stream.split();
                reactor::io::copy(reader, writer).await
            }));
        }
        Ok(())
    })
}

fn tokio_with_one_thread() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()
}

fn tokio() -> io::Result<()> {
    tokio_with_one_thread()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    })
}

/// The same with tasks that need not be `Send`, as ours.
fn tokio_local() -> io::Result<()> {
    let local = tokio::task::LocalSet::new();
    local.block_on(&tokio_with_one_thread()?, async {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await
            });
        }
    })
}

/// The same with a buffer of 64 KiB for each connection instead of 8 KiB.
fn tokio_with_64_kib() -> io::Result<()> {
    tokio_with_one_thread()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let (reader, mut writer) = stream.split();
                let mut reader = tokio::io::BufReader::with_capacity(64 * 1024, reader);
                tokio::io::copy_buf(&mut reader, &mut writer).await
            });
        }
    })
}

fn smol() -> io::Result<()> {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = smol::net::TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            executor.spawn(async move { smol::io::copy(stream.clone(), stream).await }).detach();
        }
    }))
}

fn monoio<D: Driver + Buildable>() -> io::Result<()> {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};

    Buildable::build(RuntimeBuilder::<D>::new())?.block_on(async {
        let listener = monoio::net::TcpListener::bind(ADDRESS)?;
        announce(listener.local_addr()?)?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            monoio::spawn(async move {
                // As monoio's own echo example: one buffer to and fro.
                let mut buffer = Vec::with_capacity(8 * 1024);
                loop {
                    let (read, filled) = stream.read(buffer).await;
                    if read? == 0 {
                        return io::Result::Ok(());
                    }
                    let (written, emptied) = stream.write_all(filled).await;
                    written?;
                    buffer = emptied;
                    buffer.clear();
                }
            });
        }
    })
}

/// The floor: no tasks, no wakers, no timers.
fn mio() -> io::Result<()> {
    use mio::net::{TcpListener, TcpStream};
    use mio::{Events, Interest, Poll, Token};
    use std::io::{ErrorKind, Read};

    struct Connection {
        stream: TcpStream,
        /// What the kernel did not take. Until it has, nothing more is read.
        unsent: Vec<u8>,
    }

    impl Connection {
        fn echo(&mut self, buffer: &mut [u8]) -> io::Result<()> {
            loop {
                while !self.unsent.is_empty() {
                    let sent = self.stream.write(&self.unsent)?;
                    self.unsent.drain(..sent);
                }
                let read = self.stream.read(buffer)?;
                if read == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                let sent = match self.stream.write(&buffer[..read]) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                    result => result?,
                };
                self.unsent.extend(&buffer[sent..read]);
            }
        }
    }

    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(ADDRESS.parse().map_err(io::Error::other)?)?;
    announce(listener.local_addr()?)?;
    poll.registry().register(&mut listener, Token(usize::MAX), Interest::READABLE)?;
    let mut connections = Slab::<Connection>::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == Token(usize::MAX) {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let entry = connections.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                    entry.insert(Connection { stream, unsent: Vec::new() });
                }
                continue;
            }
            match connections[event.token().0].echo(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                _ => drop(connections.remove(event.token().0)),
            }
        }
    }
}
