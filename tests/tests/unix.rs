//! Unix sockets with std's names: streams, listeners and datagrams between processes of one machine.
//!
//! No test here starts a process: until its `exec`, that has a copy of every descriptor, and whoever
//! has just closed a socket would still be there for its peer.

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

/// A name that no other test has.
fn abstract_address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::from_abstract_name(name).unwrap()
}

fn turns() -> u64 {
    Reactor::current().metrics().turns
}

/// Waits until so many operations have been told to wait.
async fn until_waits(waits: u64) {
    tests::until(|| Reactor::current().metrics().waits >= waits).await;
}

/// Waits until nothing but a timer can bring the other tasks on.
async fn until_a_timer_is_set() {
    tests::until(|| Reactor::current().next_deadline().is_some()).await;
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("an error").kind()
}

// The kernel says "try again", and no event ever tells when.
// Pitfall: S5
#[test]
fn twenty_connects_to_a_backlog_of_one_all_come_about_when_the_server_accepts_late() {
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
        // 1, 2, 4, … 32 and 50 ms: some ten rounds, and no loop that spins.
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
fn a_connect_that_is_dropped_while_it_waits_for_room_leaves_nothing() {
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
        assert_eq!(Reactor::current().next_deadline(), None, "the timer is left");
        // None of the attempts in vain waits in the backlog: these are all.
        for _ in 0..queued.len() {
            listener.accept().await.unwrap();
        }
        assert!(timeout(Duration::from_millis(5), listener.accept()).await.is_err());
    });
}

// Pitfall: S5
#[test]
fn a_connect_that_waits_for_room_is_refused_when_the_listener_ends() {
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

#[test]
fn incoming_gives_every_connection() {
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
fn clients_that_are_gone_before_they_are_accepted_leave_what_they_wrote() {
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
fn incoming_ends_after_the_error_of_a_socket_that_does_not_listen() {
    run(|| async {
        let (socket, _peer) = StdStream::pair().unwrap();
        let listener = UnixListener::from_std(OwnedFd::from(socket).into()).unwrap();
        let mut incoming = listener.incoming();
        assert_eq!(kind(incoming.next().await.unwrap()), ErrorKind::InvalidInput);
        assert!(incoming.next().await.is_none());
    });
}

#[test]
fn an_accepted_connection_is_non_blocking_and_closed_by_exec() {
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
fn abstract_addresses_are_those_of_std_on_both_ends() {
    run(|| async {
        let (server, client) = (abstract_address(), abstract_address());
        let listener = UnixListener::bind_addr(&server).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_abstract_name(), server.as_abstract_name());
        assert_eq!(kind(UnixListener::bind_addr(&server)), ErrorKind::AddrInUse);
        // A client that has a name of its own, which std's cannot give itself.
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
        let refused = UnixStream::connect_addr(&server).await;
        assert_eq!(kind(refused), ErrorKind::ConnectionRefused);
    });
}

// They are bytes: none is special, and none ends them.
#[test]
fn an_abstract_name_may_begin_and_end_with_a_zero() {
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

// All of `sun_path`, without a zero at its end: longer than what std makes, and allowed.
#[test]
fn a_peer_with_the_longest_path_there_is_does_no_harm() {
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
fn paths_that_are_too_long_or_taken_or_stale_are_told_as_std_does() {
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
        // The file stays, as with std: nobody is there, and nobody else may come.
        assert!(path.exists());
        assert_eq!(kind(UnixStream::connect(&path).await), ErrorKind::ConnectionRefused);
        assert_eq!(kind(UnixListener::bind(&path)), ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        UnixListener::bind(&path).unwrap();
    });
}

#[test]
fn the_credentials_of_the_peer_are_ours_for_a_pair_and_for_a_connection() {
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
fn bytes_that_came_with_the_end_are_read_before_it_in_chunks_of_any_size() {
    run(|| async {
        for chunk in [1, 3, 64, 10_000] {
            let (mut ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(&[7; 1000]).await.unwrap();
            drop(theirs);
            // One event tells of both, and is delivered before the first read.
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

// A packet that carries descriptors ends a read, although the next one is there.
// Pitfall: E7
#[test]
fn bytes_behind_a_packet_with_a_descriptor_are_read_without_another_event() {
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
        // The event of both is delivered before either is read.
        Reactor::current().turn(Some(Duration::ZERO)).unwrap();
        let mut bytes = [0; 100];
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 3);
        assert_eq!(ours.read(&mut bytes).await.unwrap(), 3);
        assert_eq!(&bytes[..3], b"def");
    });
}

#[test]
fn who_shuts_down_writing_still_reads_the_answer() {
    run(|| async {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let echo = executor::spawn(async move {
            let mut theirs = theirs;
            let (reader, writer) = theirs.split();
            copy(reader, writer).await.unwrap()
            // Dropped: the end of the answer.
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
fn a_connection_may_be_closed_twice_and_after_its_peer_has_gone() {
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
fn who_waits_to_read_or_to_write_learns_that_the_peer_has_gone() {
    run(|| async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = ours.into_split();
        let read = executor::spawn(async move { reader.read(&mut [0; 8]).await });
        let write = executor::spawn(async move { writer.write_all(&vec![0; 16 << 20]).await });
        until_waits(2).await;
        drop(theirs);
        // Unread bytes were lost with it: that is a reset, as on TCP.
        assert_eq!(kind(read.await.unwrap()), ErrorKind::ConnectionReset);
        assert_eq!(kind(write.await.unwrap()), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_write_that_waits_is_ended_by_a_shutdown_of_both_directions_at_either_end() {
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
fn halves_live_in_two_tasks_and_come_together_again() {
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
fn two_tasks_that_read_one_stream_both_get_their_byte() {
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
fn vectored_transfers_fill_and_empty_all_buffers() {
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

// Pitfall: S6
#[test]
fn sockets_of_std_become_non_blocking_and_go_back() {
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
fn datagrams_keep_their_bounds_and_empty_ones_are_no_end() {
    run(|| async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut buffer = vec![0; 70_000];
        for length in [0, 1, 0, 0, 100, 65_507, 0, 65_536] {
            let sent = vec![7; length];
            let (received, sent) = zip(theirs.recv(&mut buffer), ours.send(&sent)).await;
            assert_eq!((received.unwrap(), sent.unwrap()), (length, length));
        }
        // All at once: each is shorter than the buffer, and says nothing about the next.
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
fn a_datagram_longer_than_the_buffer_fills_it_and_the_next_one_is_whole() {
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
fn datagrams_tell_where_they_came_from() {
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

/// Fills the queue of the socket at `path`, by senders that nobody else waits for. More than one: how
/// long a queue may be, and how much one sender may have under way, are settings of the system, and
/// either may be reached first.
fn fill(path: &Path) -> usize {
    let fillers = std::iter::repeat_with(|| {
        let filler = StdDatagram::unbound().unwrap();
        filler.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| filler.send_to(b"filler", path).ok()).take(10_000).count()
    });
    fillers.take_while(|&sent| sent > 0).sum()
}

#[test]
fn a_connected_sender_waits_for_room_in_the_queue_and_is_woken_for_it() {
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

// What fills the queue is not its own, and it is not connected: no event ever comes.
// Pitfall: S5
#[test]
fn a_sender_that_is_not_connected_waits_for_room_in_the_queue_and_asks_again() {
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
fn a_pair_of_datagram_sockets_passes_many_more_than_its_queue_holds() {
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
fn senders_that_wait_for_room_learn_that_the_receiver_has_gone() {
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
fn two_tasks_that_receive_on_one_socket_both_get_a_datagram() {
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

/// Polls an operation in vain, lets `arrive` bring what it waits for, and drops it once woken.
fn drop_when_woken(operation: impl Future, arrive: impl FnOnce()) {
    let (counter, waker) = Counter::with_waker();
    let mut operation = pin!(operation);
    assert!(poll(operation.as_mut(), &waker).is_pending());
    arrive();
    turn_until(&Reactor::current(), || counter.wakes() > 0);
}

#[test]
fn operations_that_are_dropped_lose_neither_bytes_nor_datagrams_nor_connections() {
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
fn a_datagram_socket_that_is_shut_down_gives_what_it_has_and_neither_side_sends_more() {
    run(|| async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.send(b"kept").await.unwrap();
        ours.shutdown(Shutdown::Both).unwrap();
        assert_eq!(kind(ours.send(b"x").await), ErrorKind::BrokenPipe);
        assert_eq!(kind(theirs.send(b"x").await), ErrorKind::BrokenPipe);
        assert_eq!(ours.recv(&mut [0; 8]).await.unwrap(), 4);
    });
}

// Method: the peer of a connected socket does not read, and its queue is full, so `send` waits.
#[test]
fn a_full_peer_does_not_hold_up_what_is_sent_to_another() {
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
fn who_connects_again_and_again_lets_its_neighbours_run() {
    let directory = folder();
    let path = directory.path().join("socket");
    run(|| async move {
        let place = path.clone();
        let binder = executor::spawn(async move { UnixListener::bind(place).unwrap() });
        let mut tries = 0;
        while UnixStream::connect(&path).await.is_err() {
            tries += 1;
            assert!(tries < 10_000, "nobody else has the thread");
        }
        binder.await.unwrap();
    });
}

/// Returns an abstract address as the path that other runtimes accept for it.
fn as_path(address: &SocketAddr) -> PathBuf {
    let name = [&[0], address.as_abstract_name().unwrap()].concat();
    OsString::from_vec(name).into()
}

#[test]
fn a_path_that_begins_with_a_zero_byte_is_an_abstract_name() {
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
fn zero_byte_inside_a_path_or_too_long_a_name_is_refused() {
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
        // Until the peer's queue is full, and again when there is space.
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

// No event reports the space, because the sender is not connected to the receiver.
/// Binds a receiver to a new address, and fills its queue from a socket that is not connected to it.
/// Returns both sockets, the address as a path, and how many datagrams the queue holds.
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
