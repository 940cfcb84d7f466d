//! Unix sockets: the echo, and when the server creates, replaces and removes the socket file.

use std::env;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
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
use crate::server::{ECHOD, Server, eventually};

/// Returns the argument for a Unix socket at this path.
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

/// Checks that a new connection echoes a message.
#[track_caller]
pub(crate) fn assert_serves(path: &Path) {
    let mut client = connect(path);
    client.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

#[test]
fn half_closed_unix_client_gets_every_byte_and_eof() {
    let place = place();
    let server = Server::start(&[&address(&place), "-v"]);
    assert_eq!(server.address("unix"), place.display().to_string());
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
    let peer = format!("process {} of user", process::id());
    eventually("the peer is logged", || server.stderr().contains(&peer));
}

#[test]
fn socket_file_is_removed_although_a_client_stays() {
    let place = place();
    let server = Server::start(&[&address(&place), "127.0.0.1:0", "--grace", "1m"]);
    let mut talker = server.connect();
    assert_echoes(&mut talker, b"before");
    assert_serves(&place);
    server.signal(Signal::TERM);
    eventually("the file is removed", || {
        assert_echoes(&mut talker, b"still here");
        !place.exists()
    });
    drop(talker);
    assert_eq!(server.wait().status.code(), Some(0));
}

// The server has shut down its write direction, but still reads.
// Pitfall: S10
#[test]
fn unix_client_may_send_after_the_end_of_its_echo() {
    let place = place();
    let server = Server::start(&[&address(&place), "--grace", "0s"]);
    let mut client = connect(&place);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    server.signal(Signal::TERM);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.write_all(&[0; 1 << 16]).unwrap();
    drop(client);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn replaced_socket_file_is_left_alone() {
    let place = place();
    let server = Server::start(&[&address(&place)]);
    fs::remove_file(&place).unwrap();
    let _other = UnixListener::bind(&place).unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    assert!(place.exists());
}

// The exit after a second signal does not remove the file, because it must not wait for a stuck
// event loop.
#[test]
fn file_left_by_a_second_signal_is_replaced() {
    let place = place();
    let server = Server::start(&[&address(&place), "--grace", "1m"]);
    server.freeze();
    server.signal(Signal::INT);
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    assert!(matches!(server.wait().status.code(), Some(130 | 143)));
    assert!(place.exists(), "the file is not removed");

    let next = Server::start(&[&address(&place)]);
    eventually("the removal is logged", || next.stderr().contains("removing stale socket file"));
    assert_serves(&place);
}

// `ss` shows the length that the server has passed to `listen`.
#[test]
fn unix_backlog_has_the_documented_length() {
    if !is_installed("ss") {
        return;
    }
    let place = place();
    let _server = Server::start(&[&address(&place)]);
    let ss = Command::new("ss").args(["-Hlx", "src"]).arg(place.as_os_str()).output().unwrap();
    let row = String::from_utf8_lossy(&ss.stdout).into_owned();
    let expected = longest_backlog().min(1024).to_string();
    assert_eq!(row.split_whitespace().nth(3), Some(expected.as_str()), "{row}");
}

#[test]
fn unix_path_in_use_is_reported_with_advice() {
    let place = place();
    let advice = "stop that program or choose another path";
    let first = Server::start(&[&address(&place)]);
    assert_complains(&Server::run(&[&address(&place)]), 1, &[&address(&place), advice]);
    assert_serves(&place);
    // Also if the backlog of the listener is full.
    first.freeze();
    fs::remove_file(&place).unwrap();
    let full = UnixListener::bind(&place).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let _waiting = UnixStream::connect(&place).unwrap();
    assert_complains(&Server::run(&[&address(&place)]), 1, &[&address(&place), advice]);
    drop(full);
    fs::remove_file(&place).unwrap();
    let _datagrams = UnixDatagram::bind(&place).unwrap();
    assert_complains(&Server::run(&[&address(&place)]), 1, &[&address(&place), advice]);
}

#[test]
fn file_that_is_not_a_socket_is_not_replaced() {
    let place = place();
    fs::write(&place, "precious").unwrap();
    let ended = Server::run(&[&address(&place)]);
    assert_complains(&ended, 1, &[&address(&place), "not a socket", "remove it"]);
    assert_eq!(fs::read_to_string(&place).unwrap(), "precious");
    // A symbolic link is not replaced either, even if it points to a stale socket file.
    let (stale, link) = (place.with_file_name("stale"), place.with_file_name("link"));
    drop(UnixListener::bind(&stale).unwrap());
    std::os::unix::fs::symlink(&stale, &link).unwrap();
    let ended = Server::run(&[&format!("unix:{}", link.display())]);
    assert_complains(&ended, 1, &["not a socket"]);
    assert!(link.is_symlink() && stale.exists());
}

/// Creates a stale socket file, which no process has open.
fn make_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

/// Starts a server, and delays each of the system calls `calls` by 0.3 s. Prints why the test is
/// skipped if strace cannot do that.
fn start_delayed(calls: &str, address: &str) -> Option<Server> {
    if !is_installed("strace") {
        return None;
    }
    let probe = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: strace may not watch other processes here");
        return None;
    }
    let mut command = Command::new("strace");
    // With `-D`, strace is a grandchild, and the server is our child.
    command.args(["-D", "-qq", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:delay_enter=300000"), ECHOD, address]);
    Some(Server::spawn(command))
}

/// Waits until each server either listens or has given up, and returns those that listen.
fn listening(servers: Vec<Server>) -> Vec<Server> {
    let gave_up = |server: &Server| server.stderr().contains("cannot listen");
    for server in &servers {
        eventually("the server listens or gives up", || {
            !server.stdout().is_empty() || gave_up(server)
        });
    }
    servers.into_iter().filter(|server| !server.stdout().is_empty()).collect()
}

const UNLINK: &str = "?unlink,?unlinkat";

// The second server starts when the first one has found the stale file and is about to remove it.
// Pitfall: O4
#[test]
fn second_server_leaves_the_file_that_the_first_replaces() {
    let place = place();
    make_stale(&place);
    let Some(first) = start_delayed(UNLINK, &address(&place)) else { return };
    eventually("the first server removes the file", || {
        first.stderr().contains("removing stale socket file")
    });
    let second = Server::run(&[&address(&place)]);
    assert_complains(&second, 1, &[&address(&place), "stop that program or choose another path"]);
    let _first = first.listening(1);
    assert_serves(&place);
}

// A connection to a socket that is bound and does not listen yet is refused, as if it were stale.
// Pitfall: O4
#[test]
fn second_server_waits_while_the_first_is_about_to_listen() {
    let place = place();
    let Some(first) = start_delayed("listen", &address(&place)) else { return };
    eventually("the first server has bound the socket", || place.exists());
    let second = Server::run(&[&address(&place)]);
    assert_complains(&second, 1, &[&address(&place), "stop that program or choose another path"]);
    let _first = first.listening(1);
    assert_serves(&place);
}

// The new server starts when the old one has stopped listening and is about to remove its file.
// Pitfall: O4
#[test]
fn stopping_server_keeps_the_file_of_its_successor() {
    let place = place();
    let Some(old) = start_delayed(UNLINK, &address(&place)) else { return };
    let old = old.listening(1);
    old.signal(Signal::TERM);
    eventually("the old server has stopped listening", || UnixStream::connect(&place).is_err());
    let _new = Server::start(&[&address(&place)]);
    assert_eq!(old.wait().status.code(), Some(0));
    assert_serves(&place);
}

// ECHOD_ROUNDS=300 makes the test run longer.
// Pitfall: O4
#[test]
fn only_one_of_many_servers_replaces_a_stale_file() {
    let rounds = env::var("ECHOD_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(30);
    for round in 0..rounds {
        let place = place();
        make_stale(&place);
        let started = (0..4).map(|_| {
            let mut command = Command::new(ECHOD);
            command.arg(address(&place));
            Server::spawn(command)
        });
        let listening = listening(started.collect());
        assert_eq!(listening.len(), 1, "round {round}");
        assert_serves(&place);
    }
}

#[test]
fn restarted_server_takes_over_the_path() {
    let place = place();
    let mut old = Server::start(&[&address(&place)]);
    for _ in 0..30 {
        old.signal(Signal::TERM);
        // The new server fails while the old one still listens.
        let new = loop {
            let mut command = Command::new(ECHOD);
            command.arg(address(&place));
            if let Some(new) = listening(vec![Server::spawn(command)]).pop() {
                break new;
            }
        };
        assert_eq!(old.wait().status.code(), Some(0));
        assert_serves(&place);
        old = new;
    }
    old.signal(Signal::TERM);
    assert_eq!(old.wait().status.code(), Some(0));
    let left: Vec<_> = fs::read_dir(place.parent().unwrap()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn stale_file_that_cannot_be_locked_is_left_alone() {
    let place = place();
    // A folder cannot be opened as the lock file, so there is no lock.
    let lock = format!("{}.lock", place.display());
    fs::create_dir(&lock).unwrap();
    let server = Server::start(&[&address(&place)]);
    assert_serves(&place);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    assert!(!place.exists());

    make_stale(&place);
    let ended = Server::run(&[&address(&place)]);
    assert_complains(&ended, 1, &[&lock, "stale", "remove it"]);
    assert!(place.exists());
}

#[test]
fn line_break_in_a_path_is_escaped_on_standard_output() {
    let place = place();
    let path = format!("{}\nlistening tcp 127.0.0.1:1", place.display());
    let server = Server::start(&[&format!("unix:{path}")]);
    assert_serves(Path::new(&path));
    assert_eq!(server.stdout(), format!("listening unix {}\n", path.replace('\n', "\\n")));
    assert!(!server.stderr().contains("\nlistening"), "{}", server.stderr());
}

#[test]
fn unusable_unix_path_is_reported_with_advice() {
    let place = place();
    let nowhere = format!("{}/nowhere/socket", address(&place));
    assert_complains(&Server::run(&[&nowhere]), 1, &[&nowhere, "create its directory first"]);
    let long = format!("{}{}", address(&place), "x".repeat(200));
    assert_complains(&Server::run(&[&long]), 1, &["choose another path"]);
}

// Root may connect to every socket, so as root the test first drops `CAP_DAC_OVERRIDE`.
#[test]
fn stale_file_without_permission_to_connect_is_left_alone() {
    if !is_installed("setpriv") {
        return;
    }
    let place = place();
    make_stale(&place);
    fs::set_permissions(&place, Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new("setpriv");
    if rustix::process::geteuid().is_root() {
        command.args(["--inh-caps=-all", "--bounding-set=-dac_override"]);
    }
    let ended = Server::spawn({
        command.args([ECHOD, &address(&place)]);
        command
    })
    .wait();
    let advice = "choose a path that you may write to";
    assert_complains(&ended, 1, &[&address(&place), "Permission denied", advice]);
    assert!(place.exists());
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
    eventually("the second client is served", || matches!(second.read(&mut [0]), Ok(1)));
}

#[test]
fn socat_nc_and_python_use_a_unix_socket() {
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
