//! The end: what was sent comes back, then a FIN; and a second signal ends it at once.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use tests::{folder, place};

use crate::bytes::{Random, assert_echoes, assert_receives, fill, read_to_end, read_to_reset};
use crate::process::{is_installed, may_wait_in_a_backlog};
use crate::server::{ECHOD, Server, crowd, eventually, flood};

#[test]
fn a_signal_ends_silent_connections_with_a_fin_and_the_process_with_zero() {
    for signal in [Signal::INT, Signal::TERM] {
        let server = Server::start(&[]);
        let mut clients: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
        server.signal(signal);
        for client in &clients {
            assert_eq!(read_to_end(client), b"");
        }
        assert_eq!(server.wait().status.code(), Some(0));
    }
}

// The client takes its time: longer than any silence after which a connection counts as finished.
// Pitfall: S12
#[test]
fn what_was_sent_before_the_signal_comes_back_after_it() {
    let server = Server::start(&["--grace", "1m"]);
    let client = server.connect();
    let sent = fill(&client, Random::new(1));
    server.signal(Signal::TERM);
    eventually("it stops", || server.stderr().contains("stopping; connections open: 1"));
    // Longer than silence lasts before a connection is ended: this one is owed bytes.
    sleep(Duration::from_millis(500));
    assert_receives(&client, &mut Random::new(1), sent);
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(server.wait().status.code(), Some(0));
}

// The limit keeps them there; each that ends lets the next one in.
#[test]
fn who_waits_in_the_backlog_for_room_is_served_within_the_grace() {
    let server = Server::start(&["--max-connections", "1", "--grace", "1m"]);
    let mut first = server.connect();
    assert_echoes(&mut first, b"x");
    let waiting: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    waiting.iter().for_each(|mut client| client.write_all(b"hello").unwrap());
    server.signal(Signal::TERM);
    assert_eq!(read_to_end(&first), b"");
    drop(first);
    for client in waiting {
        assert_eq!(read_to_end(&client), b"hello");
    }
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn who_waits_in_the_backlog_does_not_hold_up_the_end_beyond_the_grace() {
    let server = Server::start(&["--max-connections", "1", "--grace", "300ms"]);
    let talker = server.connect();
    fill(&talker, Random::new(1));
    let mut waiting = server.connect();
    waiting.write_all(b"hello").unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

// Frozen, the server sees the connections, their bytes and the signal at once; and there are more
// of them than it accepts in one poll.
#[test]
fn who_was_in_the_backlog_before_the_signal_is_served() {
    let Some(_crowd) = crowd(600) else { return };
    if !may_wait_in_a_backlog(600) {
        return;
    }
    let server = Server::start(&[]);
    server.freeze();
    let mut clients: Vec<TcpStream> = (0..600).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in &clients {
        assert_eq!(read_to_end(client), b"hello");
    }
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn after_the_signal_nobody_is_accepted_while_those_who_talk_go_on() {
    let server = Server::start(&["--grace", "1m"]);
    let mut talker = server.connect();
    assert_echoes(&mut talker, b"before");
    server.signal(Signal::TERM);
    eventually("the listener is closed", || {
        assert_echoes(&mut talker, b"still here");
        let refused = TcpStream::connect(server.addresses[0]).map_err(|error| error.kind());
        matches!(refused, Err(ErrorKind::ConnectionRefused))
    });
    assert_echoes(&mut talker, b"after");
    drop(talker);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn who_never_stops_talking_is_ended_with_a_fin_after_the_grace() {
    let server = Server::start(&["--grace", "300ms"]);
    let mut talker = server.connect();
    assert_echoes(&mut talker, b"x");
    server.signal(Signal::INT);
    eventually("the end comes, and is no reset", || {
        talker.write_all(b"x").unwrap();
        talker.read(&mut [0]).unwrap() == 0
    });
    drop(talker);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0));
    assert!(!ended.stderr.contains("did not end in time"), "{}", ended.stderr);
}

// A close with unread input would send a reset, which destroys what the peer has not read yet.
// Pitfall: S10
#[test]
fn input_after_the_end_is_discarded_without_a_reset() {
    let server = Server::start(&["--grace", "0s"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"x");
    server.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    client.write_all(&[0; 1 << 16]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.wait().status.code(), Some(0));
    assert_eq!(read_to_end(&client), b"");
}

#[test]
fn connection_that_is_owed_bytes_when_grace_ends_is_reset() {
    let server = Server::start(&["--grace", "0s"]);
    let client = server.connect();
    let sent = fill(&client, Random::new(1));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
    let received = read_to_reset(&client);
    assert!(received < sent, "{received} of {sent}");
}

// Over a Unix socket a client waits for its place in the backlog: so that is always full.
#[test]
fn a_backlog_that_is_never_empty_does_not_hold_up_the_end() {
    let folder = folder();
    let path = folder.path().join("socket");
    let server = Server::start(&["--grace", "300ms", &format!("unix:{}", path.display())]);
    let connect = move || drop(UnixStream::connect(&path));
    let _flood = flood(connect.clone());
    connect();
    server.signal(Signal::TERM);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("did not end in time"), "{}", ended.stderr);
}

// The first three calls on the main thread are signal-hook's, at the registration of each signal; all
// later ones are those of the handlers.
#[test]
fn signal_whose_handler_cannot_write_is_not_lost() {
    if !is_installed("strace") {
        return;
    }
    for threads in ["1", "2"] {
        let path = place();
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-qq", "-e", "trace=sendto,epoll_wait", "-o"]).arg(&*path);
        command.args(["-e", "inject=sendto:error=ENOBUFS:when=4+"]);
        command.args([ECHOD, "--threads", threads, "127.0.0.1:0"]);
        let server = Server::start_command(command);
        // A handler interrupts only a wait that has begun.
        eventually("all threads wait", || {
            let trace = fs::read_to_string(&path).unwrap();
            let last = |pid: &str| trace.lines().rfind(|line| line.starts_with(pid));
            let waits = |line: &str| line.contains("epoll_wait(") && !line.contains(" = ");
            let pids = trace.lines().filter(|line| line.contains("epoll_wait("));
            let pids: BTreeSet<&str> = pids.filter_map(|line| line.split(' ').next()).collect();
            pids.len().to_string() == threads && pids.iter().all(|pid| last(pid).is_some_and(waits))
        });
        server.signal(Signal::USR1);
        let tables = || server.stderr().matches(" accept ").count().to_string();
        eventually("each thread prints its table", || tables() == threads);
        server.signal(Signal::TERM);
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        let trace = fs::read_to_string(&path).unwrap();
        assert!(trace.contains("ENOBUFS"), "{trace}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let server = Server::start(&["--grace", "1m"]);
        let stalled = server.connect();
        fill(&stalled, Random::new(1));
        server.signal(Signal::INT);
        eventually("it stops", || server.stderr().contains("stopping"));
        server.signal(second);
        assert_eq!(server.wait().status.code(), Some(code));
    }
}

// Both arrive before the loop can run, as if it were stuck: without it, the first alone would end
// the process with zero. Two threads may handle them at the same time.
#[test]
fn a_second_signal_does_not_need_the_loop() {
    for _ in 0..10 {
        let server = Server::start(&[]);
        server.freeze();
        server.signal(Signal::INT);
        server.signal(Signal::TERM);
        server.signal(Signal::CONT);
        let code = server.wait().status.code();
        assert!(matches!(code, Some(130 | 143)), "{code:?}");
    }
}
