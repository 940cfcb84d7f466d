//! Errors of `accept4` and of the registration that follows it, injected by strace.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::bytes::assert_echoes;
use crate::calls::Injection;
use crate::process::cpu_time;
use crate::server::{Server, eventually};

/// The highest error number of Linux.
const LAST_ERRNO: i32 = 133;

/// For how long the test measures the CPU time that the errors cost.
const MEASURED: Duration = Duration::from_millis(500);

/// The number of servers that run at a time. All of them together, with a strace each, would be too
/// many for a small machine.
const SIDE_BY_SIDE: usize = 16;

/// Whether the error means that the listener itself is unusable.
fn ends_the_listener(errno: i32) -> bool {
    let broken = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP];
    broken.into_iter().any(|broken| broken.raw_os_error() == errno)
}

/// The number of log lines that report an error of `accept`.
fn warnings(server: &Server) -> usize {
    server.stderr().lines().filter(|line| line.contains("cannot accept")).count()
}

// Pitfall: O2, S2
#[test]
fn repeated_accept_error_backs_off_and_service_resumes() {
    let errors: Vec<i32> = (1..=LAST_ERRNO).filter(|errno| !ends_the_listener(*errno)).collect();
    for errors in errors.chunks(SIDE_BY_SIDE) {
        assert_backs_off_and_resumes(errors);
    }
}

/// Runs one server for each error.
fn assert_backs_off_and_resumes(errors: &[i32]) {
    let mut failing = Vec::new();
    for &errno in errors {
        let server = Server::start(&[]);
        let start = Instant::now();
        let Some(injection) = Injection::start(&server, "accept4", errno) else { return };
        let mut client = server.connect();
        client.write_all(b"first").unwrap();
        failing.push((errno, start, server, injection, client));
    }
    let before: Vec<Duration> =
        failing.iter().map(|(_, _, server, ..)| cpu_time(server.pid())).collect();
    sleep(MEASURED);
    let used = |((_, _, server, ..), before): (&(_, _, Server, _, _), &Duration)| {
        cpu_time(server.pid()) - *before
    };
    let used: Duration = failing.iter().zip(&before).map(used).sum();
    assert!(used < MEASURED / 4, "{} servers used {used:?} of CPU time", failing.len());
    for (errno, _, server, injection, _) in &mut failing {
        // EAGAIN is not an error: the server waits for the next event.
        if Errno::from_raw_os_error(*errno) != Errno::AGAIN {
            // strace may have begun to inject after the first client was accepted.
            let mut late = None;
            eventually("the repeated error is logged", || {
                warnings(server) > 0 || {
                    late = Some(server.connect());
                    false
                }
            });
        }
        injection.stop();
    }
    for (errno, start, server, _, mut client) in failing {
        // EAGAIN means an empty backlog, so the server waits for the event of a new connection.
        assert_echoes(&mut server.connect(), b"second");
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"first");
        let (warnings, seconds) = (warnings(&server), start.elapsed().as_secs() as usize);
        assert!(warnings <= seconds + 1, "error {errno}: {warnings} warnings in {seconds} s");
    }
}

// Pitfall: S2
#[test]
fn error_of_a_broken_listener_ends_the_server() {
    for errno in (1..=LAST_ERRNO).filter(|errno| ends_the_listener(*errno)) {
        let server = Server::start(&[]);
        let Some(_injection) = Injection::start(&server, "accept4", errno) else { return };
        // The server also calls `accept4` when it starts, so it may have exited by now.
        let _client = TcpStream::connect(server.addresses[0]);
        let ended = server.wait();
        assert_eq!(ended.status.code(), Some(1), "error {errno}: {}", ended.stderr);
    }
}

// The kernel has accepted the connection, but the reactor cannot watch it.
// Pitfall: S2
#[test]
fn registration_error_closes_only_its_connection() {
    let errors = [Errno::NOSPC, Errno::NOMEM, Errno::PERM, Errno::INVAL, Errno::BADF, Errno::EXIST];
    let mut failing = Vec::new();
    for errno in errors {
        let server = Server::start(&[]);
        let mut open = server.connect();
        assert_echoes(&mut open, b"x");
        let errno = errno.raw_os_error();
        let Some(injection) = Injection::start(&server, "epoll_ctl", errno) else { return };
        let refused: Vec<_> = (0..20).map(|_| server.connect()).collect();
        failing.push((errno, server, injection, open, refused));
    }
    for (errno, server, injection, open, refused) in &mut failing {
        assert!(refused[0].read(&mut [0]).is_ok_and(|bytes| bytes == 0), "error {errno}");
        eventually("the repeated error is logged", || warnings(server) > 0);
        assert_echoes(open, b"x");
        injection.stop();
    }
    for (errno, server, _injection, ..) in &failing {
        assert_echoes(&mut server.connect(), b"after");
        let warnings = warnings(server);
        assert!(warnings < 20, "error {errno}: {warnings} warnings");
    }
}
