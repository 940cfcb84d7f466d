//! UDP: each datagram is echoed as one datagram.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;
use tests::DEADLINE;

use crate::bytes::assert_echoes;
use crate::calls::Injection;
use crate::clients::assert_clients_get_back;
use crate::process::{cpu_time, gives_descriptors};
use crate::server::{ECHOD, Server, eventually, flood};

fn start(arguments: &[&str]) -> (Server, SocketAddr) {
    let server = Server::start(&[&["udp:127.0.0.1:0"], arguments].concat());
    let address = server.address("udp").parse().unwrap();
    (server, address)
}

fn client() -> UdpSocket {
    bound_to("127.0.0.1:0").unwrap()
}

fn bound_to(address: &str) -> std::io::Result<UdpSocket> {
    let client = UdpSocket::bind(address)?;
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    Ok(client)
}

#[track_caller]
fn assert_comes_back(client: &UdpSocket, server: SocketAddr, datagram: &[u8]) {
    client.send_to(datagram, server).unwrap();
    let mut back = vec![0; 70_000];
    let (length, from) = client.recv_from(&mut back).unwrap();
    assert_eq!(from, server);
    assert!(back[..length] == *datagram, "{length} bytes of {} came back", datagram.len());
}

/// Checks that `client` gets no answer, although `other`, which sends later, gets one.
#[track_caller]
fn assert_unanswered(client: &UdpSocket, other: &UdpSocket, server: SocketAddr) {
    client.send_to(b"x", server).unwrap();
    assert_comes_back(other, server, b"later");
    client.set_nonblocking(true).unwrap();
    let received = client.recv(&mut [0; 10]).map_err(|error| error.kind());
    assert_eq!(received, Err(ErrorKind::WouldBlock));
}

#[test]
fn datagrams_of_every_length_are_echoed() {
    let (server, address) = start(&[]);
    let clients = [client(), client()];
    let longest: Vec<u8> = (0..65_507_u32).map(|n| ((n * n) >> 3) as u8).collect();
    for length in [0, 1, 1472, 1473, 9000, 65_506, 65_507] {
        for client in &clients {
            assert_comes_back(client, address, &longest[..length]);
        }
    }
    assert_eq!(server.stdout(), format!("listening udp {address}\n"));
}

// A sender is easily forged, and two services that answer each other would never stop.
#[test]
fn datagrams_of_services_and_the_own_port_are_ignored() {
    let (_server, address) = start(&[]);
    let other = client();
    // The same port of another address, like that of a second echod or of this one.
    let same_port = bound_to(&format!("127.0.0.2:{}", address.port())).unwrap();
    assert_unanswered(&same_port, &other, address);
    match (900..1024).find_map(|port| bound_to(&format!("127.0.0.1:{port}")).ok()) {
        Some(service) => assert_unanswered(&service, &other, address),
        None => println!("skipped: only root may send from a port below 1024"),
    }
}

// Forging a sender needs a raw socket. Instead, the test sends from its duplicate of the inherited
// socket.
#[test]
fn two_sockets_of_one_server_do_not_echo_to_each_other() {
    if !gives_descriptors() {
        return;
    }
    let first = UdpSocket::bind("127.0.0.1:0").unwrap();
    let forger = first.try_clone().unwrap();
    let mut command = Command::new(ECHOD);
    command.args(["-vv", "udp:127.0.0.1:0", "fd:0"]);
    let server = Server::spawn_with(command, first).listening(2);
    let own = forger.local_addr().unwrap().to_string();
    let second = server.address("udp").parse().unwrap();
    forger.send_to(b"round and round", second).unwrap();
    eventually("the datagram is ignored", || {
        server.stderr().contains(&format!("{own}: not answered"))
    });
    assert!(!server.stderr().contains("15 bytes echoed"));
    assert_comes_back(&client(), second, b"answered");
}

// The kernel reports ICMP errors only to connected sockets.
// Pitfall: S7
#[test]
fn vanished_peer_does_not_end_the_udp_service() {
    if !gives_descriptors() {
        return;
    }
    // No other test uses this address, so the port can be bound again later.
    let gone = bound_to("127.0.0.3:0").unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(gone.local_addr().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let mut command = Command::new(ECHOD);
    command.args(["-v", "fd:0"]);
    let server = Server::spawn_with(command, socket).listening(1);
    // The frozen server answers after the peer has closed its socket.
    server.freeze();
    gone.send_to(b"x", address).unwrap();
    let own = gone.local_addr().unwrap();
    drop(gone);
    server.signal(Signal::CONT);
    eventually("the refusal is logged", || server.stderr().contains("Connection refused"));
    let again = bound_to(&own.to_string()).unwrap();
    assert_comes_back(&again, address, b"again");

    let (_server, address) = start(&[]);
    for _ in 0..100 {
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", address).unwrap();
    }
    assert_comes_back(&client(), address, b"x");
}

// Pitfall: O2
#[test]
fn repeated_receive_error_backs_off_and_service_resumes() {
    let (server, address) = start(&["-v"]);
    let Some(mut injection) = Injection::start(&server, "recvfrom", Errno::PERM.raw_os_error())
    else {
        return;
    };
    let client = client();
    client.send_to(b"first", address).unwrap();
    let begin = Instant::now();
    let failures = || server.stderr().matches("Operation not permitted").count();
    eventually("the repeated error is logged", || server.stderr().contains("cannot receive"));
    let before = cpu_time(server.pid());
    sleep(Duration::from_millis(500));
    let used = cpu_time(server.pid()) - before;
    assert!(used < Duration::from_millis(50), "{used:?} in half a second");
    injection.stop();
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 5);
    // One record for the first error, and one in each second.
    assert!(failures() <= 2 + begin.elapsed().as_secs() as usize, "{}", server.stderr());
}

#[test]
fn unusable_socket_ends_the_server_with_code_1() {
    let (server, address) = start(&[]);
    let errno = Errno::INVAL.raw_os_error();
    let Some(_injection) = Injection::start(&server, "recvfrom", errno) else { return };
    client().send_to(b"x", address).unwrap();
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let message = format!("echod: no listener is left: udp {address}: Invalid argument");
    assert!(ended.stderr.contains(&message), "{ended:?}");
}

#[test]
fn signal_ends_the_server_during_a_pause_after_an_error() {
    let (server, address) = start(&["--grace", "1m"]);
    let Some(mut injection) = Injection::start(&server, "recvfrom", Errno::PERM.raw_os_error())
    else {
        return;
    };
    client().send_to(b"x", address).unwrap();
    eventually("the repeated error is logged", || server.stderr().contains("cannot receive"));
    server.signal(Signal::TERM);
    injection.stop();
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn tcp_and_udp_are_served_by_one_server() {
    let (server, address) = start(&["127.0.0.1:0"]);
    let client = client();
    assert_comes_back(&client, address, b"udp");
    assert_echoes(&mut server.connect(), b"tcp");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

// The frozen server finds the datagrams and the signal at the same time.
#[test]
fn datagrams_before_the_signal_are_answered() {
    let (server, address) = start(&[]);
    let client = client();
    server.freeze();
    for _ in 0..50 {
        client.send_to(b"before", address).unwrap();
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for _ in 0..50 {
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 6);
    }
    assert_eq!(server.wait().status.code(), Some(0));
}

// With `-vv`, the server is slower than the flood, so there is always another datagram to receive.
#[test]
fn flood_of_datagrams_does_not_delay_shutdown() {
    let (server, address) = start(&["--grace", "300ms", "-vv"]);
    server.freeze();
    let sent = Arc::new(AtomicUsize::new(0));
    let (client, count) = (Arc::new(client()), sent.clone());
    let _flood = flood(move || {
        // Fails after the server has exited.
        let _ = client.send_to(b"x", address);
        count.fetch_add(1, Ordering::Relaxed);
    });
    eventually("datagrams are sent", || sent.load(Ordering::Relaxed) > 10_000);
    server.signal(Signal::CONT);
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("did not end in time"), "{}", ended.stderr);
}

#[test]
fn udp_address_in_use_is_reported_with_advice() {
    let taken = client();
    let address = format!("udp:{}", taken.local_addr().unwrap());
    let ended = Server::run(&[&address]);
    crate::arguments::assert_complains(&ended, 1, &[&address, "choose another port"]);
}

#[test]
fn socat_nc_and_python_get_their_datagrams_back() {
    const SCRIPT: &str = "\
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.sendto(sys.stdin.buffer.read(), ('127.0.0.1', int(sys.argv[1])))
sys.stdout.buffer.write(client.recv(70000))
";
    let (_server, address) = start(&[]);
    let port = &address.port().to_string();
    let target = &format!("UDP:{address}");
    // nc and socat exit when no datagram has arrived for a second.
    let clients: [(&str, &[&str]); 3] = [
        ("socat", &["-t", "1", "-", target]),
        ("nc", &["-u", "-w", "1", "127.0.0.1", port]),
        ("python3", &["-c", SCRIPT, port]),
    ];
    assert_clients_get_back(&clients, "datagram");
}
