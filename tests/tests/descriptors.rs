//! Watching any descriptor with `Async`, and conversions between sockets, pipes and descriptors.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::zip;
use reactor::io::{AsyncReadExt, AsyncWriteExt};
use reactor::mio::{Events, Interest, Poll, Token};
use reactor::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use reactor::pipe::{Receiver, Sender};
use reactor::time::timeout;
use reactor::{Async, Descriptor, Reactor};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{fcntl_getfd, write};
use tests::{folder, run};

fn is_open(fd: &OwnedFd) -> bool {
    fcntl_getfd(fd).is_ok()
}

#[test]
fn owned_descriptor_is_watched_without_a_mio_source() {
    run(|| async {
        // The descriptor is blocking, and `from_fd` makes it non-blocking.
        let counter = Async::from_fd(eventfd(0, EventfdFlags::CLOEXEC).unwrap()).unwrap();
        let mut sum = [0; 8];
        let read = |fd: &_| Ok(rustix::io::read(fd, &mut sum)?);
        let add = counter.write_with(|fd| Ok(write(fd, &7_u64.to_ne_bytes())?));
        let (read, added) = zip(counter.read_with(read), add).await;
        assert_eq!((read.unwrap(), added.unwrap()), (8, 8));
        assert_eq!(u64::from_ne_bytes(sum), 7);
        assert!(fcntl_getfd(&counter).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    });
}

#[test]
fn watched_descriptor_is_closed_only_by_its_owner() {
    run(|| async {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        // Dropping an `Async` of a borrowed or shared descriptor only deregisters the descriptor.
        let borrowed = Async::from_fd_with_interest(&reader, Interest::READABLE).unwrap();
        assert_eq!(borrowed.as_raw_fd(), number);
        let twice = Async::from_fd_with_interest(reader.as_fd(), Interest::READABLE);
        assert_eq!(twice.unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(borrowed);
        let shared = Rc::new(reader);
        let watched = Async::from_fd_with_interest(shared.clone(), Interest::READABLE).unwrap();
        drop(watched);
        let events = Reactor::current().metrics().events;
        writer.write_all(b"x").unwrap();
        Reactor::current().turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(
            Reactor::current().metrics().events,
            events,
            "the descriptor is still registered"
        );
        let mut reader = Rc::into_inner(shared).unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 1);

        let owned = Async::from_fd_with_interest(OwnedFd::from(reader), Interest::READABLE);
        drop(owned.unwrap());
        assert!(writer.write_all(b"x").is_err(), "the read end is still open");
    });
}

#[test]
fn from_fd_of_a_regular_file_fails_without_a_registration() {
    run(|| async {
        let directory = folder();
        let file = File::create(directory.path().join("file")).unwrap();
        for _ in 0..100 {
            let refused = Async::from_fd(&file).map(drop);
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
        assert!(Reactor::current().stored_wakers().is_empty());
    });
}

#[test]
fn into_inner_returns_a_deregistered_descriptor() {
    run(|| async {
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let fd = Async::from_fd(fd).unwrap().into_inner().unwrap().0;
        let again = Async::from_fd(fd).unwrap();
        let add = again.write_with(|fd| Ok(write(fd, &1_u64.to_ne_bytes())?));
        assert_eq!(add.await.unwrap(), 8);
    });
}

#[test]
fn descriptor_in_another_mio_poll_can_change_its_interest() {
    let (ours, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut source = Descriptor(ours);
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
    poll.registry().register(&mut source, Token(1), Interest::READABLE).unwrap();
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert!(events.is_empty());
    poll.registry().reregister(&mut source, Token(2), Interest::WRITABLE).unwrap();
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    assert_eq!(events.iter().map(|event| event.token()).collect::<Vec<_>>(), [Token(2)]);
}

#[test]
fn sockets_convert_from_and_to_std() {
    run(|| async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::try_from(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::try_from(std::net::TcpStream::connect(address).unwrap()).unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut std_stream = std::net::TcpStream::try_from(stream).unwrap();
        std_stream.write_all(b"x").unwrap();
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 1);
        std::net::TcpListener::try_from(listener).unwrap();

        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::try_from(socket).unwrap();
        let mut bytes = [0; 8];
        let received = timeout(Duration::from_millis(1), socket.recv(&mut bytes));
        assert!(received.await.is_err(), "no datagram arrives");
        std::net::UdpSocket::try_from(socket).unwrap();

        let directory = folder();
        let path = directory.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = UnixListener::try_from(listener).unwrap();
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let stream = UnixStream::try_from(stream).unwrap();
        std::os::unix::net::UnixStream::try_from(stream).unwrap();
        std::os::unix::net::UnixListener::try_from(listener).unwrap();
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let socket = UnixDatagram::try_from(socket).unwrap();
        std::os::unix::net::UnixDatagram::try_from(socket).unwrap();
    });
}

#[test]
fn socket_converted_to_a_descriptor_stays_open() {
    run(|| async {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let number = ours.as_raw_fd();
        let fd = OwnedFd::from(ours);
        assert!(fd.as_raw_fd() == number && is_open(&fd));
        // epoll would refuse a second registration of the descriptor.
        let mut again = UnixStream::from_std(fd.into()).unwrap();
        peer.write_all(b"x").await.unwrap();
        assert_eq!(again.read(&mut [0; 8]).await.unwrap(), 1);
        for fd in [
            OwnedFd::from(TcpListener::bind("127.0.0.1:0").await.unwrap()),
            UdpSocket::bind("127.0.0.1:0").await.unwrap().into(),
            UnixDatagram::unbound().unwrap().into(),
        ] {
            assert!(is_open(&fd));
        }
    });
}

#[test]
fn std_pipes_convert_to_async_pipes() {
    run(|| async {
        let (reader, writer) = std::io::pipe().unwrap();
        let number = reader.as_raw_fd();
        let mut receiver = Receiver::try_from(reader).unwrap();
        let mut sender = Sender::try_from(writer).unwrap();
        assert_eq!(receiver.as_raw_fd(), number);
        assert_ne!(sender.as_raw_fd(), number);
        let (mut bytes, message) = ([0; 5], b"hello");
        let (read, wrote) = zip(receiver.read_exact(&mut bytes), sender.write_all(message)).await;
        assert!(read.is_ok() && wrote.is_ok());
        assert_eq!(&bytes, message);
    });
}
