//! Standard output, standard error and descriptors. Closed, full or unread streams do not stop the
//! server.

use std::fs;
use std::io::{Read, Write, pipe};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{folder, pipe_of_64_kib, terminal};

use crate::bytes::{Random, assert_echoes, fill};
use crate::process::{descriptors, flags, listening_port};
use crate::server::{ECHOD, Server, connect, eventually};

#[test]
fn standard_output_has_one_line_per_listener() {
    let server = Server::start(&["-vv", "127.0.0.1:0", "127.0.0.1:0"]);
    let lines = server.addresses.iter().map(|address| format!("listening tcp {address}\n"));
    let expected: String = lines.collect();
    for &address in &server.addresses {
        assert_echoes(&mut connect(address), b"hello");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().stdout, expected);
}

// Pitfall: S9
#[test]
fn closed_or_full_output_does_not_stop_the_server() {
    for redirection in [
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
        ">/dev/full 2>&-",
    ] {
        let script = format!("exec \"$0\" \"$@\" {redirection}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, ECHOD, "-vv", "127.0.0.1:0"]);
        assert_serves_and_ends(Server::spawn(command));
    }
}

// Pitfall: S9
#[test]
fn unread_pipe_does_not_stop_the_server() {
    let Some((mut unread, stderr)) = pipe_of_64_kib() else { return };
    let mut command = Command::new(ECHOD);
    command.args(["-vv", "127.0.0.1:0"]).stdout(stderr.try_clone().unwrap()).stderr(stderr);
    let server = Server::spawn_uncaptured(command);
    assert_serves_and_ends(server);
    let mut log = Vec::new();
    unread.read_to_end(&mut log).unwrap();
    assert!(log.len() > 50_000, "{} bytes did not fill the pipe", log.len());
}

// Pitfall: S9
#[test]
fn pipe_without_a_reader_does_not_stop_the_server() {
    let (reader, stderr) = pipe().unwrap();
    drop(reader);
    let mut command = Command::new(ECHOD);
    command.args(["-vv", "127.0.0.1:0"]).stdout(stderr.try_clone().unwrap()).stderr(stderr);
    assert_serves_and_ends(Server::spawn_uncaptured(command));
}

// `poll` reports a terminal as writable although a line does not fit, and then `write` blocks.
// Pitfall: O1
#[test]
fn unread_terminal_stops_neither_clients_nor_shutdown() {
    assert_unread_terminal_does_no_harm(&["-v"], |server| {
        let address = address(server);
        for _ in 0..300 {
            assert_echoes(&mut connect(address), b"hello");
        }
    });
}

// Pitfall: O1
#[test]
fn stats_on_an_unread_terminal_stop_no_connection() {
    assert_unread_terminal_does_no_harm(&["--stats", "1ms"], |server| {
        let (mut client, begin) = (find(server), Instant::now());
        while begin.elapsed() < Duration::from_millis(500) {
            assert_echoes(&mut client, b"hello");
        }
    });
}

// Pitfall: O1
#[test]
fn explain_on_an_unread_terminal_stops_no_connection() {
    assert_unread_terminal_does_no_harm(&["--explain=all", "-q"], |server| {
        let mut client = find(server);
        (0..1000).for_each(|_| assert_echoes(&mut client, b"hello"));
    });
}

// Pitfall: O1
#[test]
fn task_table_on_an_unread_terminal_stops_no_connection() {
    assert_unread_terminal_does_no_harm(&[], |server| {
        let address = address(server);
        let mut clients: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
        for _ in 0..3 {
            server.signal(Signal::USR1);
            clients.iter_mut().for_each(|client| assert_echoes(client, b"hello"));
        }
    });
}

/// Runs a server whose streams are a terminal that is not read. Checks that it serves clients in
/// `act` and shuts down.
#[track_caller]
fn assert_unread_terminal_does_no_harm(arguments: &[&str], act: impl FnOnce(&Server)) {
    let Some((_unread, terminal)) = terminal() else { return };
    let mut command = Command::new(ECHOD);
    command.args(arguments).args(["--grace", "0s", "127.0.0.1:0"]);
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let server = Server::spawn_uncaptured(command);
    act(&server);
    server.signal(Signal::TERM);
    let begin = Instant::now();
    assert_eq!(server.wait().status.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10), "the shutdown took {:?}", begin.elapsed());
}

// Pitfall: O1
#[test]
fn second_signal_ends_a_server_on_an_unread_terminal() {
    let Some((_unread, terminal)) = terminal() else { return };
    let mut command = Command::new(ECHOD);
    command.args(["-vv", "--grace", "1m", "127.0.0.1:0"]);
    command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
    let server = Server::spawn_uncaptured(command);
    let stalled = find(&server);
    fill(&stalled, Random::new(1));
    server.signal(Signal::TERM);
    eventually("the listener is closed", || listening_port(server.pid()).is_none());
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(143));
}

// Another process refills the pipe whenever the reader takes a page, even between a `poll` and the
// `write` after it.
// Pitfall: O1
#[test]
fn full_shared_pipe_stops_no_connection() {
    let Some((mut reader, writer)) = pipe_of_64_kib() else { return };
    let mut filler = writer.try_clone().unwrap();
    let mut command = Command::new(ECHOD);
    command.args(["-vv", "--grace", "0s", "127.0.0.1:0"]).stderr(writer);
    let server = Server::spawn_uncaptured(command);
    let filling = thread::spawn(move || while filler.write_all(&[b'x'; 4096]).is_ok() {});
    let mut client = find(&server);
    for _ in 0..200 {
        reader.read_exact(&mut [0; 4096]).unwrap();
        (0..3).for_each(|_| assert_echoes(&mut client, b"hello"));
    }
    server.signal(Signal::TERM);
    drop(client);
    assert_eq!(server.wait().status.code(), Some(0));
    drop(reader);
    filling.join().unwrap();
}

// Without a handler, SIGXFSZ would end the process at a write beyond the file-size limit.
// Pitfall: O5
#[test]
fn log_beyond_the_file_size_limit_does_not_end_the_server() {
    let folder = folder();
    let log = folder.path().join("log");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 16; exec \"$0\" -vv 127.0.0.1:0 2>\"$1\"", ECHOD]).arg(&log);
    assert_serves_and_ends(Server::spawn(command));
    let written = fs::metadata(&log).unwrap().len();
    assert!([16 * 512, 16 * 1024].contains(&written), "{written} bytes are not at the limit");
}

// Pitfall: G4
#[test]
fn own_descriptors_are_close_on_exec() {
    const CLOSE_ON_EXEC: u32 = 0o2000000;
    let ((_out, stdout), (_err, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let mut command = Command::new(ECHOD);
    command.arg("127.0.0.1:0").stdout(stdout.try_clone().unwrap());
    command.stderr(stderr.try_clone().unwrap());
    let inherited = [stdout.as_raw_fd(), stderr.as_raw_fd()];
    let before = inherited.map(|descriptor| flags(process::id(), descriptor));
    // The process that runs the tests may pass open descriptors to this process and to the server.
    let inherited_by_all = descriptors(process::id());
    let server = Server::spawn_uncaptured(command);
    let mut client = find(&server);
    assert_echoes(&mut client, b"x");

    let all = descriptors(server.pid());
    let own = all.iter().filter(|open| open.0 > 2 && !inherited_by_all.contains(open));
    assert!(own.clone().count() >= 4, "the reactor, signals, a listener, a connection: {all:?}");
    for (descriptor, target) in own {
        let flags = flags(server.pid(), *descriptor);
        assert!(flags & CLOSE_ON_EXEC != 0, "{descriptor} on {target} has {flags:o}");
    }
    let during = inherited.map(|descriptor| flags(process::id(), descriptor));
    server.signal(Signal::TERM);
    server.wait();
    let after = inherited.map(|descriptor| flags(process::id(), descriptor));
    assert_eq!((before, before), (during, after));
}

/// Connects to a server whose output the test does not read.
#[track_caller]
pub(crate) fn find(server: &Server) -> TcpStream {
    connect(address(server))
}

/// Waits until the server listens, and returns its address, which the kernel knows. Finding it
/// takes some time, so look once for many connections.
#[track_caller]
pub(crate) fn address(server: &Server) -> SocketAddr {
    let mut port = None;
    eventually("the server listens", || {
        port = listening_port(server.pid());
        port.is_some()
    });
    ([127, 0, 0, 1], port.unwrap()).into()
}

/// Checks that a server echoes a thousand messages and shuts down.
#[track_caller]
pub(crate) fn assert_serves_and_ends(server: Server) {
    let mut client = find(&server);
    for _ in 0..1000 {
        assert_echoes(&mut client, b"hello");
    }
    server.signal(Signal::TERM);
    drop(client);
    assert_eq!(server.wait().status.code(), Some(0));
}
