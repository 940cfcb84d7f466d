//! The number and order of the server's system calls, observed with strace.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tests::{Place, place};

use crate::bytes::assert_echoes;
use crate::process::{is_asleep, is_installed, is_traced, may_wait_in_a_backlog, threads};
use crate::server::{ECHOD, Server, eventually};

#[test]
fn message_takes_three_system_calls() {
    const MESSAGES: usize = 200;
    let server = Server::start(&["--idle", "1m"]);
    let mut client = server.connect();
    let Some(trace) = Trace::start(&server, &mut client) else { return };
    for _ in 0..MESSAGES {
        assert_echoes(&mut client, b"hello");
    }
    let calls = trace.stop(MESSAGES);
    assert_eq!(calls.count("recvfrom("), MESSAGES, "{calls:#?}");
    assert_eq!(calls.count("sendto("), MESSAGES, "{calls:#?}");
    assert_eq!(
        calls.count("epoll_wait("),
        MESSAGES - 1,
        "one wait between two messages: {calls:#?}"
    );
    assert_eq!(calls.others(), 0, "{calls:#?}");
    assert_eq!(calls.count("EAGAIN"), 0, "{calls:#?}");
}

// The server is frozen while the clients send, so that it finds all of them ready.
#[test]
fn busy_connections_share_one_epoll_wait() {
    const CLIENTS: usize = 50;
    const ROUNDS: usize = 10;
    let server = Server::start(&[]);
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| assert_echoes(client, b"warm up"));
    let Some(trace) = Trace::start(&server, &mut clients[0]) else { return };
    for _ in 0..ROUNDS {
        server.freeze();
        for client in &mut clients {
            client.write_all(b"hello").unwrap();
        }
        server.signal(Signal::CONT);
        for client in &mut clients {
            client.read_exact(&mut [0; 5]).unwrap();
        }
    }
    let calls = trace.stop(ROUNDS * CLIENTS);
    assert_eq!(calls.count("recvfrom("), ROUNDS * CLIENTS, "{calls:#?}");
    assert_eq!(calls.count("sendto("), ROUNDS * CLIENTS, "{calls:#?}");
    // One wait for each batch. Freezing and continuing the server interrupts a few more.
    let waits = calls.count("epoll_wait(");
    assert!(waits <= 5 * ROUNDS, "{waits} waits for {ROUNDS} rounds");
    assert_eq!(calls.others(), 0, "{calls:#?}");
    assert_eq!(calls.count("EAGAIN"), 0, "{calls:#?}");
}

// Three hundred connections wait in the accept queue before a message arrives. The server answers
// it after at most two budgets of accepts: after one if the events arrive in the same turn, and
// after two if the message's event arrives one turn later.
// Pitfall: E3
#[test]
fn flood_of_connects_does_not_starve_open_connections() {
    if !may_wait_in_a_backlog(300) {
        return;
    }
    let server = Server::start(&[]);
    let mut client = server.connect();
    let Some(trace) = Trace::start(&server, &mut client) else { return };
    server.freeze();
    let _waiting: Vec<TcpStream> = (0..300).map(|_| server.connect()).collect();
    client.write_all(b"hello").unwrap();
    server.signal(Signal::CONT);
    client.read_exact(&mut [0; 5]).unwrap();
    eventually("strace has seen the answer", || trace.read().answers() == 1);
    let calls = trace.stop_now();
    let answer = calls.0.iter().position(|call| is_message(call, "sendto(")).unwrap();
    let accepted = calls.0[..answer].iter().filter(|call| call.starts_with("accept4(")).count();
    assert!(accepted <= 2 * 128, "{accepted} connections were accepted before the answer");
}

// The flooding connection is nearly always readable and writable.
// Pitfall: E5, E4
#[test]
fn flooding_connection_moves_one_buffer_per_turn() {
    const BUFFER: usize = 256 * 1024;
    let server = Server::start(&[]);
    let flood = server.connect();
    let (mut sender, mut receiver) = (flood.try_clone().unwrap(), flood.try_clone().unwrap());
    let sending = thread::spawn(move || while sender.write_all(&[7; 1 << 18]).is_ok() {});
    let receiving = thread::spawn(move || {
        let mut bytes = vec![0; 1 << 20];
        while receiver.read(&mut bytes).is_ok_and(|bytes| bytes > 0) {}
    });
    let calls = Trace::start(&server, &mut server.connect()).map(|trace| {
        let before = trace.read().count("recvfrom(");
        eventually("the flood flows", || trace.read().count("recvfrom(") >= before + 200);
        trace.stop_now()
    });
    flood.shutdown(Shutdown::Both).unwrap();
    sending.join().unwrap();
    receiving.join().unwrap();
    let Some(calls) = calls else { return };
    for round in calls.0.split(|call| call.starts_with("epoll_wait(")) {
        // Leave out the messages of one byte, which come from the client that detects strace.
        let moved: usize =
            round.iter().filter_map(|call| received(call)).filter(|&bytes| bytes > 1).sum();
        assert!(moved <= BUFFER, "{moved} bytes before the next wait: {round:#?}");
    }
}

#[test]
fn disabled_log_line_makes_no_system_call() {
    if !is_installed("strace") {
        return;
    }
    let mut strace = Command::new("strace");
    strace.args(["-qq", "-e", "accept4,getpeername", ECHOD, "--demo"]);
    let output = strace.output().expect("strace is installed");
    let calls = String::from_utf8_lossy(&output.stderr);
    if !calls.contains("accept4(") {
        println!("skipped: strace may not watch other processes here");
        return;
    }
    assert!(!calls.contains("getpeername("), "{calls}");
}

/// strace, attached to a server.
struct Trace {
    strace: Child,
    file: Place,
}

/// The output of strace: one line for each system call.
#[derive(Debug)]
struct Calls(Vec<String>);

impl Trace {
    /// Attaches strace, or prints why the test is skipped. Then sends messages of one byte, which
    /// are not counted, until strace sees one.
    fn start(server: &Server, client: &mut TcpStream) -> Option<Trace> {
        let file = place();
        let output = file.to_str().expect("a temporary folder with a plain name");
        let strace = attach(server.pid(), &["-e", "signal=none", "-s", "0", "-o", output])?;
        let trace = Trace { strace, file };
        eventually("strace sees a message", || {
            assert_echoes(client, b"x");
            trace.read().count("sendto(") > 0
        });
        Some(trace)
    }

    fn read(&self) -> Calls {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        let is_call = |line: &&str| !line.starts_with("---") && !line.starts_with("strace:");
        Calls(text.lines().filter(is_call).map(str::to_owned).collect())
    }

    /// Stops, and returns all calls.
    fn stop_now(mut self) -> Calls {
        detach(&mut self.strace);
        self.read()
    }

    /// Stops after this many messages, and returns the calls from the first to the last of them.
    fn stop(self, messages: usize) -> Calls {
        eventually("strace has seen all messages", || self.read().answers() == messages);
        let mut calls = self.stop_now().0;
        let first = calls.iter().position(|call| is_message(call, "recvfrom(")).unwrap();
        let last = calls.iter().rposition(|call| is_message(call, "sendto(")).unwrap();
        Calls(calls.drain(first..=last).collect())
    }
}

/// Returns the number of system calls that all threads of the server make in this time, or prints why
/// strace cannot count them.
pub(crate) fn calls_in(server: &Server, time: Duration) -> Option<usize> {
    let file = place();
    let output = file.to_str().expect("a temporary folder with a plain name");
    let strace = attach(server.pid(), &["-f", "-e", "signal=none", "-o", output])?;
    let trace = Trace { strace, file };
    // strace interrupts the waits of all threads, which then begin again.
    let threads = threads(server.pid());
    eventually("all threads wait again", || {
        let calls = trace.read();
        threads.iter().all(|(thread, _)| {
            let is_begun = |call: &&String| call.starts_with(&format!("{thread} "));
            let last = calls.0.iter().rfind(is_begun);
            last.is_some_and(|call| !call.contains(" = ")) && is_asleep(*thread)
        })
    });
    let before = trace.read().0.len();
    sleep(time);
    Some(trace.read().0.len() - before)
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Runs strace on a thread; prints why the test is skipped if strace is missing or not permitted.
/// The process ID of a server is also the thread ID of its main thread.
fn attach(thread: u32, arguments: &[&str]) -> Option<Child> {
    if !is_installed("strace") {
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-p", &thread.to_string()]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = command.spawn().expect("strace is installed");
    let mut failed = false;
    eventually("strace is attached", || {
        failed = strace.try_wait().is_ok_and(|ended| ended.is_some());
        failed || is_traced(thread)
    });
    if failed {
        println!("skipped: strace may not watch other processes here");
        return None;
    }
    Some(strace)
}

/// Ends strace. The server keeps running.
fn detach(strace: &mut Child) {
    kill_process(Pid::from_child(strace), Signal::INT).unwrap();
    strace.wait().unwrap();
}

/// A system call of a thread that returns an error each time, without being executed.
pub(crate) struct Injection(Child);

impl Injection {
    /// Starts injecting errors on the main thread of a server, or prints why the test is skipped.
    pub(crate) fn start(server: &Server, call: &str, errno: i32) -> Option<Injection> {
        Injection::start_on(server.pid(), call, errno)
    }

    /// Starts injecting errors on one thread, or prints why the test is skipped.
    pub(crate) fn start_on(thread: u32, call: &str, errno: i32) -> Option<Injection> {
        let inject = format!("inject={call}:error={errno}");
        attach(thread, &["-e", &format!("trace={call}"), "-e", &inject]).map(Injection)
    }

    /// Lets the system call through again.
    pub(crate) fn stop(&mut self) {
        detach(&mut self.0);
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Calls {
    fn count(&self, text: &str) -> usize {
        self.0.iter().filter(|call| call.contains(text)).count()
    }

    /// The number of messages that were sent back.
    fn answers(&self) -> usize {
        self.0.iter().filter(|call| is_message(call, "sendto(")).count()
    }

    /// The number of calls that a message does not need.
    fn others(&self) -> usize {
        let usual = ["epoll_wait(", "recvfrom(", "sendto(", "restart_syscall("];
        let is_usual = |call: &&String| usual.iter().any(|name| call.starts_with(name));
        self.0.len() - self.0.iter().filter(is_usual).count()
    }
}

/// Returns how many bytes a call received.
fn received(call: &str) -> Option<usize> {
    call.strip_prefix("recvfrom(")?.rsplit("= ").next()?.parse().ok()
}

/// Whether a call moved the five bytes of a "hello".
fn is_message(call: &str, name: &str) -> bool {
    call.starts_with(name) && call.ends_with(" = 5")
}
