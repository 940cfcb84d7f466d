//! Several addresses, the limits that the flags set, and the limits of the OS.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_keepalive, tcp_keepidle, tcp_nodelay};
use rustix::net::{Shutdown as How, getpeername};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};

use crate::bytes::{
    CHUNK, Random, assert_echoes, assert_receives, assert_silent, fill, read_to_end, read_to_reset,
};
use crate::process::{cpu_time, descriptors, may_wait_in_a_backlog};
use crate::server::{ECHOD, Server, connect, eventually};

#[test]
fn server_listens_on_several_addresses_and_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let server = Server::start(&["127.0.0.1:0", "[::1]:0", "127.0.0.1:0"]);
    assert!(server.addresses[1].is_ipv6());
    for &address in &server.addresses {
        assert_echoes(&mut connect(address), b"hello");
    }
}

// Both listeners have connections when the server polls them. If it counted too late, it would
// accept one too many.
#[test]
fn max_connections_limits_two_busy_listeners_together() {
    let server = Server::start(&["--max-connections", "3", "127.0.0.1:0", "127.0.0.1:0"]);
    server.freeze();
    let mut waiting: Vec<TcpStream> = Vec::new();
    for _ in 0..4 {
        waiting.extend(server.addresses.iter().map(|&address| connect(address)));
    }
    for client in &mut waiting {
        client.write_all(b"x").unwrap();
    }
    server.signal(Signal::CONT);
    // Each iteration serves three clients and disconnects them, so that the next three are
    // accepted.
    while !waiting.is_empty() {
        let expected = waiting.len().min(3);
        let mut served = Vec::new();
        eventually("as many as allowed are served", || {
            served.extend(waiting.extract_if(.., is_served));
            served.len() >= expected
        });
        for client in &waiting {
            assert_silent(client);
        }
        assert_eq!(served.len(), expected);
    }
}

// Pitfall: S10
#[test]
fn idle_connections_get_a_fin_and_active_ones_stay() {
    let server = Server::start(&["--idle", "1s"]);
    let before = Instant::now();
    let mut active = server.connect();
    let idle = server.connect();
    idle.set_nonblocking(true).unwrap();
    eventually("the idle connection is closed", || {
        assert_echoes(&mut active, b"still here");
        sleep(Duration::from_millis(20));
        matches!((&idle).read(&mut [0]), Ok(0))
    });
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
    assert_echoes(&mut active, b"after");
}

// While the server is stopped, a message arrives and the timeout ends. The server then sees both at
// the same time.
#[test]
fn message_before_the_idle_timeout_keeps_the_connection() {
    let server = Server::start(&["--idle", "1s"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"before");
    server.freeze();
    client.write_all(b"hello").unwrap();
    sleep(Duration::from_millis(1500));
    server.signal(Signal::CONT);
    client.read_exact(&mut [0; 5]).unwrap();
    assert_echoes(&mut client, b"after");
}

// The reactor fetches a few events at a time, so at the timeout most of these are in the kernel.
#[test]
fn messages_before_the_timeout_keep_100_connections() {
    let server = Server::start(&["--idle", "1s"]);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert_echoes(client, b"before"));
    server.freeze();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    sleep(Duration::from_millis(1500));
    server.signal(Signal::CONT);
    for client in &mut clients {
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
}

// The server holds bytes for a client that does not read.
#[test]
fn idle_connection_that_is_owed_bytes_is_reset() {
    let server = Server::start(&["--idle", "2s", "-v"]);
    let client = server.connect();
    let sent = fill(&client, Random::new(1));
    eventually("it is closed", || server.stderr().contains("idle for too long"));
    let received = read_to_reset(&client);
    assert!(received < sent, "{received} of {sent}");
}

#[test]
fn keepalive_is_set_on_every_connection() {
    for arguments in [&["--keepalive", "90s"][..], &["--keepalive", "90s", "--threads", "2"]] {
        let server = Server::start(arguments);
        let mut clients: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
        let Some(sockets) = sockets(&server) else { return };
        let is_connection =
            |socket: &&OwnedFd| getpeername(socket).is_ok() && tcp_keepidle(socket).is_ok();
        let connections = sockets.iter().filter(is_connection);
        let options = connections.map(|socket| (socket_keepalive(socket), tcp_keepidle(socket)));
        let expected = (Ok(true), Ok(Duration::from_secs(90)));
        assert_eq!(options.collect::<Vec<_>>(), vec![expected; 8], "{arguments:?}");
    }
}

#[test]
fn keepalive_is_off_by_default() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"x");
    let Some(sockets) = sockets(&server) else { return };
    assert!(sockets.iter().all(|socket| socket_keepalive(socket) != Ok(true)));
}

// The client has long since stopped sending, and only reads the rest of its echo.
#[test]
fn client_that_only_reads_is_not_idle() {
    let server = Server::start(&["--idle", "2s"]);
    let client = server.connect();
    let sent = fill(&client, Random::new(1));
    client.shutdown(Shutdown::Write).unwrap();
    let mut random = Random::new(1);
    // Eight pauses, together longer than the idle timeout. Each is so short that the kernel may
    // wait for several reads before it reports that the socket is writable again.
    let part = sent / 8 / CHUNK * CHUNK;
    if part == 0 {
        return println!("skipped: the kernel keeps no more than {sent} bytes of a connection");
    }
    for _ in 0..8 {
        assert_receives(&client, &mut random, part);
        sleep(Duration::from_millis(300));
    }
    assert_receives(&client, &mut random, sent - 8 * part);
    assert_eq!(read_to_end(&client), b"");
}

// With a queue of one, the kernel does not complete the third connection until the server accepts
// one.
#[test]
fn backlog_has_the_given_length() {
    let connect = |server: &Server| {
        server.freeze();
        let timeout = Duration::from_millis(100);
        let connects = (0..4).map(|_| TcpStream::connect_timeout(&server.addresses[0], timeout));
        let connected: Vec<_> = connects.filter_map(Result::ok).collect();
        connected.len()
    };
    assert!(connect(&Server::start(&["--backlog", "1"])) < 4);
    assert_eq!(connect(&Server::start(&[])), 4);
}

// Pitfall: S1
#[test]
fn exhausted_descriptors_pause_accepting_with_rare_warnings() {
    const CLIENTS: usize = 200;
    if !may_wait_in_a_backlog(CLIENTS) {
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\"", ECHOD, "127.0.0.1:0"]);
    let server = Server::start_command(command);
    let (message, since) =
        ("until connections close or limits are raised: Too many open", Instant::now());
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    eventually("the warning is logged", || server.stderr().contains(message));
    let before = cpu_time(server.pid());
    sleep(Duration::from_millis(1200));
    let used = cpu_time(server.pid()) - before;
    assert!(used < Duration::from_millis(50), "{used:?} in 1.2 s without descriptors");

    // When a client disconnects, the next one is served, long before the pause ends.
    for mut client in clients {
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
    let lines = server.stderr().matches(message).count() as u64;
    assert!(lines <= since.elapsed().as_secs() + 1, "{lines} lines in {:?}", since.elapsed());
    assert_echoes(&mut server.connect(), b"after");
}

// Without TCP_NODELAY, the second of two short echoes waits until the client acknowledges the
// first.
#[test]
fn echo_is_sent_without_nagle_delay() {
    for threads in ["1", "2"] {
        let server = Server::start(&["--threads", threads]);
        let mut clients: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
        let Some(sockets) = sockets(&server) else { return };
        let connections = sockets.iter().filter(|socket| getpeername(socket).is_ok());
        let nodelay = connections.filter(|socket| tcp_nodelay(socket) == Ok(true)).count();
        assert_eq!(nodelay, 8);
    }
}

// After another process has shut down a listening socket, `accept` always returns EINVAL.
#[test]
fn failure_of_the_last_listener_exits_with_code_1() {
    let server = Server::start(&["-q", "127.0.0.1:0", "127.0.0.1:0"]);
    let mut client = server.connect();
    let last_address = server.addresses[1];
    assert_echoes(&mut client, b"before");
    let Some(mut listeners) = sockets(&server) else { return };
    listeners.retain(|socket| socket_acceptconn(socket) == Ok(true));
    let [first, last] = <[OwnedFd; 2]>::try_from(listeners).unwrap();
    rustix::net::shutdown(&first, How::Both).unwrap();
    eventually("the failed listener is logged", || server.stderr().contains("a listener failed"));
    assert_echoes(&mut client, b"one is left");
    rustix::net::shutdown(&last, How::Both).unwrap();
    assert_eq!(read_to_end(&client), b"");
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(1));
    let last: Vec<&str> = ended.stderr.lines().skip(1).collect();
    assert_eq!(last.len(), 1, "{last:?}");
    let message = format!("echod: no listener is left: tcp {last_address}: ");
    assert!(last[0].starts_with(&message), "{last:?}");
}

/// Returns duplicates of the server's sockets, in the order of their descriptors, or `None` if the
/// OS does not allow it.
fn sockets(server: &Server) -> Option<Vec<OwnedFd>> {
    let process = Pid::from_raw(server.pid().cast_signed()).unwrap();
    let skip = |error: &Errno| println!("skipped: cannot duplicate the descriptors: {error}");
    let process = pidfd_open(process, PidfdFlags::empty()).inspect_err(skip).ok()?;
    let mut descriptors = descriptors(server.pid());
    descriptors.retain(|(_, target)| target.starts_with("socket:"));
    descriptors.sort();
    let socket = |(number, _)| pidfd_getfd(&process, number, PidfdGetfdFlags::empty());
    let sockets: Result<Vec<OwnedFd>, _> = descriptors.into_iter().map(socket).collect();
    sockets.inspect_err(skip).ok()
}

/// Returns whether the client's byte has come back.
pub(crate) fn is_served(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).unwrap();
    let served = matches!(client.peek(&mut [0]), Ok(1));
    client.set_nonblocking(false).unwrap();
    served
}
