//! UDP with the names of std: datagrams keep their boundaries, and a vanished peer does not end a
//! socket.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use executor::Executor;
use futures_lite::future::zip;
use reactor::Reactor;
use reactor::net::{UdpSocket, lookup_host};
use reactor::time::timeout;
use rustix::io::Errno;
use socket2::SockRef;
use tests::records::capture;
use tests::wakers::{Counter, poll};
use tests::{run, turn_until, within_deadline};

/// The longest datagram over IPv4: 65,535 without the headers of IP and UDP.
const LONGEST: usize = 65_507;

async fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Returns two sockets that are connected to each other.
async fn pair() -> (UdpSocket, UdpSocket) {
    let ((one, one_addr), (other, other_addr)) = (bound().await, bound().await);
    one.connect(other_addr).await.unwrap();
    other.connect(one_addr).await.unwrap();
    (one, other)
}

/// Returns an address without a receiver. No socket can bind it while the returned socket exists,
/// which receives only from itself.
fn closed_port() -> (StdSocket, SocketAddr) {
    let owner = StdSocket::bind("127.0.0.1:0").unwrap();
    let addr = owner.local_addr().unwrap();
    owner.connect(addr).unwrap();
    (owner, addr)
}

/// Returns bytes that depend on their position.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

// Pitfall: S8
#[test]
fn datagrams_of_0_to_65507_bytes_are_echoed() {
    run(|| async {
        let (server, addr) = bound().await;
        let echo = executor::spawn(async move {
            let mut buffer = vec![0; LONGEST + 1];
            loop {
                let (length, from) = server.recv_from(&mut buffer).await.unwrap();
                assert_eq!(server.send_to(&buffer[..length], from).await.unwrap(), length);
            }
        });
        let (client, _) = bound().await;
        client.connect(addr).await.unwrap();
        let mut answer = vec![0; LONGEST + 1];
        for length in [0, 1, 2, 511, 1472, 1473, 9000, 0, LONGEST - 1, LONGEST] {
            assert_eq!(client.send(&bytes(length)).await.unwrap(), length);
            assert_eq!(client.recv(&mut answer).await.unwrap(), length);
            assert!(answer[..length] == bytes(length), "{length} bytes");
        }
        let error = client.send(&bytes(LONGEST + 1)).await.unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::MSGSIZE));
        echo.abort();
    });
}

// Each datagram is shorter than the buffer. Unlike a short TCP read, this does not mean that the
// receive queue is empty.
// Pitfall: S8
#[test]
fn datagrams_of_one_event_are_received_one_by_one() {
    run(|| async {
        let (one, other) = pair().await;
        for length in 0..100 {
            one.send(&bytes(length)).await.unwrap();
        }
        // The event of all datagrams is delivered before the first one is received.
        Reactor::current().turn(Some(Duration::ZERO)).unwrap();
        let mut buffer = [0; 1500];
        for length in 0..100 {
            assert_eq!(other.recv(&mut buffer).await.unwrap(), length);
        }
    });
}

// Pitfall: S8
#[test]
fn empty_datagram_is_not_eof() {
    run(|| async {
        let (one, other) = pair().await;
        let mut buffer = [0; 8];
        for _ in 0..3 {
            let (received, sent) = zip(other.recv(&mut buffer), one.send(b"")).await;
            assert_eq!((received.unwrap(), sent.unwrap()), (0, 0));
        }
        one.send(b"more").await.unwrap();
        assert_eq!(other.recv(&mut buffer).await.unwrap(), 4);
    });
}

// As in std, `recv` returns the length of the buffer.
// Pitfall: S8
#[test]
fn datagram_longer_than_the_buffer_is_truncated() {
    run(|| async {
        let (one, other) = pair().await;
        let mut buffer = [0; 4];
        one.send(b"too long").await.unwrap();
        one.send(b"next").await.unwrap();
        assert_eq!(other.recv(&mut buffer).await.unwrap(), 4);
        assert_eq!(&buffer, b"too ");
        assert_eq!(other.recv(&mut buffer).await.unwrap(), 4);
        assert_eq!(&buffer, b"next");
        one.send(b"x").await.unwrap();
        assert_eq!(other.recv(&mut []).await.unwrap(), 0);
        assert!(timeout(Duration::from_millis(1), other.recv(&mut buffer)).await.is_err());
    });
}

// Pitfall: S7
#[test]
fn refusal_is_reported_once_to_a_connected_socket() {
    run(|| async {
        let (peer, vacant) = closed_port();
        let (socket, addr) = bound().await;
        socket.connect(vacant).await.unwrap();
        for _ in 0..3 {
            socket.send(b"hello?").await.unwrap();
            let error = socket.recv(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert!(socket.take_error().unwrap().is_none());
        }
        socket.send(b"hello?").await.unwrap();
        let mut error = None;
        tests::until(|| {
            error = socket.take_error().unwrap();
            error.is_some()
        })
        .await;
        assert_eq!(error.unwrap().kind(), ErrorKind::ConnectionRefused);
        // The next operation of any kind returns the error. Here it is a `send`.
        let error = loop {
            if let Err(error) = socket.send(b"hello?").await {
                break error;
            }
            executor::yield_now().await;
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        peer.connect(addr).unwrap();
        socket.send(b"you?").await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, addr));
        peer.send_to(b"yes", addr).unwrap();
        assert_eq!(socket.recv(&mut buffer).await.unwrap(), 3);
    });
}

// Pitfall: S7
#[test]
fn refusal_wakes_a_waiting_receiver() {
    run(|| async {
        let (socket, _) = bound().await;
        let (_owner, vacant) = closed_port();
        socket.connect(vacant).await.unwrap();
        let socket = Rc::new(socket);
        let waiting = socket.clone();
        let receiver = executor::spawn(async move { waiting.recv(&mut [0; 8]).await });
        tests::until(|| Reactor::current().metrics().waits == 1).await;
        socket.send(b"hello?").await.unwrap();
        let error = receiver.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

// Pitfall: S7
#[test]
fn vanished_peer_does_not_end_a_server_socket() {
    run(|| async {
        let (server, addr) = bound().await;
        for _ in 0..10 {
            let vanished = StdSocket::bind("127.0.0.1:0").unwrap();
            vanished.send_to(b"bye", addr).unwrap();
            let (_, from) = server.recv_from(&mut [0; 8]).await.unwrap();
            drop(vanished);
            server.send_to(b"are you there?", from).await.unwrap();
        }
        let (client, client_addr) = bound().await;
        client.send_to(b"I am", addr).await.unwrap();
        assert_eq!(server.recv_from(&mut [0; 8]).await.unwrap(), (4, client_addr));
        assert!(server.take_error().unwrap().is_none());
    });
}

// Pitfall: W3
#[test]
fn two_receivers_of_one_socket_both_get_a_datagram() {
    run(|| async {
        let (server, addr) = bound().await;
        let server = Rc::new(server);
        let receive = |server: Rc<UdpSocket>| async move {
            let mut byte = [0];
            server.recv(&mut byte).await.unwrap();
            byte[0]
        };
        let first = executor::spawn(receive(server.clone()));
        let second = executor::spawn(receive(server));
        tests::until(|| Reactor::current().metrics().waits == 2).await;
        let client = StdSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"1", addr).unwrap();
        client.send_to(b"2", addr).unwrap();
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (b'1', b'2'));
    });
}

#[test]
fn tasks_send_and_receive_on_one_socket() {
    run(|| async {
        let (one, other) = pair().await;
        let (one, other) = (Rc::new(one), Rc::new(other));
        let sending = one.clone();
        let sender = executor::spawn(async move {
            for n in 0..500_u16 {
                sending.send(&n.to_be_bytes()).await.unwrap();
                executor::yield_now().await;
            }
        });
        let echo = executor::spawn(async move {
            let mut buffer = [0; 8];
            for _ in 0..500 {
                let length = other.recv(&mut buffer).await.unwrap();
                other.send(&buffer[..length]).await.unwrap();
            }
        });
        let mut buffer = [0; 2];
        for n in 0..500_u16 {
            one.recv(&mut buffer).await.unwrap();
            assert_eq!(u16::from_be_bytes(buffer), n);
        }
        sender.await.unwrap();
        echo.await.unwrap();
    });
}

// One `recv` is dropped while it waits, another after its datagram has arrived and its task was
// woken.
#[test]
fn dropped_receive_loses_no_datagram() {
    within_deadline(|| {
        let executor = Executor::new().unwrap();
        executor.block_on(async {
            let (server, addr) = bound().await;
            let client = StdSocket::bind("127.0.0.1:0").unwrap();
            let (counter, waker) = Counter::with_waker();
            let mut buffer = [0; 8];
            assert!(poll(pin!(server.recv(&mut buffer)), &waker).is_pending());
            {
                let mut receive = pin!(server.recv(&mut buffer));
                assert!(poll(receive.as_mut(), &waker).is_pending());
                client.send_to(b"kept", addr).unwrap();
                turn_until(&Reactor::current(), || counter.wakes() > 0);
            }
            assert_eq!(server.recv(&mut buffer).await.unwrap(), 4);
        });
    });
}

#[test]
fn peek_leaves_the_datagram_in_the_queue() {
    run(|| async {
        let (server, addr) = bound().await;
        let (client, client_addr) = bound().await;
        client.send_to(b"first", addr).await.unwrap();
        client.send_to(b"second", addr).await.unwrap();
        let mut buffer = [0; 8];
        assert_eq!(server.peek_from(&mut buffer).await.unwrap(), (5, client_addr));
        assert_eq!(server.peek(&mut buffer).await.unwrap(), 5);
        assert_eq!(server.peek(&mut buffer[..2]).await.unwrap(), 2);
        assert_eq!(server.recv_from(&mut buffer).await.unwrap(), (5, client_addr));
        assert_eq!(server.recv(&mut buffer).await.unwrap(), 6);
        assert_eq!(&buffer[..6], b"second");
    });
}

#[test]
fn broadcast_needs_permission() {
    run(|| async {
        let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        let broadcast = (Ipv4Addr::new(127, 255, 255, 255), 9);
        assert!(!socket.broadcast().unwrap());
        let denied = socket.send_to(b"all", broadcast).await.unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::PermissionDenied);
        socket.set_broadcast(true).unwrap();
        assert!(socket.broadcast().unwrap());
        assert_eq!(socket.send_to(b"all", broadcast).await.unwrap(), 3);
    });
}

#[test]
fn multicast_group_is_joined_and_left() {
    run(|| async {
        let group = Ipv4Addr::new(239, 255, 77, 77);
        let member = UdpSocket::bind("0.0.0.0:0").await.unwrap();
        let port = member.local_addr().unwrap().port();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        SockRef::from(&sender).set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();

        member.join_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        sender.send_to(b"group", (group, port)).await.unwrap();
        assert_eq!(member.recv(&mut [0; 8]).await.unwrap(), 5);

        sender.set_multicast_loop_v4(false).unwrap();
        sender.set_multicast_ttl_v4(3).unwrap();
        assert!(!sender.multicast_loop_v4().unwrap());
        sender.set_multicast_loop_v4(true).unwrap();
        assert!(sender.multicast_loop_v4().unwrap());
        assert_eq!(sender.multicast_ttl_v4().unwrap(), 3);
        sender.set_ttl(42).unwrap();
        assert_eq!(sender.ttl().unwrap(), 42);

        member.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap();
        let left = member.leave_multicast_v4(group, Ipv4Addr::LOCALHOST).unwrap_err();
        assert_eq!(left.kind(), ErrorKind::AddrNotAvailable);
        let no_group = member.join_multicast_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
        assert_eq!(no_group.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn ipv6_datagrams_and_groups_work_where_supported() {
    run(|| async {
        let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
        let addr = socket.local_addr().unwrap();
        socket.send_to(b"six", addr).await.unwrap();
        assert_eq!(socket.recv_from(&mut [0; 8]).await.unwrap(), (3, addr));
        socket.set_multicast_loop_v6(false).unwrap();
        assert!(!socket.multicast_loop_v6().unwrap());
        socket.set_multicast_loop_v6(true).unwrap();
        assert!(socket.multicast_loop_v6().unwrap());
        let no_group = socket.join_multicast_v6(&Ipv6Addr::LOCALHOST, 0).unwrap_err();
        assert_eq!(no_group.kind(), ErrorKind::InvalidInput);
        let left = socket.leave_multicast_v6(&Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 77), 0);
        assert_eq!(left.unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn bind_uses_the_first_free_address() {
    run(|| async {
        let taken = StdSocket::bind("127.0.0.1:0").unwrap();
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let addresses = [taken.local_addr().unwrap(), free];
        let socket = UdpSocket::bind(&addresses[..]).await.unwrap();
        assert_ne!(socket.local_addr().unwrap(), addresses[0]);
        let error = UdpSocket::bind(addresses[0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn send_to_and_connect_resolve_host_names() {
    run(|| async {
        let (server, addr) = bound().await;
        let (client, client_addr) = bound().await;
        client.send_to(b"name", ("localhost", addr.port())).await.unwrap();
        assert_eq!(server.recv_from(&mut [0; 8]).await.unwrap(), (4, client_addr));
        assert_eq!(client.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        client.connect(("localhost", addr.port())).await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), addr);
        for error in [client.send_to(b"", &[][..]).await, client.send_to(b"", "nowhere").await] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let none = client.connect(&[][..]).await.unwrap_err();
        assert_eq!(none.kind(), ErrorKind::InvalidInput);
    });
}

// Pitfall: S6
#[test]
fn udp_socket_converts_from_std_and_back() {
    run(|| async {
        let theirs = StdSocket::bind("127.0.0.1:0").unwrap();
        let addr = theirs.local_addr().unwrap();
        let ours = UdpSocket::from_std(theirs).unwrap();
        assert!(timeout(Duration::from_millis(2), ours.recv(&mut [0; 8])).await.is_err());
        let theirs = ours.into_std().unwrap();
        assert_eq!(theirs.local_addr().unwrap(), addr);
        // The socket is deregistered, so it can be registered again.
        let ours = UdpSocket::from_std(theirs).unwrap();
        ours.send_to(b"back", addr).await.unwrap();
        assert_eq!(ours.recv_from(&mut [0; 8]).await.unwrap(), (4, addr));
    });
}

#[test]
fn only_host_names_use_the_pool_in_lookup_host() {
    within_deadline(|| {
        let looked_up = |host: &'static str| {
            let look_up = || executor::block_on(lookup_host(host)).map(Vec::from_iter);
            let (addresses, records) = capture(look_up);
            let on_pool = records.iter().any(|record| record.kind == "job submitted");
            (addresses, on_pool)
        };
        let (addresses, on_pool) = looked_up("localhost:80");
        let local = |addr: &SocketAddr| addr.ip().is_loopback() && addr.port() == 80;
        assert!(addresses.unwrap().iter().any(local) && on_pool);

        let (addresses, on_pool) = looked_up("127.0.0.1:80");
        assert_eq!(addresses.unwrap(), [SocketAddr::from((Ipv4Addr::LOCALHOST, 80))]);
        assert!(!on_pool);

        let (no_port, _) = looked_up("localhost");
        assert_eq!(no_port.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(looked_up("no-such-host.invalid:80").0.is_err());
    });
}

#[test]
fn udp_poll_functions_send_and_receive() {
    run(|| async {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (to, from) = (server.local_addr().unwrap(), client.local_addr().unwrap());
        let mut bytes = [0; 8];
        let receive = poll_fn(|cx| server.poll_recv_from(cx, &mut bytes));
        let send = poll_fn(|cx| client.poll_send_to(cx, b"hello", to));
        let (received, sent) = zip(receive, send).await;
        assert_eq!((received.unwrap(), sent.unwrap()), ((5, from), 5));
        server.connect(from).await.unwrap();
        let receive = poll_fn(|cx| client.poll_recv(cx, &mut bytes));
        let send = poll_fn(|cx| server.poll_send(cx, b""));
        let (received, sent) = zip(receive, send).await;
        assert_eq!((received.unwrap(), sent.unwrap()), (0, 0));
    });
}

#[test]
fn poll_recv_reports_a_vanished_peer_once() {
    run(|| async {
        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(gone).await.unwrap();
        poll_fn(|cx| socket.poll_send(cx, b"hello")).await.unwrap();
        let mut bytes = [0; 8];
        let refused = poll_fn(|cx| socket.poll_recv(cx, &mut bytes)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let next = poll_fn(|cx| socket.poll_recv(cx, &mut bytes));
        assert!(timeout(Duration::from_millis(2), next).await.is_err());
    });
}
