//! Shutdown: the bytes sent before the signal are echoed, then a FIN. A second signal exits
//! immediately.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;
use tests::folder;

use crate::bytes::{Random, assert_echoes, assert_receives, fill, read_to_end, read_to_reset};
use crate::process::may_wait_in_a_backlog;
use crate::server::{Server, eventually, flood, many_connections};

#[test]
fn signal_closes_idle_connections_with_a_fin() {
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

// The client pauses for longer than the silence after which the server closes a connection.
// Pitfall: S12
#[test]
fn bytes_sent_before_the_signal_are_echoed_after_it() {
    let server = Server::start(&["--grace", "1m"]);
    let client = server.connect();
    let sent = fill(&client, Random::new(1));
    server.signal(Signal::TERM);
    eventually("the server stops", || server.stderr().contains("stopping; connections open: 1"));
    // The server must not close this connection, because it still has bytes to send.
    sleep(Duration::from_millis(500));
    assert_receives(&client, &mut Random::new(1), sent);
    assert_eq!(read_to_end(&client), b"");
    assert_eq!(server.wait().status.code(), Some(0));
}

// The connection limit keeps the clients in the accept queue. Each closed connection admits the
// next one.
#[test]
fn waiting_clients_are_served_within_the_grace_period() {
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
fn waiting_client_does_not_extend_the_grace_period() {
    let server = Server::start(&["--max-connections", "1", "--grace", "300ms"]);
    let active = server.connect();
    fill(&active, Random::new(1));
    let mut waiting = server.connect();
    waiting.write_all(b"hello").unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

// The frozen server finds the connections, their bytes and the signal at the same time. It needs
// several polls to accept all of them.
#[test]
fn clients_in_the_backlog_are_served_after_the_signal() {
    let Some(_permit) = many_connections(600) else { return };
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
fn no_client_is_accepted_after_the_signal() {
    let server = Server::start(&["--grace", "1m"]);
    let mut active = server.connect();
    assert_echoes(&mut active, b"before");
    server.signal(Signal::TERM);
    eventually("the listener is closed", || {
        assert_echoes(&mut active, b"still here");
        let refused = TcpStream::connect(server.addresses[0]).map_err(|error| error.kind());
        matches!(refused, Err(ErrorKind::ConnectionRefused))
    });
    assert_echoes(&mut active, b"after");
    drop(active);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn active_client_gets_a_fin_after_the_grace_period() {
    let server = Server::start(&["--grace", "300ms"]);
    let mut active = server.connect();
    assert_echoes(&mut active, b"x");
    server.signal(Signal::INT);
    eventually("the connection ends without a reset", || {
        active.write_all(b"x").unwrap();
        active.read(&mut [0]).unwrap() == 0
    });
    drop(active);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0));
    assert!(!ended.stderr.contains("did not end in time"), "{}", ended.stderr);
}

// A close with unread input would send a reset, which destroys what the peer has not read yet.
// Pitfall: S10
#[test]
fn input_after_the_fin_is_discarded_without_a_reset() {
    let server = Server::start(&["--grace", "0s"]);
    let mut client = server.connect();
    assert_echoes(&mut client, b"x");
    server.signal(Signal::TERM);
    assert_eq!(read_to_end(&client), b"");
    client.write_all(&vec![0; 4 << 20]).unwrap();
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

// A client of a Unix socket waits while the backlog is full, so the backlog is never empty.
#[test]
fn full_backlog_does_not_delay_shutdown() {
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

#[test]
fn second_signal_exits_immediately() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let server = Server::start(&["--grace", "1m"]);
        let stalled = server.connect();
        fill(&stalled, Random::new(1));
        server.signal(Signal::INT);
        eventually("the server stops", || server.stderr().contains("stopping"));
        server.signal(second);
        assert_eq!(server.wait().status.code(), Some(code));
    }
}

// Both signals arrive before the event loop can run, as if the loop were stuck. If the loop handled
// only the first signal, the process would exit with zero. Two threads may handle the signals at
// the same time.
#[test]
fn second_signal_exits_without_the_event_loop() {
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
