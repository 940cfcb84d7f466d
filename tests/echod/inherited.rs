//! Inherited sockets: given by descriptor number, and passed by systemd.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{self, Command, Stdio};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};
use tests::{DEADLINE, place};

use crate::arguments::assert_complains;
use crate::bytes::assert_echoes;
use crate::process::{gives_descriptors, is_installed};
use crate::server::{ECHOD, Server, connect, eventually};
use crate::unix::assert_serves;

/// Returns a command that runs the server with its standard input as descriptor 3.
fn with_third(script: &str, arguments: &[&str]) -> Command {
    let script = format!("exec 3<&0 0</dev/null; {script} exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, ECHOD]).args(arguments);
    command
}

#[test]
fn inherited_socket_is_served_by_its_kind() {
    if !gives_descriptors() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::spawn_with(with_third("", &["fd:3"]), listener).listening(1);
    assert_eq!(server.stdout(), format!("listening tcp {address}\n"));
    assert_echoes(&mut server.connect(), b"x");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = Server::spawn_with(with_third("", &["fd:3"]), socket).listening(1);
    assert_eq!(server.stdout(), format!("listening udp {address}\n"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.send_to(b"datagram", address).unwrap();
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 8);
}

#[test]
fn file_of_an_inherited_unix_socket_is_kept() {
    if !gives_descriptors() {
        return;
    }
    let path = place();
    let listener = UnixListener::bind(&path).unwrap();
    let server = Server::spawn_with(with_third("", &["fd:3"]), listener).listening(1);
    assert_eq!(server.stdout(), format!("listening unix {}\n", path.display()));
    assert_serves(&path);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    assert!(path.exists(), "the file belongs to the process that created it");
}

#[test]
fn passed_sockets_are_served_if_no_address_is_given() {
    if !gives_descriptors() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = "export LISTEN_FDS=1 LISTEN_PID=$$;";
    let server = Server::spawn_with(with_third(script, &[]), listener).listening(1);
    assert_eq!(server.stdout(), format!("listening tcp {address}\n"));
    assert_echoes(&mut connect(address), b"x");
}

#[test]
fn passed_socket_beside_an_address_is_reported_and_unused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "export LISTEN_FDS=1 LISTEN_PID=$$;";
    let command = with_third(script, &["127.0.0.1:0"]);
    let server = Server::spawn_with(command, listener).listening(1);
    assert_echoes(&mut server.connect(), b"x");
    eventually("a warning is logged", || server.stderr().contains("not serving fd:3"));
}

#[test]
fn too_many_passed_sockets_are_rejected_in_one_line() {
    for (arguments, code) in [(&[] as &[&str], 2), (&["127.0.0.1:0"], 1)] {
        for count in ["1025", "4294967295", "99999999999999999999"] {
            let script = format!("export LISTEN_FDS={count} LISTEN_PID=$$;");
            let mut command = with_third(&script, arguments);
            command.stdin(Stdio::null());
            let ended = Server::spawn(command).wait();
            assert_complains(&ended, code, &[&format!("LISTEN_FDS={count}"), "1024"]);
        }
    }
}

// The variables were meant for the parent, which did not remove them from the environment.
#[test]
fn sockets_passed_to_another_process_are_ignored() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let script = "export LISTEN_FDS=1 LISTEN_PID=1;";
    let command = with_third(script, &["127.0.0.1:0"]);
    let server = Server::spawn_with(command, listener).listening(1);
    assert_echoes(&mut server.connect(), b"x");
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert!(!ended.stderr.contains("fd:3"), "{}", ended.stderr);
}

#[test]
fn unsuitable_descriptor_is_reported_with_advice() {
    if !gives_descriptors() {
        return;
    }
    let advice = "pass a TCP, UDP or Unix socket";
    assert_complains(&Server::run(&["fd:77"]), 1, &["fd:77", advice]);
    // Standard input is /dev/null.
    assert_complains(&Server::run(&["fd:0"]), 1, &["fd:0", advice]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = connect(listener.local_addr().unwrap());
    let unbound = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    let server = Server::spawn_with(with_third("", &["fd:3"]), unbound);
    assert_complains(&server.wait(), 1, &["fd:3", "not bound to a port", advice]);
    let server = Server::spawn_with(with_third("", &["fd:3"]), connection);
    assert_complains(&server.wait(), 1, &["fd:3", "does not listen", advice]);
    // A Unix datagram socket, and a listener of another address family.
    let other = "it is not a TCP, UDP or Unix stream socket";
    let datagrams = UnixDatagram::unbound().unwrap();
    let server = Server::spawn_with(with_third("", &["fd:3"]), datagrams);
    assert_complains(&server.wait(), 1, &["fd:3", other, advice]);
    match vsock_listener() {
        Ok(listener) => {
            let server = Server::spawn_with(with_third("", &["fd:3"]), listener);
            assert_complains(&server.wait(), 1, &["fd:3", other, advice]);
        }
        Err(error) => println!("skipped: cannot listen on a VM socket: {error}"),
    }
}

/// Creates a listening stream socket that is neither a TCP nor a Unix socket.
fn vsock_listener() -> io::Result<Socket> {
    const ANY: u32 = u32::MAX;
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.bind(&SockAddr::vsock(ANY, ANY))?;
    socket.listen(1)?;
    Ok(socket)
}

// The server's own TCP listener is also a listening socket.
#[test]
fn descriptor_opened_by_the_server_is_rejected() {
    if !gives_descriptors() {
        return;
    }
    for number in 3..24 {
        let address = format!("fd:{number}");
        let ended = Server::run(&["127.0.0.1:0", &address]);
        assert_complains(&ended, 1, &[&address, "pass a TCP, UDP or Unix socket"]);
    }
}

// Python passes three sockets of three kinds, as systemd does.
#[test]
fn three_sockets_passed_by_python_are_served() {
    if !gives_descriptors() || !is_installed("python3") {
        return;
    }
    const SCRIPT: &str = "\
import os, socket, sys
tcp = socket.create_server(('127.0.0.1', 0))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(('127.0.0.1', 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind('\\0' + sys.argv[2])
unix.listen()
copies = [os.dup(s.fileno()) for s in (tcp, udp, unix)]
for number, copy in enumerate(copies, 3):
    os.dup2(copy, number, inheritable=True)
os.environ.update(LISTEN_FDS='3', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], [sys.argv[1]])
";
    let name = format!("echod-{}", process::id());
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, ECHOD, &name]);
    let server = Server::spawn(command).listening(3);
    assert_echoes(&mut server.connect(), b"x");
    assert_eq!(server.address("unix"), format!("@{name}"));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.send_to(b"datagram", server.address("udp")).unwrap();
    assert_eq!(client.recv(&mut [0; 10]).unwrap(), 8);
}

// The tool waits for the first connection, and then executes the server, which finds the connection
// in the accept queue.
#[test]
fn systemd_socket_activate_starts_the_server() {
    if !gives_descriptors() || !is_installed("systemd-socket-activate") {
        return;
    }
    let path = place();
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").args([path.to_str().unwrap(), ECHOD]);
    let server = Server::spawn(command);
    eventually("systemd listens", || server.stderr().contains("Listening on"));
    assert_serves(&path);
    let server = server.listening(1);
    assert_eq!(server.address("unix"), path.display().to_string());
}
