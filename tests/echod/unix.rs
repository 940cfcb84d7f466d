//! Unix sockets: what is sent comes back, and the file of the socket comes and goes with it.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{self, Command};
use std::thread;

use rustix::process::Signal;
use tests::{DEADLINE, Place, place};

use crate::arguments::assert_complains;
use crate::bytes::{Random, assert_echoes};
use crate::clients::assert_clients_get_back;
use crate::process::{is_installed, longest_backlog};
use crate::server::{Server, eventually};

/// The address of a socket there.
fn address(place: &Place) -> String {
    format!("unix:{}", place.display())
}

#[track_caller]
fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// One message over a connection of its own.
#[track_caller]
pub(crate) fn assert_serves(path: &Path) {
    let mut client = connect(path);
    client.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

#[test]
fn who_half_closes_gets_every_byte_and_then_the_end() {
    let place = place();
    let server = Server::start(&[&address(&place), "-v"]);
    assert_eq!(server.place("unix"), place.display().to_string());
    let mut sent = vec![0; 8 << 20];
    Random::new(1).fill(&mut sent);
    let mut client = connect(&place);
    let (mut sender, bytes) = (client.try_clone().unwrap(), sent.clone());
    let sending = thread::spawn(move || {
        sender.write_all(&bytes).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == sent, "{} bytes came back", back.len());
    sending.join().unwrap();
    let told = format!("process {} of user", process::id());
    eventually("it is told who it was", || server.stderr().contains(&told));
}

#[test]
fn the_file_is_removed_at_the_end_also_while_a_client_goes_on() {
    let place = place();
    let server = Server::start(&[&address(&place), "127.0.0.1:0", "--grace", "1m"]);
    let mut talker = server.connect();
    assert_echoes(&mut talker, b"before");
    assert_serves(&place);
    server.signal(Signal::TERM);
    eventually("the file is gone", || {
        assert_echoes(&mut talker, b"still here");
        !place.exists()
    });
    drop(talker);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn a_file_that_is_not_ours_any_more_is_left_alone() {
    let place = place();
    let server = Server::start(&[&address(&place)]);
    fs::remove_file(&place).unwrap();
    let _other = UnixListener::bind(&place).unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    assert!(place.exists());
}

// A second signal removes nothing: it must not wait for a loop that is stuck.
#[test]
fn a_second_signal_leaves_the_file_and_the_next_server_replaces_it() {
    let place = place();
    let server = Server::start(&[&address(&place), "--grace", "1m"]);
    server.freeze();
    server.signal(Signal::INT);
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    assert!(matches!(server.wait().status.code(), Some(130 | 143)));
    assert!(place.exists(), "nobody has removed it");

    let next = Server::start(&[&address(&place)]);
    eventually("it says so", || next.stderr().contains("nobody answers"));
    assert_serves(&place);
}

// What the kernel completes ahead, and says: `listen` tells nobody else.
#[test]
fn its_backlog_is_as_long_as_the_help_says() {
    if !is_installed("ss") {
        return;
    }
    let place = place();
    let _server = Server::start(&[&address(&place)]);
    let told = Command::new("ss").args(["-Hlx", "src"]).arg(place.as_os_str()).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let expected = longest_backlog().min(1024).to_string();
    assert_eq!(told.split_whitespace().nth(3), Some(expected.as_str()), "{told}");
}

#[test]
fn a_path_where_somebody_answers_is_named_with_the_cure() {
    let place = place();
    let cure = "stop it, or choose another path";
    let first = Server::start(&[&address(&place)]);
    assert_complains(&Server::run(&[&address(&place)]), 1, &[&address(&place), cure]);
    assert_serves(&place);
    // Also if it is so busy that nobody else is let in.
    first.freeze();
    fs::remove_file(&place).unwrap();
    let full = UnixListener::bind(&place).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let _waiting = UnixStream::connect(&place).unwrap();
    assert_complains(&Server::run(&[&address(&place)]), 1, &[&address(&place), cure]);
    drop(full);
    fs::remove_file(&place).unwrap();
    let _datagrams = UnixDatagram::bind(&place).unwrap();
    assert_complains(&Server::run(&[&address(&place)]), 1, &[&address(&place), cure]);
}

#[test]
fn a_file_that_is_no_socket_is_never_replaced() {
    let place = place();
    fs::write(&place, "precious").unwrap();
    let ended = Server::run(&[&address(&place)]);
    assert_complains(&ended, 1, &[&address(&place), "no socket", "remove it"]);
    assert_eq!(fs::read_to_string(&place).unwrap(), "precious");
    // Nor a link, though what it leads to is a socket that nobody has open.
    let (stale, link) = (place.with_file_name("stale"), place.with_file_name("link"));
    drop(UnixListener::bind(&stale).unwrap());
    std::os::unix::fs::symlink(&stale, &link).unwrap();
    let ended = Server::run(&[&format!("unix:{}", link.display())]);
    assert_complains(&ended, 1, &["no socket"]);
    assert!(link.is_symlink() && stale.exists());
}

#[test]
fn a_path_where_no_file_can_be_is_named_with_the_cure() {
    let place = place();
    let nowhere = format!("{}/nowhere/socket", address(&place));
    assert_complains(&Server::run(&[&nowhere]), 1, &[&nowhere, "make its folder first"]);
    let long = format!("{}{}", address(&place), "x".repeat(200));
    assert_complains(&Server::run(&[&long]), 1, &["choose another path"]);
}

#[test]
fn unix_and_tcp_connections_count_together() {
    let place = place();
    let server = Server::start(&[&address(&place), "127.0.0.1:0", "--max-connections", "1"]);
    let mut first = server.connect();
    assert_echoes(&mut first, b"x");
    let mut second = connect(&place);
    second.write_all(b"x").unwrap();
    second.set_nonblocking(true).unwrap();
    assert_echoes(&mut first, b"alone");
    assert!(second.read(&mut [0]).is_err());
    drop(first);
    eventually("the second has its turn", || matches!(second.read(&mut [0]), Ok(1)));
}

#[test]
fn socat_nc_and_python_get_their_bytes_back_through_a_unix_socket() {
    const SCRIPT: &str = "\
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(sys.stdin.buffer.read())
client.shutdown(socket.SHUT_WR)
while data := client.recv(65536):
    sys.stdout.buffer.write(data)
";
    let place = place();
    let _server = Server::start(&[&address(&place)]);
    let path = place.to_str().unwrap();
    let target = &format!("UNIX-CONNECT:{path}");
    let clients: [(&str, &[&str]); 3] = [
        ("socat", &["-t", "20", "-", target]),
        ("nc", &["-N", "-U", path]),
        ("python3", &["-c", SCRIPT, path]),
    ];
    assert_clients_get_back(&clients, "a few bytes");
}
