//! Unix sockets: streams, listeners and datagrams, with the names of std.
//!
//! No test here starts a process. Until its `exec`, a child has a copy of every descriptor, so a
//! socket that the parent closes would stay open for its peer.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{
    SocketAddr, UnixDatagram as StdDatagram, UnixListener as StdListener, UnixStream as StdStream,
};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::StreamExt;
use futures_lite::future::{poll_once, yield_now, zip};
use reactor::Reactor;
use reactor::io::{AsyncReadExt, AsyncWriteExt, copy};
use reactor::net::{UnixDatagram, UnixListener, UnixStream};
use reactor::time::{sleep, timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType,
};
use tests::wakers::{Counter, poll};
use tests::{folder, run, turn_until};

/// Returns an abstract address that no other test uses.
fn abstract_address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::from_abstract_name(name).unwrap()
}

fn turns() -> u64 {
    Reactor::current().metrics().turns
}

/// Waits until this many operations have returned `Pending`.
async fn until_waits(waits: u64) {
    tests::until(|| Reactor::current().metrics().waits >= waits).await;
}

/// Waits until another task has set a timer.
async fn until_a_timer_is_set() {
    tests::until(|| Reactor::current().next_deadline().is_some()).await;
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

// A full backlog makes `connect` return EAGAIN, and epoll reports no event when it has space.
// Pitfall: S5
#[test]
fn connects_beyond_the_backlog_complete_after_accept() {
    run(|| async {
        let directory = folder();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let connected = Rc::new(Cell::new(0));
        let connect = |n: u8| {
            let (path, connected) = (path.clone(), connected.clone());
            executor::spawn(async move {
                let mut stream = UnixStream::connect(&path).await.unwrap();
                connected.set(connected.get() + 1);
                stream.write_all(&[n]).await.unwrap();
            })
        };
        let clients: Vec<_> = (0..20).map(connect).collect();
        let before = turns();
        sleep(Duration::from_millis(200)).await;
        assert!(connected.get() < 5, "{} connected to a backlog of one", connected.get());
        // Retries after 1, 2, 4, … 32 and 50 ms make about ten turns. A busy loop would make far
        // more.
        assert!(turns() - before < 100, "{} turns", turns() - before);

        let mut heard = Vec::new();
        for _ in 0..20 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_to_end(&mut heard).await.unwrap();
        }
        for client in clients {
            client.await.unwrap();
        }
        heard.sort();
        assert_eq!(heard, (0..20).collect::<Vec<_>>());
    });
}

// Pitfall: S5
#[test]
fn dropped_connect_to_a_full_backlog_leaves_no_connection() {
    run(|| async {
        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let mut queued = Vec::new();
        loop {
            let connect = UnixStream::connect_addr(&address);
            match timeout(Duration::from_millis(20), connect).await {
                Ok(stream) => queued.push(stream.unwrap()),
                Err(_) => break,
            }
            assert!(queued.len() < 10);
        }
        assert_eq!(Reactor::current().next_deadline(), None, "the timeout leaves a timer");
        // The failed attempts have left no connection in the backlog.
        for _ in 0..queued.len() {
            listener.accept().await.unwrap();
        }
        assert!(timeout(Duration::from_millis(5), listener.accept()).await.is_err());
    });
}

// Pitfall: S5
#[test]
fn waiting_connect_is_refused_when_the_listener_drops() {
    run(|| async {
        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _queued = UnixStream::connect_addr(&address).await.unwrap();
        let waiting = executor::spawn(async move { UnixStream::connect_addr(&address).await });
        until_a_timer_is_set().await;
        drop(listener);
        assert_eq!(kind(waiting.await.unwrap()), ErrorKind::ConnectionRefused);
    });
}

// As in tokio's tests of Unix streams, but with a client that waits.
// Pitfall: W7
#[test]
fn dropped_listener_resets_connections_it_has_not_accepted() {
    run(|| async {
        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let mut client = UnixStream::connect_addr(&address).await.unwrap();
        let waits = Reactor::current().metrics().waits;
        let read = executor::spawn(async move { client.read(&mut [0]).await });
        until_waits(waits + 1).await;
        drop(listener);
        assert_eq!(kind(read.await.unwrap()), ErrorKind::ConnectionReset);
    });
}

#[test]
fn incoming_yields_every_connection() {
    run(|| async {
        let directory = folder();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let clients = std::thread::spawn(move || {
            (0..200).for_each(|_| drop(StdStream::connect(&path).unwrap()));
        });
        let streams: Vec<_> = listener.incoming().take(200).collect().await;
        assert!(streams.into_iter().all(|stream| stream.is_ok()));
        clients.join().unwrap();
    });
}

// Pitfall: S2
#[test]
fn bytes_of_a_closed_client_are_read_after_accept() {
    run(|| async {
        let directory = folder();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        for _ in 0..20 {
            let mut client = StdStream::connect(directory.path().join("socket")).unwrap();
            client.write_all(b"bye").unwrap();
        }
        let mut incoming = listener.incoming();
        for _ in 0..20 {
            let mut text = String::new();
            let mut stream = incoming.next().await.unwrap().unwrap();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "bye");
        }
    });
}

// Pitfall: S2
#[test]
fn incoming_ends_after_the_error_of_a_nonlistener() {
    run(|| async {
        let (socket, _peer) = StdStream::pair().unwrap();
        let listener = UnixListener::from_std(OwnedFd::from(socket).into()).unwrap();
        let mut incoming = listener.incoming();
        assert_eq!(kind(incoming.next().await.unwrap()), ErrorKind::InvalidInput);
        assert!(incoming.next().await.is_none());
    });
}

#[test]
fn accepted_stream_is_nonblocking_and_close_on_exec() {
    run(|| async {
        let directory = folder();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let _client = StdStream::connect(directory.path().join("socket")).unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        assert!(peer.is_unnamed());
        assert_eq!(
            stream.local_addr().unwrap().as_pathname(),
            Some(&*directory.path().join("socket"))
        );
        assert!(rustix::io::fcntl_getfd(&stream).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert!(timeout(Duration::from_millis(2), stream.read(&mut [0; 8])).await.is_err());
    });
}

#[test]
fn abstract_addresses_are_returned_on_both_ends() {
    run(|| async {
        let (server, client) = (abstract_address(), abstract_address());
        let listener = UnixListener::bind_addr(&server).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_abstract_name(), server.as_abstract_name());
        assert_eq!(kind(UnixListener::bind_addr(&server)), ErrorKind::AddrInUse);
        // A client with an address of its own. Std cannot bind a stream before it connects.
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let name = |addr: &SocketAddr| {
            SocketAddrUnix::new_abstract_name(addr.as_abstract_name().unwrap()).unwrap()
        };
        rustix::net::bind(&socket, &name(&client)).unwrap();
        rustix::net::connect(&socket, &name(&server)).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.as_abstract_name(), client.as_abstract_name());
        assert_eq!(stream.peer_addr().unwrap().as_abstract_name(), client.as_abstract_name());

        let stream = UnixStream::connect_addr(&server).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().as_abstract_name(), server.as_abstract_name());
        drop(listener);
        let closed = UnixStream::connect_addr(&server).await;
        assert_eq!(kind(closed), ErrorKind::ConnectionRefused);
    });
}

// An abstract name may contain any bytes, and has a length instead of a terminator.
#[test]
fn abstract_name_may_begin_and_end_with_a_zero() {
    run(|| async {
        let process = std::process::id().to_ne_bytes();
        for name in [[&[0], &process[..]].concat(), [&process[..], &[0]].concat()] {
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let listener = UnixListener::bind_addr(&address).unwrap();
            assert_eq!(listener.local_addr().unwrap().as_abstract_name(), Some(&name[..]));
            std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
            let stream = UnixStream::connect_addr(&address).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap().as_abstract_name(), Some(&name[..]));
            drop(listener);
            let receiver = UnixDatagram::bind_addr(&address).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            sender.send_to_addr(b"x", &address).await.unwrap();
            assert_eq!(receiver.recv(&mut [0; 9]).await.unwrap(), 1);
        }
    });
}

// The path fills `sun_path` and has no terminator. The kernel allows this, but std does not create
// such an address.
#[test]
fn peer_with_the_longest_path_is_accepted() {
    run(|| async {
        let directory = folder();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        let missing = 108 - 1 - directory.path().as_os_str().len();
        let path = directory.path().join("x".repeat(missing));
        assert_eq!(path.as_os_str().len(), 108);
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        let server = SocketAddrUnix::new(directory.path().join("socket")).unwrap();
        rustix::net::connect(&socket, &server).unwrap();
        let (_stream, peer) = listener.accept().await.unwrap();
        assert_eq!(peer.as_pathname(), Some(&*path));
    });
}

#[test]
fn errors_of_unix_paths_are_those_of_std() {
    run(|| async {
        let directory = folder();
        for path in [directory.path().join("x".repeat(108)), directory.path().join("\0")] {
            assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::InvalidInput);
            assert_eq!(kind(UnixStream::connect(&path).await), ErrorKind::InvalidInput);
            assert_eq!(kind(UnixDatagram::bind(&path)), ErrorKind::InvalidInput);
            let socket = UnixDatagram::unbound().unwrap();
            assert_eq!(kind(socket.connect(&path)), ErrorKind::InvalidInput);
            assert_eq!(kind(socket.send_to(b"x", &path).await), ErrorKind::InvalidInput);
        }
        let path = directory.path().join("socket");
        assert_eq!(kind(UnixStream::connect(&path).await), ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
        assert_eq!(kind(UnixDatagram::bind(&path)), ErrorKind::AddrInUse);
        drop(listener);
        // The socket file stays, as in std. It can be neither connected to nor bound.
        assert!(path.exists());
        assert_eq!(kind(UnixStream::connect(&path).await), ErrorKind::ConnectionRefused);
        assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        UnixListener::bind(&path).unwrap();
    });
}

#[test]
fn peer_credentials_of_a_local_peer_are_ours() {
    run(|| async {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = ours.peer_cred().unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).ok());

        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let client = UnixStream::connect_addr(&address).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert_eq!(client.peer_cred().unwrap(), peer);
        assert_eq!(server.peer_cred().unwrap(), peer);
    });
}

// Pitfall: E1
#[test]
fn bytes_that_arrive_with_the_fin_are_read_before_eof() {
    run(|| async {
        for chunk in [1, 3, 64, 10_000] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&[7; 1000]).await.unwrap();
            drop(theirs);
            // One event reports the bytes and the end of file. It is delivered before the first
            // read.
            Reactor::current().turn(Some(Duration::ZERO)).unwrap();
            let (mut read, mut bytes) = (0, vec![0; chunk]);
            loop {
                match ours.read(&mut bytes).await.unwrap() {
                    0 => break,
                    n => read += n,
                }
            }
            assert_eq!(read, 1000);
        }
    });
}

// A read stops after a message that carries descriptors, although another message is queued.
// Pitfall: E7
#[test]
fn bytes_after_passed_descriptors_need_no_second_event() {
    run(|| async {
        let (mut ours, peer) = UnixStream::pair().unwrap();
        for text in [b"abc", b"def"] {
            let descriptors = [peer.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            let text = [IoSlice::new(text)];
            rustix::net::sendmsg(&peer, &text, &mut control, SendFlags::empty()).unwrap();
        }
        // The event of both messages is delivered before the first read.
        Reactor::current().turn(Some(Duration::ZERO)).unwrap();
        let mut bytes = [0; 100];
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 3);
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 3);
        assert_eq!(&bytes[..3], b"def");
    });
}

#[test]
fn answer_is_read_after_shutdown_of_writing() {
    run(|| async {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let echo = executor::spawn(async move {
            let mut theirs = theirs;
            let (reader, writer) = theirs.split();
            copy(reader, writer).await.unwrap()
            // Dropping the stream ends the answer.
        });
        const BYTES: usize = 4 << 20;
        let sent = vec![3; BYTES];
        let (mut reader, mut writer) = ours.split();
        let mut answer = Vec::new();
        let send = async {
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
        };
        let (received, ()) = zip(reader.read_to_end(&mut answer), send).await;
        assert_eq!((received.unwrap(), echo.await.unwrap()), (BYTES, BYTES as u64));
        assert!(answer == sent);
        assert_eq!(kind(ours.write(b"x").await), ErrorKind::BrokenPipe);
    });
}

// Pitfall: S11
#[test]
fn unix_stream_may_be_closed_twice() {
    run(|| async {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        ours.close().await.unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0);
        theirs.close().await.unwrap();
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);

        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let (mut reader, mut writer) = ours.into_split();
        assert_eq!(kind(writer.write(b"x").await), ErrorKind::BrokenPipe);
        writer.close().await.unwrap();
        writer.close().await.unwrap();
        drop(writer);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
    });
}

// Pitfall: W7
#[test]
fn dropped_peer_ends_waiting_reads_and_writes() {
    run(|| async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = ours.into_split();
        let read = executor::spawn(async move { reader.read(&mut [0; 8]).await });
        let write = executor::spawn(async move { writer.write_all(&vec![0; 16 << 20]).await });
        until_waits(2).await;
        drop(theirs);
        // The peer closed with unread bytes, so the kernel reports a reset, as for TCP.
        assert_eq!(kind(read.await.unwrap()), ErrorKind::ConnectionReset);
        assert_eq!(kind(write.await.unwrap()), ErrorKind::BrokenPipe);
    });
}

#[test]
fn shutdown_of_either_end_ends_a_waiting_write() {
    run(|| async {
        for peer_shuts in [false, true] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let ours = Rc::new(ours);
            let writer = ours.clone();
            let before = Reactor::current().metrics().waits;
            let write =
                executor::spawn(async move { (&*writer).write_all(&vec![0; 16 << 20]).await });
            until_waits(before + 1).await;
            let shuts = if peer_shuts { &theirs } else { &*ours };
            shuts.shutdown(Shutdown::Both).unwrap();
            assert_eq!(kind(write.await.unwrap()), ErrorKind::BrokenPipe);
        }
    });
}

#[test]
fn unix_halves_in_two_tasks_are_reunited() {
    run(|| async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = ours.into_split();
        let write = executor::spawn(async move {
            writer.write_all(b"out").await.unwrap();
            writer
        });
        let mut bytes = [0; 3];
        theirs.read_exact(&mut bytes).await.unwrap();
        theirs.write_all(b"in").await.unwrap();
        assert_eq!(reader.read(&mut bytes).await.unwrap(), 2);
        let ours = reader.reunite(write.await.unwrap()).unwrap();
        let end = timeout(Duration::from_millis(1), theirs.read(&mut bytes)).await;
        assert!(end.is_err(), "writing was shut down");

        let (_reader, writer) = ours.into_split();
        drop(writer);
        assert_eq!(theirs.read(&mut bytes).await.unwrap(), 0);
    });
}

// Pitfall: W3
#[test]
fn two_readers_of_one_stream_both_get_a_byte() {
    run(|| async {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let ours = Rc::new(ours);
        let read = |ours: Rc<UnixStream>| async move {
            let mut byte = [0];
            (&*ours).read_exact(&mut byte).await.unwrap();
            byte[0]
        };
        let first = executor::spawn(read(ours.clone()));
        let second = executor::spawn(read(ours));
        until_waits(2).await;
        theirs.write_all(b"12").await.unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (b'1', b'2'));
    });
}

#[test]
fn vectored_transfers_use_all_buffers() {
    run(|| async {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let bufs = [IoSlice::new(b"scat"), IoSlice::new(b""), IoSlice::new(b"tered")];
        assert_eq!(ours.write_vectored(&bufs).await.unwrap(), 9);
        let (mut head, mut tail) = ([0; 6], [0; 10]);
        let bufs = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
        assert_eq!(theirs.read_vectored(bufs).await.unwrap(), 9);
        assert_eq!((&head, &tail[..3]), (b"scatte", &b"red"[..]));
    });
}

#[test]
fn take_error_returns_the_error_that_the_peer_caused() {
    run(|| async {
        let (mut stream, peer) = UnixStream::pair().unwrap();
        assert!(stream.take_error().unwrap().is_none());
        stream.write_all(b"unread").await.unwrap();
        drop(peer);
        let error = stream.take_error().unwrap().map(|error| error.kind());
        assert_eq!(error, Some(ErrorKind::ConnectionReset));

        // A datagram socket that connects to another address discards what its peer has sent.
        let (socket, peer) = UnixDatagram::pair().unwrap();
        let elsewhere = abstract_address();
        let _elsewhere = StdDatagram::bind_addr(&elsewhere).unwrap();
        socket.send(b"unread").await.unwrap();
        peer.into_std().unwrap().connect_addr(&elsewhere).unwrap();
        let error = socket.take_error().unwrap().map(|error| error.kind());
        assert_eq!(error, Some(ErrorKind::ConnectionReset));
        assert!(socket.take_error().unwrap().is_none());
    });
}

// Pitfall: S6
#[test]
fn unix_sockets_convert_from_std_and_back() {
    run(|| async {
        let directory = folder();
        let short = Duration::from_millis(2);
        let (ours, mut peer) = StdStream::pair().unwrap();
        let mut ours = UnixStream::from_std(ours).unwrap();
        assert!(timeout(short, ours.read(&mut [0; 8])).await.is_err());
        let mut ours = UnixStream::from_std(ours.into_std().unwrap()).unwrap();
        ours.write_all(b"back").await.unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 4);

        let listener = StdListener::bind(directory.path().join("socket")).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        assert!(timeout(short, listener.accept()).await.is_err());
        let listener = UnixListener::from_std(listener.into_std().unwrap()).unwrap();
        let _client = StdStream::connect(directory.path().join("socket")).unwrap();
        listener.accept().await.unwrap();

        let (ours, peer) = StdDatagram::pair().unwrap();
        let ours = UnixDatagram::from_std(ours).unwrap();
        assert!(timeout(short, ours.recv(&mut [0; 8])).await.is_err());
        let ours = UnixDatagram::from_std(ours.into_std().unwrap()).unwrap();
        ours.send(b"back").await.unwrap();
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 4);
    });
}

// Pitfall: S8
#[test]
fn unix_datagrams_keep_their_boundaries() {
    run(|| async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut buffer = vec![0; 70_000];
        for length in [0, 1, 0, 0, 100, 65_507, 0, 65_536] {
            let sent = vec![7; length];
            let (received, sent) = zip(theirs.recv(&mut buffer), ours.send(&sent)).await;
            assert_eq!((received.unwrap(), sent.unwrap()), (length, length));
        }
        // Each datagram is shorter than the buffer, which does not mean that the queue is empty.
        for length in 0..10 {
            ours.send(&vec![1; length]).await.unwrap();
        }
        Reactor::current().turn(Some(Duration::ZERO)).unwrap();
        for length in 0..10 {
            assert_eq!(theirs.recv_from(&mut buffer).await.unwrap().0, length);
        }
    });
}

// Pitfall: S8
#[test]
fn datagram_longer_than_the_buffer_is_truncated() {
    run(|| async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.send(b"too long").await.unwrap();
        ours.send(b"next").await.unwrap();
        let mut buffer = [0; 4];
        assert_eq!(theirs.recv(&mut buffer).await.unwrap(), 4);
        assert_eq!(&buffer, b"too ");
        assert_eq!(theirs.recv_from(&mut buffer).await.unwrap().0, 4);
        assert_eq!(&buffer, b"next");
    });
}

#[test]
fn recv_from_returns_the_address_of_the_sender() {
    run(|| async {
        let directory = folder();
        let server = UnixDatagram::bind(directory.path().join("socket")).unwrap();
        let path = directory.path().join("client");
        let client = UnixDatagram::bind(&path).unwrap();
        client.send_to(b"path", directory.path().join("socket")).await.unwrap();
        let mut buffer = [0; 8];
        let (_, from) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from.as_pathname(), Some(&*path));
        server.send_to_addr(b"back", &from).await.unwrap();
        assert_eq!(client.recv(&mut buffer).await.unwrap(), 4);

        let (name, other) = (abstract_address(), abstract_address());
        let server = UnixDatagram::bind_addr(&name).unwrap();
        let client = UnixDatagram::bind_addr(&other).unwrap();
        client.send_to_addr(b"abstract", &name).await.unwrap();
        let (_, from) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(from.as_abstract_name(), other.as_abstract_name());
        client.connect_addr(&name).unwrap();
        assert_eq!(client.peer_addr().unwrap().as_abstract_name(), name.as_abstract_name());
        client.send(b"connected").await.unwrap();
        assert_eq!(server.recv(&mut buffer).await.unwrap(), 8);

        let nameless = UnixDatagram::unbound().unwrap().local_addr().unwrap();
        assert_eq!(kind(client.send_to_addr(b"x", &nameless).await), ErrorKind::InvalidInput);
        assert_eq!(kind(client.connect_addr(&nameless)), ErrorKind::InvalidInput);
    });
}

/// Fills the queue of the socket at `path`. Returns the number of datagrams.
///
/// Uses several senders, because the system limits both the length of a queue and the bytes of one
/// sender, and either limit may be reached first.
fn fill(path: &Path) -> usize {
    let fillers = std::iter::repeat_with(|| {
        let filler = StdDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| filler.send_to(b"filler", path).ok()).take(10_000).count()
    });
    fillers.take_while(|&sent| sent > 0).sum()
}

#[test]
fn connected_sender_waits_for_space_in_the_queue() {
    run(|| async {
        let directory = folder();
        let path = directory.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        let filled = fill(&path);
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        let sender = executor::spawn(async move { client.send(b"last").await });
        until_waits(1).await;
        assert!(!sender.is_finished());
        let mut buffer = [0; 8];
        for _ in 0..filled {
            assert_eq!(server.recv(&mut buffer).await.unwrap(), 6);
        }
        assert_eq!(server.recv(&mut buffer).await.unwrap(), 4);
        assert_eq!(sender.await.unwrap().unwrap(), 4);
        assert_eq!(Reactor::current().next_deadline(), None);
    });
}

// The sender is not connected and has no datagram in the queue, so epoll reports no event when
// there is space.
// Pitfall: S5
#[test]
fn unconnected_sender_retries_until_the_queue_has_space() {
    run(|| async {
        let directory = folder();
        let path = directory.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        let filled = fill(&path);
        let client = UnixDatagram::unbound().unwrap();
        let send = async move { client.send_to(b"last", &path).await };
        let sender = executor::spawn(send);
        let before = turns();
        sleep(Duration::from_millis(100)).await;
        assert!(!sender.is_finished());
        assert!(turns() - before < 50, "{} turns", turns() - before);
        let mut buffer = [0; 8];
        for _ in 0..filled {
            assert_eq!(server.recv(&mut buffer).await.unwrap(), 6);
        }
        assert_eq!(server.recv(&mut buffer).await.unwrap(), 4);
        assert_eq!(sender.await.unwrap().unwrap(), 4);
    });
}

#[test]
fn datagram_pair_transfers_more_than_its_queue_holds() {
    run(|| async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let sender = executor::spawn(async move {
            for n in 0..5000_u32 {
                ours.send(&n.to_be_bytes()).await.unwrap();
            }
        });
        until_waits(1).await;
        let mut bytes = [0; 4];
        for n in 0..5000_u32 {
            theirs.recv(&mut bytes).await.unwrap();
            assert_eq!(u32::from_be_bytes(bytes), n);
        }
        sender.await.unwrap();
    });
}

#[test]
fn waiting_senders_are_refused_when_the_receiver_drops() {
    run(|| async {
        let directory = folder();
        let path = directory.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        fill(&path);
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        let connected = executor::spawn(async move { client.send(b"x").await });
        let client = UnixDatagram::unbound().unwrap();
        let other = executor::spawn(async move { client.send_to(b"x", &path).await });
        until_waits(1).await;
        until_a_timer_is_set().await;
        drop(server);
        assert_eq!(kind(connected.await.unwrap()), ErrorKind::ConnectionRefused);
        assert_eq!(kind(other.await.unwrap()), ErrorKind::ConnectionRefused);
    });
}

// Pitfall: W3
#[test]
fn two_receivers_of_one_socket_both_get_a_datagram() {
    run(|| async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let ours = Rc::new(ours);
        let receive = |ours: Rc<UnixDatagram>| async move {
            let mut byte = [0];
            ours.recv(&mut byte).await.unwrap();
            byte[0]
        };
        let first = executor::spawn(receive(ours.clone()));
        let second = executor::spawn(receive(ours));
        until_waits(2).await;
        theirs.send(b"1").await.unwrap();
        theirs.send(b"2").await.unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (b'1', b'2'));
    });
}

/// Polls an operation, which must be pending, calls `arrive`, and drops the operation once it is
/// woken.
fn drop_when_woken(operation: impl Future, arrive: impl FnOnce()) {
    let (counter, waker) = Counter::with_waker();
    let mut operation = pin!(operation);
    assert!(poll(operation.as_mut(), &waker).is_pending());
    arrive();
    turn_until(&Reactor::current(), || counter.wakes() > 0);
}

#[test]
fn dropped_unix_operations_lose_nothing() {
    run(|| async {
        let mut buffer = [0; 8];
        let (mut ours, mut peer) = {
            let (ours, peer) = StdStream::pair().unwrap();
            (UnixStream::from_std(ours).unwrap(), peer)
        };
        drop_when_woken(ours.read(&mut buffer), || peer.write_all(b"kept").unwrap());
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 4);

        let (ours, peer) = StdDatagram::pair().unwrap();
        let ours = UnixDatagram::from_std(ours).unwrap();
        drop_when_woken(ours.recv(&mut buffer), || assert!(peer.send(b"kept").is_ok()));
        assert_eq!(ours.recv(&mut buffer).await.unwrap(), 4);

        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let connect = || drop(StdStream::connect_addr(&address).unwrap());
        drop_when_woken(listener.accept(), connect);
        listener.accept().await.unwrap();
    });
}

#[test]
fn shut_down_datagram_socket_still_receives() {
    run(|| async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.send(b"kept").await.unwrap();
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(kind(ours.send(b"x").await), ErrorKind::BrokenPipe);
        assert_eq!(kind(theirs.send(b"x").await), ErrorKind::BrokenPipe);
        assert_eq!(ours.recv(&mut [0; 8]).await.unwrap(), 4);
    });
}

// Method: the peer of a connected socket does not read and its queue is full, so `send` waits.
#[test]
fn full_peer_does_not_delay_sends_to_another() {
    let directory = folder();
    let (full, other) = (directory.path().join("full"), directory.path().join("other"));
    run(|| async move {
        let (_full, receiver) =
            (UnixDatagram::bind(&full).unwrap(), UnixDatagram::bind(&other).unwrap());
        fill(&full);
        let socket = Rc::new(UnixDatagram::unbound().unwrap());
        socket.connect(&full).unwrap();
        let sender = socket.clone();
        let task = executor::spawn(async move { sender.send(b"x").await });
        until_waits(1).await;
        timeout(tests::DEADLINE / 4, socket.send_to(b"hello", &other)).await.unwrap().unwrap();
        assert_eq!(receiver.recv(&mut [0; 8]).await.unwrap(), 5);
        task.abort();
    });
}

#[test]
fn failing_connects_in_a_loop_let_other_tasks_run() {
    let directory = folder();
    let path = directory.path().join("socket");
    run(|| async move {
        let address = path.clone();
        let binder = executor::spawn(async move { UnixListener::bind(address).unwrap() });
        let mut tries = 0;
        while UnixStream::connect(&path).await.is_err() {
            tries += 1;
            assert!(tries < 10_000, "the other task is not polled");
        }
        binder.await.unwrap();
    });
}

/// Returns the path that other runtimes accept for an abstract address.
fn as_path(address: &SocketAddr) -> PathBuf {
    let name = [&[0], address.as_abstract_name().unwrap()].concat();
    OsString::from_vec(name).into()
}

#[test]
fn path_that_begins_with_a_zero_byte_is_an_abstract_name() {
    run(|| async {
        let address = abstract_address();
        let path = as_path(&address);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_abstract_name(), address.as_abstract_name());
        assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
        let (connected, accepted) = zip(UnixStream::connect(&path), listener.accept()).await;
        assert!(connected.is_ok() && accepted.is_ok());
        drop(listener);
        assert_eq!(kind(UnixStream::connect(&path).await), ErrorKind::ConnectionRefused);

        let server = UnixDatagram::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(b"one", &path).await.unwrap();
        client.connect(&path).unwrap();
        client.send(b"two").await.unwrap();
        let mut bytes = [0; 8];
        assert_eq!(server.recv(&mut bytes).await.unwrap(), 3);
        assert_eq!(server.recv(&mut bytes).await.unwrap(), 3);
        assert!(!path.exists());
    });
}

#[test]
fn zero_byte_inside_a_path_is_invalid_input() {
    run(|| async {
        let long = format!("\0{}", "x".repeat(108));
        for path in ["so\0cket", &long] {
            assert_eq!(kind(UnixListener::bind(path)), ErrorKind::InvalidInput);
            assert_eq!(kind(UnixDatagram::bind(path)), ErrorKind::InvalidInput);
            assert_eq!(kind(UnixStream::connect(path).await), ErrorKind::InvalidInput);
            let socket = UnixDatagram::unbound().unwrap();
            assert_eq!(kind(socket.connect(path)), ErrorKind::InvalidInput);
            assert_eq!(kind(socket.send_to(b"x", path).await), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn poll_functions_of_unix_sockets_wait_for_the_peer() {
    run(|| async {
        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let accept = poll_fn(|cx| listener.poll_accept(cx));
        let (accepted, client) = zip(accept, UnixStream::connect_addr(&address)).await;
        assert!(accepted.unwrap().1.is_unnamed() && client.is_ok());
        let accepted = listener.incoming().with_peers();
        let client = StdStream::connect_addr(&address).unwrap();
        assert!(pin!(accepted).next().await.unwrap().unwrap().1.is_unnamed());
        drop(client);

        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut bytes = [0; 8];
        let receive = poll_fn(|cx| theirs.poll_recv_from(cx, &mut bytes));
        let (received, sent) = zip(receive, poll_fn(|cx| ours.poll_send(cx, b"hello"))).await;
        assert_eq!((received.unwrap().0, sent.unwrap()), (5, 5));
        // The sends wait while the peer's queue is full, and continue when it has space.
        let fill = async {
            for _ in 0..100 {
                poll_fn(|cx| ours.poll_send(cx, b"x")).await.unwrap();
            }
        };
        let drain = async {
            for _ in 0..100 {
                poll_fn(|cx| theirs.poll_recv(cx, &mut [0; 8])).await.unwrap();
            }
        };
        zip(fill, drain).await;
    });
}

/// Binds a receiver to a new address, and fills its queue from a socket that is not connected to
/// it. Returns both sockets, the address as a path, and how many datagrams the queue holds.
async fn full_queue() -> (StdDatagram, UnixDatagram, PathBuf, usize) {
    let address = abstract_address();
    let path = as_path(&address);
    let (receiver, sender) =
        (StdDatagram::bind_addr(&address).unwrap(), UnixDatagram::unbound().unwrap());
    let mut queued = 0;
    while poll_once(poll_fn(|cx| sender.poll_send_to(cx, b"x", &path))).await.is_some() {
        queued += 1;
        assert!(queued < 10_000);
    }
    (receiver, sender, path, queued)
}

#[test]
fn early_polls_of_a_full_queue_set_no_further_timer() {
    run(|| async {
        let (_receiver, sender, path, _) = full_queue().await;
        let send = || poll_fn(|cx| sender.poll_send_to(cx, b"x", &path));
        for _ in 0..20 {
            assert!(poll_once(send()).await.is_none());
            sleep(Duration::from_millis(1)).await;
        }
        let before = turns();
        assert!(timeout(Duration::from_millis(100), send()).await.is_err());
        assert!(turns() - before < 50, "{} turns", turns() - before);
    });
}

// Each of two tasks has its own timer, so neither waits for the other.
#[test]
fn poll_send_to_of_two_tasks_wakes_both() {
    run(|| async {
        let (receiver, sender, path, queued) = full_queue().await;
        let sender = Rc::new(sender);
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let (sender, path) = (sender.clone(), path.clone());
                executor::spawn(async move {
                    poll_fn(|cx| sender.poll_send_to(cx, b"x", &path)).await.unwrap()
                })
            })
            .collect();
        yield_now().await;
        (0..queued).for_each(|_| assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 1));
        for task in tasks {
            assert_eq!(task.await.unwrap(), 1);
        }
    });
}

#[test]
fn poll_send_to_a_full_queue_waits_until_there_is_space() {
    run(|| async {
        let (receiver, sender, path, queued) = full_queue().await;
        let send = || poll_fn(|cx| sender.poll_send_to(cx, b"x", &path));
        let receive = async {
            until_a_timer_is_set().await;
            for _ in 0..queued {
                receiver.recv(&mut [0; 8]).unwrap();
            }
        };
        assert_eq!(zip(send(), receive).await.0.unwrap(), 1);
        drop(receiver);
        assert_eq!(kind(send().await), ErrorKind::ConnectionRefused);
        assert_eq!(
            kind(poll_fn(|cx| sender.poll_send_to(cx, b"x", "so\0cket")).await),
            ErrorKind::InvalidInput
        );
    });
}
