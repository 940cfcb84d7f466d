//! `--threads`: connections are spread over the threads, and everything else works as with one
//! thread.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use rustix::io::Errno;
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::arguments::assert_complains;
use crate::bytes::{Random, assert_echoes, assert_silent, fill, read_to_end};
use crate::calls::Injection;
use crate::limits::is_served;
use crate::process::{may_wait_in_a_backlog, thread as thread_named, threads};
use crate::server::{ECHOD, Server, connect, eventually, many_connections};

/// Makes the server print its tables, and returns how many tasks each thread has.
#[track_caller]
fn tasks(server: &Server, threads: usize) -> Vec<usize> {
    let before = server.stderr().len();
    server.signal(Signal::USR1);
    let answer = || server.stderr()[before..].to_owned();
    let ended = |line: &&str| line.contains("  table  ") || line.ends_with("not shown");
    eventually("all tables are printed", || {
        answer().lines().filter(ended).count() == threads && answer().ends_with('\n')
    });
    let answer = answer();
    let tables: Vec<&str> = answer.split("thread ").skip(1).collect();
    assert_eq!(tables.len(), threads, "{answer}");
    tables.iter().map(|table| count(table)).collect()
}

fn count(table: &str) -> usize {
    let is_row = |line: &&str| line.contains(".rs:");
    let hidden = table.lines().find_map(|line| line.strip_suffix(" more tasks are not shown"));
    table.lines().filter(is_row).count() + hidden.map_or(0, |hidden| hidden.parse().unwrap())
}

#[test]
fn connections_are_spread_over_both_threads() {
    let Some(_permit) = many_connections(1000) else { return };
    let server = Server::start(&["--threads", "2"]);
    let mut clients: Vec<TcpStream> = (0..1000).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
    let tasks = tasks(&server, 2);
    // Each thread has three more tasks: they accept, wait for signals, and print the table.
    assert_eq!(tasks.iter().sum::<usize>(), 1000 + 2 * 3, "{tasks:?}");
    assert!(tasks.iter().all(|&tasks| tasks > 300), "{tasks:?}");
    clients.iter_mut().for_each(|client| assert_echoes(client, b"still here"));
    assert_eq!(
        server.stdout().lines().count(),
        1,
        "one line for both threads: {}",
        server.stdout()
    );
}

#[test]
fn every_address_is_served_by_all_threads() {
    let server = Server::start(&["--threads", "3", "127.0.0.1:0", "127.0.0.2:0"]);
    for &address in &server.addresses {
        let mut clients: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
        clients.iter_mut().for_each(|client| assert_echoes(client, b"x"));
        let tasks = tasks(&server, 3);
        assert!(tasks.iter().all(|&tasks| tasks > 4 + 10), "{tasks:?}");
    }
}

// The socket option that lets threads share an address also lets processes of one user share it.
#[test]
fn shared_address_in_use_is_reported() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let sharing = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    sharing.set_reuse_port(true).unwrap();
    sharing.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    sharing.listen(1).unwrap();
    let sharing = TcpListener::from(sharing);
    let server = Server::start(&["--threads", "2"]);
    let taken = [plain.local_addr().unwrap(), sharing.local_addr().unwrap(), server.addresses[0]];
    for address in taken {
        let ended = Server::run(&["--threads", "2", &address.to_string()]);
        assert_complains(&ended, 1, &[&address.to_string(), "choose another port"]);
    }
    assert_complains(&Server::run(&[&taken[2].to_string()]), 1, &["choose another port"]);
}

// After the freeze, both threads find more connections than the limit allows.
#[test]
fn max_connections_limits_all_threads_together() {
    let server = Server::start(&["--threads", "2", "--max-connections", "3"]);
    server.freeze();
    let mut waiting: Vec<TcpStream> = (0..12).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|client| client.write_all(b"x").unwrap());
    server.signal(Signal::CONT);
    while !waiting.is_empty() {
        let mut served = Vec::new();
        let expected = waiting.len().min(3);
        eventually("as many as allowed are served", || {
            served.extend(waiting.extract_if(.., is_served));
            served.len() >= expected
        });
        waiting.iter().for_each(assert_silent);
        assert_eq!(served.len(), expected);
    }
}

#[test]
fn backlog_of_each_thread_is_served_after_the_signal() {
    let Some(_permit) = many_connections(600) else { return };
    if !may_wait_in_a_backlog(600) {
        return;
    }
    let server = Server::start(&["--threads", "2"]);
    server.freeze();
    let mut clients: Vec<TcpStream> = (0..600).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"hello").unwrap());
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    for client in &clients {
        assert_eq!(read_to_end(client), b"hello");
    }
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.stderr.matches("stopping;").count(), 1, "{}", ended.stderr);
}

// The first thread may be idle. It must not end the process before another thread has accepted from
// its queue.
#[test]
fn single_client_in_any_backlog_is_served() {
    let stopped = (0..20).map(|_| {
        let server = Server::start(&["--threads", "2"]);
        server.freeze();
        let mut client = server.connect();
        client.write_all(b"hello").unwrap();
        server.signal(Signal::TERM);
        server.signal(Signal::CONT);
        (server, client)
    });
    // Each server waits until its client has been idle for a while, so the servers run
    // concurrently.
    let stopped: Vec<(Server, TcpStream)> = stopped.collect();
    for (server, client) in stopped {
        assert_eq!(read_to_end(&client), b"hello");
        drop(client);
        assert_eq!(server.wait().status.code(), Some(0));
    }
}

// Each thread probably has a client that does not read, which delays the shutdown.
#[test]
fn second_signal_exits_with_all_threads() {
    let server = Server::start(&["--threads", "2", "--grace", "1m"]);
    let clients: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| fill(client, Random::new(1)));
        }
    });
    server.signal(Signal::INT);
    eventually("the server stops", || server.stderr().contains("stopping"));
    server.signal(Signal::INT);
    assert_eq!(server.wait().status.code(), Some(130));
}

#[test]
fn idle_timeout_applies_to_all_threads() {
    let server = Server::start(&["--threads", "2", "--idle", "100ms"]);
    let clients: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    clients.iter().for_each(|client| assert_eq!(read_to_end(client), b""));
}

// The signal makes the second thread print its table and call `epoll_wait` again, and strace makes
// this call fail. strace does not affect the first thread.
#[test]
fn failure_of_the_second_thread_ends_the_server_with_code_1() {
    let server = Server::start(&["--threads", "2"]);
    let second = thread_named(server.pid(), "echod 2");
    let errno = Errno::NOMEM.raw_os_error();
    let Some(_injection) = Injection::start_on(second, "epoll_wait", errno) else { return };
    server.signal(Signal::USR1);
    let ended = server.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let message = "echod: cannot serve on thread 2: Cannot allocate memory";
    assert!(ended.stderr.contains(message), "{ended:?}");
}

// The lowest limits prevent the start of all threads; higher limits prevent the start of the second
// or third thread.
#[test]
fn missing_descriptors_for_threads_exit_with_code_1() {
    for limit in 14.. {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), ECHOD]);
        command.args(["--threads", "3", "127.0.0.1:0"]);
        let server = Server::spawn(command);
        eventually("it listens or reports an error", || {
            !server.stdout().is_empty() || server.stderr().contains("echod: ")
        });
        if !server.stdout().is_empty() {
            let third = |(_, name): &(u32, String)| name == "echod 3";
            assert!(
                threads(server.pid()).iter().any(third),
                "the third thread is missing with a limit of {limit}"
            );
            server.signal(Signal::TERM);
            assert_eq!(server.wait().status.code(), Some(0));
            return assert!(limit > 20, "a limit of {limit} is enough");
        }
        let ended = server.wait();
        // Threads that already run may report missing descriptors too, before this line or after it.
        let errors: Vec<&str> =
            ended.stderr.lines().filter(|line| line.starts_with("echod: ")).collect();
        let [error] = errors[..] else { panic!("{ended:?}") };
        let begin = "echod: cannot start the threads: Too many open files";
        assert!(error.starts_with(begin), "{limit}: {ended:?}");
        assert!(error.ends_with(": allow more descriptors (ulimit -n)"), "{ended:?}");
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""));
    }
}
