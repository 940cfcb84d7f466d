//! The same echo server on each runtime, as its own documentation would write it: one thread,
//! one task for each connection, the runtime's own `copy` where it has one.
//!
//! All set `TCP_NODELAY`: else those that answer a message in several writes would wait 40 ms for
//! a delayed acknowledgement, and the benchmark would measure that.

use std::io::{self, Write};

/// A runtime, and its echo server. Each prints `listening ADDRESS` and then serves for ever.
type Server = (&'static str, fn() -> io::Result<()>);

/// All servers; ours comes first.
pub(crate) const SERVERS: [Server; 5] =
    [("ours", ours), ("tokio", tokio), ("smol", smol), ("monoio", monoio), ("mio", mio)];

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

fn tokio() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
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

fn monoio() -> io::Result<()> {
    use monoio::io::{AsyncReadRent, AsyncWriteRentExt};

    let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().build()?;
    runtime.block_on(async {
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

fn mio() -> io::Result<()> {
    use mio::net::{TcpListener, TcpStream};
    use mio::{Events, Interest, Poll, Token};
    use std::io::{ErrorKind, Read};

    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(ADDRESS.parse().map_err(io::Error::other)?)?;
    announce(listener.local_addr()?)?;
    poll.registry().register(&mut listener, Token(usize::MAX), Interest::READABLE)?;
    let mut connections: Vec<TcpStream> = Vec::new();
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
                    let token = Token(connections.len());
                    poll.registry().register(&mut stream, token, Interest::READABLE)?;
                    connections.push(stream);
                }
                continue;
            }
            // The floor: no tasks, no wakers, and no care for a peer that does not read.
            let stream = &mut connections[event.token().0];
            loop {
                match stream.read(&mut buffer) {
                    Ok(read @ 1..) => stream.write_all(&buffer[..read])?,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    _ => break,
                }
            }
        }
    }
}
