//! TCP: connecting, accepting, splitting, shutdown and conversions, with the names of std.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
    TcpListener as StdListener, TcpStream as StdStream,
};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::StreamExt;
use futures_lite::future::zip;
use reactor::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use reactor::net::{TcpListener, TcpStream, ToSocketAddrs};
use reactor::time::timeout;
use reactor::{Async, Reactor};
use socket2::{Domain, SockRef, Socket, Type};
use tests::records::capture;
use tests::{run, tcp_pair, tcp_pair_with_std, within_deadline};

/// Returns a loopback address without a listener. No listener can bind it while the returned socket
/// exists.
fn closed_port() -> (Socket, SocketAddr) {
    let owner = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    owner.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let addr = owner.local_addr().unwrap().as_socket().unwrap();
    (owner, addr)
}

/// Makes the peer reset the connection, and waits until the reset has arrived at this end.
async fn reset(ours: &TcpStream, peer: StdStream) {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    drop(peer);
    tests::until(|| ours.peer_addr().is_err()).await;
}

// Pitfall: S4
#[test]
fn closed_port_is_connection_refused() {
    run(|| async {
        for _ in 0..20 {
            let (_owner, closed) = closed_port();
            let error = TcpStream::connect(closed).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

// A socket that reports an event is not necessarily connected.
// Pitfall: S4
#[test]
fn unanswered_connect_times_out() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.set_backlog(0).unwrap();
        let addr = listener.local_addr().unwrap();
        // The connections are not accepted. When the accept queue is full, the kernel drops further
        // SYNs.
        let mut queued = Vec::new();
        loop {
            match timeout(Duration::from_millis(100), TcpStream::connect(addr)).await {
                Ok(connected) => queued.push(connected.unwrap()),
                Err(_) => break,
            }
            assert!(queued.len() < 100);
        }
        assert_eq!(Reactor::current().next_deadline(), None, "the timeout leaves a timer");
        // The queue has space again, so a connection succeeds.
        let (_accepted, _) = listener.accept().await.unwrap();
        let connect = timeout(Duration::from_secs(10), TcpStream::connect(addr));
        connect.await.unwrap().unwrap();
    });
}

#[test]
fn connect_tries_each_address() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let (_owner, closed) = closed_port();
        let addresses = [closed, closed, open, closed];
        let stream = TcpStream::connect(&addresses[..]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
    });
}

#[test]
fn connect_returns_the_error_of_the_last_address() {
    run(|| async {
        // A broadcast address fails with another error than a closed port.
        let elsewhere = SocketAddr::from((Ipv4Addr::BROADCAST, 1));
        let (_owner, closed) = closed_port();
        let last = TcpStream::connect(&[elsewhere, closed][..]).await.unwrap_err();
        assert_eq!(last.kind(), ErrorKind::ConnectionRefused);
        let last = TcpStream::connect(&[closed, elsewhere][..]).await.unwrap_err();
        assert_ne!(last.kind(), ErrorKind::ConnectionRefused);
        let none = TcpStream::connect(&[][..]).await.unwrap_err();
        assert_eq!(none.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn bind_uses_the_first_free_address() {
    run(|| async {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let addresses = [taken.local_addr().unwrap(), free];
        let listener = TcpListener::bind(&addresses[..]).await.unwrap();
        assert_ne!(listener.local_addr().unwrap(), addresses[0]);
        let error = TcpListener::bind(addresses[0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

async fn connects(addr: impl ToSocketAddrs) {
    TcpStream::connect(addr).await.unwrap();
}

#[test]
fn every_address_type_of_std_is_accepted() {
    run(|| async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let port = addr.port();
        let ip = Ipv4Addr::LOCALHOST;
        connects(addr).await;
        connects(&addr).await;
        connects(SocketAddrV4::new(ip, port)).await;
        connects((IpAddr::V4(ip), port)).await;
        connects((ip, port)).await;
        connects(&[addr][..]).await;
        connects(addr.to_string()).await;
        connects(&addr.to_string()).await;
        connects(addr.to_string().as_str()).await;
        connects(("127.0.0.1", port)).await;
        connects(("127.0.0.1".to_owned(), port)).await;
        for invalid in ["", "nothing", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536"] {
            let error = TcpStream::connect(invalid).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{invalid:?}");
        }
    });
}

#[test]
fn only_host_names_are_looked_up_on_the_pool() {
    within_deadline(|| {
        let looked_up = |host: &'static str| {
            let (_, records) = capture(|| {
                executor::block_on(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    connects((host, listener.local_addr().unwrap().port())).await;
                });
            });
            records.iter().any(|record| record.kind == "job submitted")
        };
        assert!(looked_up("localhost"));
        assert!(!looked_up("127.0.0.1"));
    });
}

#[test]
fn host_name_is_accepted_in_every_form() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        connects(("localhost", port)).await;
        connects(("localhost".to_owned(), port)).await;
        connects(format!("localhost:{port}")).await;
    });
}

#[test]
fn ipv6_addresses_connect_where_supported() {
    run(|| async {
        let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
        let addr = listener.local_addr().unwrap();
        connects(addr).await;
        connects(SocketAddrV6::new(Ipv6Addr::LOCALHOST, addr.port(), 0, 0)).await;
        connects((IpAddr::V6(Ipv6Addr::LOCALHOST), addr.port())).await;
        connects(("::1", addr.port())).await;
        connects(format!("[::1]:{}", addr.port())).await;
    });
}

#[test]
fn stream_converts_to_std_and_back() {
    run(|| async {
        let (ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let addresses = (ours.local_addr().unwrap(), ours.peer_addr().unwrap());
        let theirs = ours.into_std().unwrap();
        let mut ours = TcpStream::from_std(theirs).unwrap();
        assert_eq!((ours.local_addr().unwrap(), ours.peer_addr().unwrap()), addresses);
        peer.write_all(b"there and back").unwrap();
        let mut bytes = [0; 14];
        ours.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"there and back");
    });
}

#[test]
fn listener_converts_to_std_and_back() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener.into_std().unwrap()).unwrap();
        let _client = StdStream::connect(addr).unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, _client.local_addr().unwrap());
    });
}

#[test]
fn options_are_set_on_the_socket() {
    run(|| async {
        let (ours, _peer) = tcp_pair().await.unwrap();
        ours.set_nodelay(true).unwrap();
        assert!(ours.nodelay().unwrap());
        ours.set_nodelay(false).unwrap();
        assert!(!ours.nodelay().unwrap());
        ours.set_ttl(42).unwrap();
        assert_eq!(ours.ttl().unwrap(), 42);
        assert!(ours.take_error().unwrap().is_none());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.set_ttl(43).unwrap();
        assert_eq!(listener.ttl().unwrap(), 43);
    });
}

#[test]
fn vectored_transfers_use_all_buffers() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair().await.unwrap();
        let written = ours
            .write_vectored(&[IoSlice::new(b"scat"), IoSlice::new(b""), IoSlice::new(b"tered")])
            .await
            .unwrap();
        assert_eq!(written, 9);
        let (mut head, mut tail) = ([0; 6], [0; 10]);
        let bufs = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert_eq!(peer.read_vectored(bufs).await.unwrap(), 9);
        assert_eq!((&head, &tail[..3]), (b"scatte", &b"red"[..]));
    });
}

/// Writes to one half and reads from another, each with two buffers.
async fn transfer_vectored(
    mut writer: impl AsyncWrite + Unpin,
    mut reader: impl AsyncRead + Unpin,
) {
    let bufs = [IoSlice::new(b"scat"), IoSlice::new(b"tered")];
    assert_eq!(writer.write_vectored(&bufs).await.unwrap(), 9);
    let (mut head, mut tail) = ([0; 6], [0; 10]);
    let bufs = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
    assert_eq!(reader.read_vectored(bufs).await.unwrap(), 9);
    assert_eq!((&head, &tail[..3]), (b"scatte", &b"red"[..]));
}

#[test]
fn halves_use_all_buffers_of_a_vectored_transfer() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair().await.unwrap();
        transfer_vectored(ours.split().1, peer.split().0).await;
        let ((reader, _writer), (_reader, writer)) = (ours.into_split(), peer.into_split());
        transfer_vectored(writer, reader).await;
    });
}

#[test]
fn two_tasks_use_one_connection_by_reference() {
    run(|| async {
        let (ours, mut peer) = tcp_pair().await.unwrap();
        let ours = Rc::new(ours);
        let (reading, writing) = (ours.clone(), ours);
        let reader = executor::spawn(async move {
            let mut text = String::new();
            (&*reading).read_to_string(&mut text).await.unwrap();
            text
        });
        let writer = executor::spawn(async move {
            (&*writing).write_all(&[7; 1 << 20]).await.unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        peer.write_all(b"thanks").await.unwrap();
        peer.close().await.unwrap();
        writer.await.unwrap();
        assert_eq!(reader.await.unwrap(), "thanks");
    });
}

#[test]
fn borrowed_halves_read_and_write_concurrently() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair().await.unwrap();
        let (mut reader, mut writer) = ours.split();
        peer.write_all(b"in").await.unwrap();
        let mut bytes = [0; 2];
        let (read, written) =
            futures_lite::future::zip(reader.read_exact(&mut bytes), writer.write_all(b"out"))
                .await;
        read.unwrap();
        written.unwrap();
        assert_eq!(&bytes, b"in");
        writer.close().await.unwrap();
        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "out");
    });
}

#[test]
fn dropped_write_half_gives_the_peer_eof() {
    run(|| async {
        let (ours, mut peer) = tcp_pair().await.unwrap();
        let (mut reader, mut writer) = ours.into_split();
        writer.write_all(b"last").await.unwrap();
        drop(writer);
        let mut text = String::new();
        peer.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "last");
        peer.write_all(b"answer").await.unwrap();
        peer.close().await.unwrap();
        text.clear();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    });
}

#[test]
fn dropped_read_half_leaves_the_write_half_working() {
    run(|| async {
        let (ours, mut peer) = tcp_pair().await.unwrap();
        let (reader, mut writer) = ours.into_split();
        drop(reader);
        writer.write_all(b"still here").await.unwrap();
        let mut bytes = [0; 10];
        peer.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"still here");
    });
}

#[test]
fn reunited_halves_stay_connected() {
    run(|| async {
        let (ours, mut peer) = tcp_pair().await.unwrap();
        let (reader, writer) = ours.into_split();
        let mut ours = reader.reunite(writer).unwrap();
        ours.write_all(b"one").await.unwrap();
        let mut bytes = [0; 3];
        peer.read_exact(&mut bytes).await.unwrap();
        peer.write_all(b"two").await.unwrap();
        ours.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"two");
        let end = timeout(Duration::from_millis(1), peer.read(&mut bytes)).await;
        assert!(end.is_err(), "writing was shut down");
    });
}

#[test]
fn reunite_returns_halves_of_different_connections() {
    run(|| async {
        let (a, b) = tcp_pair().await.unwrap();
        let ((reader_a, writer_a), (mut reader_b, writer_b)) = (a.into_split(), b.into_split());
        let error = reader_a.reunite(writer_b).unwrap_err();
        assert!(error.to_string().contains("not of the same connection"));
        let mut writer_a = writer_a;
        writer_a.write_all(b"x").await.unwrap();
        assert_eq!(reader_b.read(&mut [0; 8]).await.unwrap(), 1);
        let (reader_a, writer_b) = (error.0, error.1);
        assert!(reader_a.reunite(writer_a).is_ok() && reader_b.reunite(writer_b).is_ok());
    });
}

// Pitfall: S11
#[test]
fn write_direction_may_be_shut_down_twice() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair().await.unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        ours.close().await.unwrap();
        ours.close().await.unwrap();
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(ours.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        peer.close().await.unwrap();
        // Both directions are shut down, so the kernel returns ENOTCONN. `close` still succeeds.
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
        ours.close().await.unwrap();
        peer.close().await.unwrap();
    });
}

// Pitfall: S11
#[test]
fn close_succeeds_after_the_peer_has_reset() {
    run(|| async {
        let (mut ours, peer) = tcp_pair_with_std().await.unwrap();
        reset(&ours, peer).await;
        ours.close().await.unwrap();
        assert_eq!(ours.shutdown(Shutdown::Write).unwrap_err().kind(), ErrorKind::NotConnected);

        let (ours, peer) = tcp_pair_with_std().await.unwrap();
        reset(&ours, peer).await;
        let (mut reader, mut writer) = ours.into_split();
        writer.close().await.unwrap();
        writer.close().await.unwrap();
        drop(writer);
        let error = reader.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0, "the error is reported once");
    });
}

#[test]
fn shutdown_of_reading_ends_a_waiting_read() {
    run(|| async {
        let (ours, _peer) = tcp_pair().await.unwrap();
        let ours = Rc::new(ours);
        let reading = ours.clone();
        let reader = executor::spawn(async move { (&*reading).read(&mut [0; 8]).await });
        tests::until(|| Reactor::current().metrics().waits >= 1).await;
        executor::yield_now().await;
        ours.shutdown(Shutdown::Read).unwrap();
        assert_eq!(reader.await.unwrap().unwrap(), 0);
    });
}

#[test]
fn reset_ends_a_waiting_read_with_the_error() {
    run(|| async {
        let (mut ours, peer) = tcp_pair_with_std().await.unwrap();
        let reader = executor::spawn(async move { ours.read(&mut [0; 8]).await });
        executor::yield_now().await;
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let error = reader.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn incoming_yields_every_connection() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let clients = std::thread::spawn(move || -> Vec<SocketAddr> {
            let connect = |_| StdStream::connect(addr).unwrap().local_addr().unwrap();
            (0..200).map(connect).collect()
        });
        let streams: Vec<_> = listener.incoming().take(200).collect().await;
        let mut streams = streams.into_iter().map(Result::unwrap);
        assert!(streams.all(|stream| stream.local_addr().unwrap() == addr));
        clients.join().unwrap();
    });
}

// A connection that its client resets before it is accepted does not end `incoming`.
#[test]
fn incoming_survives_clients_that_reset_before_accept() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        for _ in 0..20 {
            let client = StdStream::connect(addr).unwrap();
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
        let mut client = StdStream::connect(addr).unwrap();
        client.write_all(b"alive").unwrap();
        let mut incoming = listener.incoming();
        loop {
            let mut stream = incoming.next().await.unwrap().unwrap();
            if matches!(stream.read(&mut [0; 8]).await, Ok(5)) {
                break;
            }
        }
    });
}

#[test]
fn accepted_stream_is_nonblocking_and_has_its_peer() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        assert_eq!((peer, stream.peer_addr().unwrap()), (client.local_addr().unwrap(), peer));
        let start = Instant::now();
        assert!(timeout(Duration::from_millis(2), stream.read(&mut [0; 8])).await.is_err());
        assert!(start.elapsed() < Duration::from_secs(5));
    });
}

// A write that fills the kernel's buffers waits, and continues when the peer reads.
#[test]
fn blocked_writer_continues_when_the_peer_reads() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let writer = executor::spawn(async move { ours.write_all(&[7; 16 << 20]).await });
        tests::until(|| Reactor::current().metrics().waits >= 1).await;
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        writer.await.unwrap().unwrap();
        assert_eq!(reader.join().unwrap(), 16 << 20);
    });
}

#[test]
fn mio_stream_in_async_reads_and_writes() {
    run(|| async {
        let (ours, mut peer) = tcp_pair_with_std().await.unwrap();
        let ours = mio::net::TcpStream::from_std(ours.into_std().unwrap());
        let ours = Async::new(ours).unwrap();
        ours.write_with(|mut stream| stream.write(b"raw")).await.unwrap();
        let mut bytes = [0; 3];
        peer.read_exact(&mut bytes).unwrap();
        peer.write_all(&bytes).unwrap();
        assert_eq!(ours.read_with(|mut stream| stream.read(&mut bytes)).await.unwrap(), 3);
        assert!(ours.into_inner().unwrap().peer_addr().is_ok());
    });
}

#[test]
fn peek_of_a_read_half_waits_for_bytes_and_keeps_them() {
    run(|| async {
        let (mut ours, mut peer) = tcp_pair().await.unwrap();
        let (mut bytes, mut read) = ([0; 8], [0; 8]);
        let (mut reader, _writer) = ours.split();
        assert!(timeout(Duration::from_millis(2), reader.peek(&mut bytes)).await.is_err());
        peer.write_all(b"one").await.unwrap();
        for _ in 0..2 {
            assert_eq!(reader.peek(&mut bytes).await.unwrap(), 3);
        }
        assert_eq!(reader.read(&mut read).await.unwrap(), 3);

        let (mut reader, _writer) = ours.into_split();
        let peeked = zip(reader.peek(&mut bytes), peer.write_all(b"two")).await.0;
        assert_eq!((peeked.unwrap(), &bytes[..3]), (3, &b"two"[..]));
        assert_eq!(reader.read(&mut read).await.unwrap(), 3);
        drop(peer);
        assert_eq!(reader.peek(&mut bytes).await.unwrap(), 0, "the end of the stream");
    });
}

/// Connects, and resets the connection before it is accepted. Returns the client's address.
fn reset_before_accept(listener: &TcpListener) -> SocketAddr {
    let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    client.local_addr().unwrap()
}

// `peer_addr` cannot return the address, because the kernel drops it with the connection.
#[test]
fn incoming_with_peers_yields_a_peer_that_has_reset() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = reset_before_accept(&listener);
        let (stream, peer) = listener.incoming().with_peers().next().await.unwrap().unwrap();
        assert_eq!(peer, client);
        assert_eq!(stream.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn poll_accept_waits_for_a_connection() {
    run(|| async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let accept = poll_fn(|cx| listener.poll_accept(cx));
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = zip(accept, connect).await;
        assert_eq!(accepted.unwrap().1, client.unwrap().local_addr().unwrap());
    });
}
