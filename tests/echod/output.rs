//! Standard output, standard error, and the descriptors: nothing that is wrong with them can hurt
//! the server.

use std::io::{Read, pipe};
use std::os::fd::AsRawFd;
use std::process::{self, Command};

use rustix::process::Signal;
use tests::pipe_of_64_kib;

use crate::bytes::assert_echoes;
use crate::process::{descriptors, flags, listening_port};
use crate::server::{ECHOD, Server, connect, eventually};

#[test]
fn standard_output_has_one_line_for_each_listener_and_nothing_else() {
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
fn a_closed_or_full_output_does_not_hurt() {
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
fn a_pipe_that_nobody_reads_does_not_hold_up_the_server() {
    let Some((mut unread, stderr)) = pipe_of_64_kib() else { return };
    let mut command = Command::new(ECHOD);
    command.args(["-vv", "127.0.0.1:0"]).stdout(stderr.try_clone().unwrap()).stderr(stderr);
    let server = Server::spawn_unheard(command);
    assert_serves_and_ends(server);
    let mut log = Vec::new();
    unread.read_to_end(&mut log).unwrap();
    assert!(log.len() > 50_000, "{} bytes did not fill the pipe", log.len());
}

// Pitfall: S9
#[test]
fn a_pipe_whose_reader_has_gone_does_not_hurt() {
    let (reader, stderr) = pipe().unwrap();
    drop(reader);
    let mut command = Command::new(ECHOD);
    command.args(["-vv", "127.0.0.1:0"]).stdout(stderr.try_clone().unwrap()).stderr(stderr);
    assert_serves_and_ends(Server::spawn_unheard(command));
}

// Pitfall: G4
#[test]
fn every_descriptor_is_close_on_exec_and_inherited_ones_keep_their_flags() {
    const CLOSE_ON_EXEC: u32 = 0o2000000;
    let ((_out, stdout), (_err, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let mut command = Command::new(ECHOD);
    command.arg("127.0.0.1:0").stdout(stdout.try_clone().unwrap());
    command.stderr(stderr.try_clone().unwrap());
    let inherited = [stdout.as_raw_fd(), stderr.as_raw_fd()];
    let before = inherited.map(|descriptor| flags(process::id(), descriptor));
    // Whoever runs the tests may have left some open, for us and for the server.
    let passed_on = descriptors(process::id());
    let server = Server::spawn_unheard(command);
    let mut client = find(&server);
    assert_echoes(&mut client, b"x");

    let all = descriptors(server.pid());
    let own = all.iter().filter(|open| open.0 > 2 && !passed_on.contains(open));
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

/// A connection to a server that cannot say where it listens.
#[track_caller]
pub(crate) fn find(server: &Server) -> std::net::TcpStream {
    let mut port = None;
    eventually("the server listens", || {
        port = listening_port(server.pid());
        port.is_some()
    });
    connect(([127, 0, 0, 1], port.unwrap()).into())
}

/// A thousand messages, and a clean end.
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
